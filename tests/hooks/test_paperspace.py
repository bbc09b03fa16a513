"""The hook: its settings, its clients, and the Test button."""

from __future__ import annotations

import asyncio
import gc
import inspect
from typing import Any

import pytest

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.api.client import PaperspaceClient
from airflow_provider_paperspace.api.errors import NotFoundError
from airflow_provider_paperspace.api.project_tags import list_project_tags
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook
from tests.secret_watch import API_KEY


def test_a_new_hook_reads_no_connection() -> None:
    assert PaperspaceHook("not_there").paperspace_conn_id == "not_there"


def test_a_hook_has_the_methods_of_the_client(connection: str, server: LocalPaperspaceServer) -> None:
    with PaperspaceHook() as hook:
        assert [tag.name for tag in hook.add_project_tags("p1", ["a", "gpu"])] == ["a", "gpu"]
        assert [tag.name for tag in hook.list_project_tags("p1", order="asc")] == ["gpu", "a"]
        assert [tag.name for tag in hook.iter_project_tags("p1", page_size=1)] == ["a", "gpu"]
        assert [tag.name for tag in hook.remove_project_tags("p1", "a")] == ["a"]
        assert [project.id for project in hook.iter_projects()] == ["p1"]
        assert hook.get_project("p1").name == "one"
        session = hook.get_session()
        assert session is not None
        assert session.team_namespace == "acme"
        change = hook.set_project_tags("p1", ["b"], within="b")
        assert [tag.name for tag in change.added] == ["b"]
        change = hook.converge_project_tags("p1", policies.removing("b"))
        assert [tag.name for tag in change.removed] == ["b"]
        assert hook.resolve_project_id("one") == "p1"
        with pytest.raises(NotFoundError, match="connection 'paperspace_default'"):
            hook.list_project_tags("nope")


def test_a_hook_runs_a_flow(connection: str) -> None:
    with PaperspaceHook() as hook:
        assert [tag.name for tag in hook.run(list_project_tags("p1"))] == ["gpu"]
        with pytest.raises(NotFoundError, match="connection 'paperspace_default'"):
            hook.run(list_project_tags("nope"))


def test_a_hook_has_the_signatures_of_the_client() -> None:
    for name, method in vars(PaperspaceClient).items():
        if not name.startswith("_"):
            assert inspect.signature(getattr(PaperspaceHook, name)) == inspect.signature(method), name


def test_a_client_is_kept_until_the_hook_is_closed(connection: str) -> None:
    hook = PaperspaceHook()
    first = hook.get_conn()
    assert hook.get_conn() is first
    hook.close()
    hook.close()
    assert hook.get_conn() is not first
    hook.close()


def test_the_settings_are_read_once_until_the_hook_is_closed(
    connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = PaperspaceHook()
    first = hook.settings
    hook.get_conn()
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json(timeout=7))
    assert hook.settings is first
    assert first.client.timeout_s == 5
    hook.close()
    assert hook.settings.client.timeout_s == 7


def test_a_forgotten_hook_closes_its_client(connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(PaperspaceClient, "close", lambda self: closed.append(True))
    hook = PaperspaceHook()
    hook.get_conn()
    del hook
    gc.collect()
    assert closed == [True]


def test_an_asynchronous_client_does_not_block_the_loop(connection: str, server: LocalPaperspaceServer) -> None:
    async def names() -> list[str]:
        client = await PaperspaceHook().get_async_conn()
        assert isinstance(client, AsyncPaperspaceClient)
        async with client:
            return [tag.name async for tag in client.iter_project_tags("p1")]

    assert asyncio.run(names(), debug=True) == ["gpu"]


@pytest.mark.parametrize(("max_attempts", "used"), [(None, 2), (1, 1), (7, 2)])
def test_an_asynchronous_client_may_have_fewer_attempts(connection: str, max_attempts: int | None, used: int) -> None:
    async def attempts() -> int:
        async with await PaperspaceHook().get_async_conn(max_attempts=max_attempts) as client:
            return client.settings.max_attempts

    assert asyncio.run(attempts()) == used


def test_the_test_button_names_team_and_user(connection: str) -> None:
    assert PaperspaceHook().test_connection() == (True, "Connected to team 'acme' as ada@example.org")


def test_the_test_button_reports_a_refused_key(
    connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.app, "api_key", "another")
    works, said = PaperspaceHook().test_connection()
    assert not works
    assert "does not accept the API key of connection 'paperspace_default'" in said
    assert "Create a new one in the Paperspace console (Team settings > API keys) and set it as" in said


@pytest.mark.parametrize("fault", ["500", "502", "reset", "truncated", "429", "wrong-types"])
def test_the_test_button_reports_an_error_within_two_attempts(
    connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.fault(fault, times=0)
    works, said = PaperspaceHook().test_connection()
    assert (works, "Session: could not read it" in said) == (False, True)
    assert len(server.requests) <= 2, "it gives up soon"


def test_the_test_button_reports_a_bad_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", "paperspace://:k@http%3A%2F%2Fexample.org")
    works, said = PaperspaceHook("c").test_connection()
    assert (works, said.startswith("Connection 'c': The base URL")) == (False, True)


def test_a_key_with_blanks_around_it_is_masked(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[Any] = []
    monkeypatch.setattr("airflow_provider_paperspace.hooks.paperspace.mask_secret", masked.append)
    monkeypatch.setenv("AIRFLOW_CONN_C", server.connection_json().replace(API_KEY, f" {API_KEY}\\n"))
    assert PaperspaceHook("c").test_connection()[0]
    assert masked == [API_KEY]
