"""The button to the console: where it leads, and that it never fails a task."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.links import paperspace as links
from airflow_provider_paperspace.links.paperspace import PaperspaceProjectLink
from airflow_provider_paperspace.operators._base import PaperspaceOperator
from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator, ListProjectTagsOperator
from airflow_provider_paperspace.operators.projects import ListProjectsOperator
from tests.operators.task import Task, asked, names

KEY = "_link_PaperspaceProjectLink"


@pytest.fixture(autouse=True)
def _connected(server: LocalPaperspaceServer, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)


@pytest.mark.parametrize(
    ("kind", "arguments", "url"),
    [
        (ListProjectTagsOperator, {"project_id": "p1"}, "https://console.paperspace.com/acme/projects/p1"),
        (ListProjectTagsOperator, {"project_name": "one"}, "https://console.paperspace.com/acme/projects/p1"),
        (ListProjectTagsOperator, {"project_ids": ["p1"]}, "https://console.paperspace.com/acme/projects"),
        (ListProjectsOperator, {}, "https://console.paperspace.com/acme/projects"),
    ],
)
def test_a_task_stores_the_address_of_its_project(kind: type[Any], arguments: dict[str, Any], url: str) -> None:
    task = Task(kind, **arguments)
    task.run()
    assert task.links == {KEY: url}


def test_a_connection_may_set_another_console(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = server.connection_json(console_url="https://console.example/x/")
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", uri)
    task = Task(ListProjectTagsOperator, project_id="p1")
    task.run()
    assert task.links == {KEY: "https://console.example/x/acme/projects/p1"}


@pytest.mark.parametrize("fault", ["500", "reset", "wrong-types", "429"])
def test_a_task_without_a_session_works_without_a_link(
    server: LocalPaperspaceServer, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.fault(fault, path="/auth/session", times=0)
    task = Task(AddProjectTagOperator, project_id="p1", tags="x")
    with caplog.at_level(logging.INFO):
        assert names(task.run()) == ["x"]
    assert not task.links
    assert "No link to the Paperspace console: Session: could not read it: " in caplog.text
    assert len(server.requests) - len(asked(server)) == 1, "one attempt"


def test_a_refused_key_gives_no_link(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.app, "api_key", "another")
    task = Task(ListProjectTagsOperator, project_id="p1")
    with pytest.raises(AirflowFailException, match="401"):
        task.run()
    assert not task.links


def test_the_button_leads_to_the_stored_address(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: dict[str, Any] = {KEY: "https://console.paperspace.com/acme/projects/p1"}

    class StoredXCom:
        @staticmethod
        def get_value(*, key: str, ti_key: Any) -> Any:
            return stored[ti_key]

    monkeypatch.setattr(links, "XCom", StoredXCom)
    link, operator = PaperspaceProjectLink(), ListProjectTagsOperator(task_id="t", project_id="p1")
    assert link.get_link(operator, ti_key=KEY) == stored[KEY]  # type: ignore[arg-type]
    stored[KEY] = None
    assert link.get_link(operator, ti_key=KEY) == ""  # type: ignore[arg-type]
    assert link.get_link(operator, ti_key="nowhere") == "", "no link, and no error"  # type: ignore[arg-type]


def test_every_operator_has_the_button() -> None:
    assert ListProjectsOperator.operator_extra_links == PaperspaceOperator.operator_extra_links
    (link,) = ListProjectTagsOperator(task_id="t", project_id="p1").operator_extra_links
    assert (link.name, link.xcom_key) == ("Paperspace project", KEY)
