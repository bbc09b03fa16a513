"""Connections in Airflow's UI: the form, the Test button, and where the key is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from airflow_provider_paperspace.provider_info import get_provider_info

if TYPE_CHECKING:
    from tests.e2e.browser.airflow_ui import AirflowUi
    from tests.e2e.cluster import Cluster

CONNECTION = "team_acme"
TYPED_KEY = "a-key-that-was-typed-in-the-form"
TYPED_PROXY = "http://me:a-pass-word@proxy.example.org:3128"
(TYPE,) = get_provider_info()["connection-types"]  # type: ignore[misc,attr-defined]
FIELDS: dict[str, Any] = TYPE["conn-fields"]


@pytest.fixture(autouse=True)
def _no_connections(cluster: Cluster) -> Iterator[None]:
    yield
    for connection in cluster.call("GET", "/connections")["connections"]:
        with suppress(HTTPError):
            cluster.call("DELETE", f"/connections/{connection['connection_id']}")


class ConnectionForm:
    """The form of a connection, which is a dialog over the list."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.dialog = page.get_by_role("dialog")

    def add(self) -> None:
        self._page.get_by_role("button", name="Add Connection").click()
        self.dialog.get_by_label("Connection ID").fill(CONNECTION)
        self.dialog.get_by_label("Connection Type").fill("Paperspace")
        self._page.get_by_role("option", name="Paperspace", exact=True).click()
        expect(self.field("password")).to_be_visible()

    def edit(self) -> None:
        row(self._page, CONNECTION).get_by_role("button", name="Edit Connection").click()
        expect(self.field("password")).to_be_visible()

    def field(self, name: str) -> Locator:
        """Return a field. Airflow does not connect each of them with its label."""
        return self.dialog.locator(f'[name="{name}"]')

    def own_field(self, name: str) -> Locator:
        return self.field(f"element_{name}")

    def section_with(self, name: str) -> Locator:
        return self.dialog.get_by_role("region").filter(has=self._page.locator(f'[name="{name}"]'))

    def unfold(self, section: str = "Extra Fields") -> None:
        """Open a section, which closes the other one."""
        self.dialog.get_by_role("button", name=section, exact=True).click()

    def save(self) -> None:
        self.dialog.get_by_role("button", name="Save").click()
        expect(self.dialog).to_have_count(0)
        expect(row(self._page, CONNECTION)).to_be_visible()


def row(page: Page, connection_id: str) -> Locator:
    return page.get_by_role("row").filter(has_text=connection_id)


@pytest.fixture
def form(ui: AirflowUi) -> ConnectionForm:
    ui.open_connections()
    return ConnectionForm(ui.page)


def test_the_form_shows_our_fields_with_their_help(ui: AirflowUi, form: ConnectionForm) -> None:
    form.add()
    standard = form.section_with("password")
    assert standard.locator("label").all_inner_texts() == ["Description", "Base URL", "API key"]
    expect(form.field("host")).to_have_attribute("placeholder", "https://api.paperspace.com/v1")
    expect(form.field("password")).to_have_attribute("type", "password")
    form.unfold()
    extra = form.section_with("element_team")
    expect(form.own_field("team")).to_be_visible()
    assert [text.strip() for text in extra.locator("label").all_inner_texts()] == [f["label"] for f in FIELDS.values()]
    for field in FIELDS.values():
        expect(extra.get_by_text(field["description"], exact=True)).to_be_visible()
    expect(form.own_field("proxy")).to_have_attribute("type", "password")
    form.own_field("team").fill("acme")
    form.own_field("protected_tags").fill("production, release:*")
    with ui.sized(1200, 1400):
        ui.picture("connection-form", start=form.dialog, end=form.dialog)


def test_what_was_saved_is_there_after_a_reload(ui: AirflowUi, form: ConnectionForm, cluster: Cluster) -> None:
    form.add()
    form.field("description").fill("The projects of team acme")
    form.field("host").fill(cluster.paperspace.url)
    form.field("password").fill(cluster.paperspace.api_key)
    form.unfold()
    form.own_field("timeout").fill("12.5")
    form.own_field("team").fill("acme")
    form.own_field("protected_tags").fill("production, release:*")
    form.save()
    ui.page.reload()
    form.edit()
    expect(form.field("host")).to_have_value(cluster.paperspace.url)
    expect(form.field("password")).to_have_value("***")
    form.unfold()
    expect(form.own_field("timeout")).to_have_value("12.5")
    expect(form.own_field("team")).to_have_value("acme")
    form.own_field("team").fill("acme-research")
    form.own_field("max_attempts").fill("3")
    form.save()
    ui.page.reload()
    form.edit()
    form.unfold()
    expect(form.own_field("team")).to_have_value("acme-research")
    stored = cluster.call("GET", f"/connections/{CONNECTION}")
    assert stored["host"] == cluster.paperspace.url
    assert {name: value for name, value in json.loads(stored["extra"]).items() if value is not None} == {
        "timeout": 12.5,
        "max_attempts": 3,
        "team": "acme-research",
        "protected_tags": "production, release:*",
    }
    test = {**stored, "password": "***"}
    assert cluster.call("POST", "/connections/test", test)["status"] is True, "the key is the one that was typed first"


