"""The proxy of a connection: used by every task, masked by Airflow, and shown without its password."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, redact

from airflow_provider_paperspace import __main__ as command_line
from airflow_provider_paperspace.api.errors import TransportError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook
from airflow_provider_paperspace.notifications.project_tags import ProjectTagNotifier
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from tests.operators.task import Task
from tests.raw_server import RawServer, http, raw_server
from tests.secret_watch import API_KEY, SecretWatch

PASSWORD, QUOTED_PASSWORD = "c0nn@proxy-pa55", "c0nn%40proxy-pa55"  # not a real one


def connection_json(proxy: str, host: str = "") -> str:
    fields = {"conn_type": "paperspace", "password": API_KEY, "host": host}
    return json.dumps({**fields, "extra": {"proxy": proxy, "max_attempts": 1, "timeout": 5}})


@pytest.fixture
def proxy(secret_watch: SecretWatch, monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """A proxy that refuses whatever comes, of the default connection to the real service."""
    header = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    secret_watch.secrets += [PASSWORD, QUOTED_PASSWORD, header]
    with raw_server(http(b"no", "407 Proxy Authentication Required")) as server:
        url = server.url.replace("http://", f"http://ada:{QUOTED_PASSWORD}@")
        monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", connection_json(url))
        yield server


@pytest.mark.parametrize(
    "run",
    [
        lambda: Task(AddProjectTagOperator, tags="x", project_id="p1").run(),
        lambda: Task(AddProjectTagOperator, tags="x", project_ids=["p1", "p2"]).run(),
        lambda: Task(CleanUpProjectTagsOperator, all_projects=True).run(),
        lambda: Task(ProjectTagSensor, tags="x", project_id="p1").operator.poke({}),
    ],
    ids=["one", "many", "clean-up", "sensor"],
)
def test_a_task_names_the_proxy_without_its_password(run: Callable[[], Any], proxy: RawServer) -> None:
    with pytest.raises((AirflowException, TransportError)) as caught:
        run()
    assert not isinstance(caught.value, AirflowFailException), "a retry may help"
    expected = f"the proxy 127.0.0.1:{proxy.port} did not open a connection (it answered 407)"
    assert expected in str(caught.value)
    assert all(head.startswith(b"CONNECT api.paperspace.com:443 ") for head in proxy.heads)
    assert API_KEY.encode() not in b"".join(proxy.heads)


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asynchronous"])
def test_a_notifier_names_the_proxy_without_its_password(
    proxy: RawServer, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    notifier = ProjectTagNotifier(project_id="p1", add="x")
    context: Any = {}
    if is_async:
        asyncio.run(notifier.async_notify(context))
    else:
        notifier.notify(context)
    assert f"the proxy 127.0.0.1:{proxy.port} did not open a connection" in caplog.text


def test_the_test_button_names_the_proxy_without_its_password(proxy: RawServer) -> None:
    works, message = PaperspaceHook().test_connection()
    assert not works
    assert f"the proxy 127.0.0.1:{proxy.port} did not open a connection (it answered 407)" in message


def test_a_check_shows_the_proxy_without_its_password(proxy: RawServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["check"]) == 1
    report = capsys.readouterr().out
    assert f"  proxy          127.0.0.1:{proxy.port}" in report
    assert "Extra 'proxy'" in report
    assert not {PASSWORD, QUOTED_PASSWORD, "ada"} & set(report.replace(":", " ").replace("@", " ").split())


def test_a_check_shows_a_proxy_and_not_the_one_of_the_environment(
    proxy: RawServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    command_line.main(["check"])
    assert "HTTPS_PROXY" not in capsys.readouterr().out


def test_a_check_shows_protected_tags_and_an_unused_proxy(
    server: LocalPaperspaceServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"proxy": "http://127.0.0.1:1", "protected_tags": "prod, release:*"}
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json(**extra))
    assert command_line.main(["check"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "proxy not used for this host Extra 'proxy'" in lines
    assert "protected tags 'prod', 'release:*' Extra 'protected_tags'" in lines


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asynchronous"])
def test_airflow_masks_the_password_in_each_form(proxy: RawServer, is_async: bool) -> None:
    async def open_and_close() -> None:
        async with await PaperspaceHook().get_async_conn():
            pass

    if is_async:
        asyncio.run(open_and_close())
    else:
        assert PaperspaceHook().settings.client.proxy_address == f"127.0.0.1:{proxy.port}"
    header = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    assert [redact(secret) for secret in (PASSWORD, QUOTED_PASSWORD, header)] == ["***"] * 3


def test_the_address_of_a_proxy_without_a_password_stays_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow masks the value of an Extra named ``proxy``, the whole URL: messages name host and port alone."""
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", connection_json("http://another-proxy.example.com:3128"))
    address = PaperspaceHook().settings.client.proxy_address
    assert redact(address) == "another-proxy.example.com:3128"