def test_the_key_never_comes_back_to_the_browser(ui: AirflowUi, form: ConnectionForm, cluster: Cluster) -> None:
    answers: list[str] = []

    def remember(route: Route) -> None:
        answer = route.fetch()
        answers.append(answer.text())
        route.fulfill(response=answer)

    ui.page.route(re.compile(r"/(api|ui)/"), remember)
    form.add()
    form.field("host").fill(cluster.paperspace.url)
    form.field("password").fill(TYPED_KEY)
    form.unfold()
    form.own_field("proxy").fill(TYPED_PROXY)
    form.save()
    shown = [ui.page.content()]
    row(ui.page, CONNECTION).get_by_role("button", name="Test Connection").click()
    expect(toast(ui.page, "Test Connection Failed")).to_be_visible()
    shown.append(ui.page.content())
    ui.open_connections()
    form.edit()
    form.dialog.get_by_role("button", name="Show value").first.click()
    expect(form.field("password")).to_have_attribute("type", "text")
    shown.append(form.field("password").input_value())
    form.unfold()
    shown += [field.input_value() for field in form.dialog.locator("input[name]").all()]
    shown.append(ui.page.content())
    form.unfold("Extra Fields JSON")
    shown.append(form.dialog.inner_text())
    listed = [text for text in answers if CONNECTION in text]
    assert len(listed) >= 3, "the answers to the form, and the lists"
    for secret in (TYPED_KEY, "a-pass-word"):
        assert not [text for text in (*answers, *shown) if secret in text]


def toast(page: Page, title: str) -> Locator:
    return page.get_by_role("status").filter(has_text=title)


@pytest.fixture
def with_port(cluster: Cluster) -> str:
    """Two connections with a port: without one, the button of Airflow 3.3.2 fails."""
    port = urlsplit(cluster.paperspace.url).port
    extra = json.dumps({"team": "acme"})
    for connection_id, key in (("paperspace_acme", cluster.paperspace.api_key), ("paperspace_old_key", TYPED_KEY)):
        body = {"connection_id": connection_id, "conn_type": "paperspace", "password": key, "extra": extra}
        cluster.call("POST", "/connections", {**body, "host": "http://127.0.0.1", "port": port})
    return "paperspace_acme"


def test_the_test_button_says_whose_key_it_is(ui: AirflowUi, with_port: str) -> None:
    ui.open_connections()
    for column in ("Description", "Host", "Port"):
        ui.page.get_by_role("button", name="Filter table columns").click()
        ui.page.get_by_role("menuitem", name=column).click()
        ui.page.keyboard.press("Escape")
    with ui.sized(1000, 440):
        row(ui.page, with_port).get_by_role("button", name="Test Connection").click()
        said = toast(ui.page, "Connected to team 'acme' as ada@example.org")
        expect(said).to_be_visible()
        said.hover()  # it stays
        ui.picture("connection-test")


def test_the_test_button_says_that_the_key_is_refused(ui: AirflowUi, with_port: str) -> None:
    ui.open_connections()
    row(ui.page, "paperspace_old_key").get_by_role("button", name="Test Connection").click()
    said = toast(ui.page, "Test Connection Failed")
    expect(said).to_contain_text("Paperspace does not accept this API key. Create a new one in the Paperspace console")
    assert TYPED_KEY not in ui.page.content()


def test_the_test_button_fails_without_a_port(ui: AirflowUi, form: ConnectionForm, cluster: Cluster) -> None:
    """As the page on the connection says. When Airflow has fixed it, this page can be shorter."""
    form.add()
    form.field("host").fill(cluster.paperspace.url)
    form.field("password").fill(cluster.paperspace.api_key)
    form.save()
    with ui.page.expect_response("**/connections/test") as response:
        row(ui.page, CONNECTION).get_by_role("button", name="Test Connection").click()
    assert "host or port to test differs" in response.value.json()["detail"]
    expect(toast(ui.page, "Test Connection Failed")).to_be_visible()
