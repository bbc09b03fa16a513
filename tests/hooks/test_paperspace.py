"""The hook: its settings, its clients, and the Test button."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import threading
import traceback
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_paperspace._quoting import LOG_COLUMNS
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.api.client import PaperspaceClient
from airflow_provider_paperspace.api.errors import InvalidArgumentError, NotFoundError, ServerError
from airflow_provider_paperspace.api.project_tags import list_project_tags
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook, open_hook
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
    assert first.client.timeout_s == 30
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


def test_a_hook_closes_each_client_once(connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[PaperspaceClient] = []
    monkeypatch.setattr(PaperspaceClient, "close", lambda self: closed.append(self))
    hook = PaperspaceHook()
    clients = []
    for _ in range(2):
        clients.append(hook.get_conn())
        hook.close()
    del hook
    gc.collect()
    assert closed == clients


def test_an_asynchronous_client_does_not_block_the_loop(connection: str, server: LocalPaperspaceServer) -> None:
    async def names() -> list[str]:
        client = await PaperspaceHook().get_async_conn()
        assert isinstance(client, AsyncPaperspaceClient)
        async with client:
            return [tag.name async for tag in client.iter_project_tags("p1")]

    assert asyncio.run(names(), debug=True) == ["gpu"]


@pytest.mark.parametrize(
    ("limits", "used"),
    [
        ({}, (2, 30.0)),
        ({"max_attempts": 1}, (1, 30.0)),
        ({"max_attempts": 7, "timeout_s": 60.0}, (2, 30.0)),
        ({"timeout_s": 0.5}, (2, 0.5)),
    ],
)
def test_an_asynchronous_client_may_be_less_patient(
    connection: str, limits: dict[str, Any], used: tuple[int, float]
) -> None:
    async def patience() -> tuple[int, float]:
        async with await PaperspaceHook().get_async_conn(**limits) as client:
            return client.settings.max_attempts, client.settings.timeout_s

    assert asyncio.run(patience()) == used


def test_the_test_button_names_team_and_user(connection: str, server: LocalPaperspaceServer) -> None:
    assert PaperspaceHook().test_connection() == (True, "Connected to team 'acme' as ada@example.org")
    assert len(server.requests) == 1


@pytest.mark.parametrize("team", ["", "acm", "ACME"])
def test_the_test_button_says_which_team_to_set(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, team: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", server.connection_json(team=team))
    assert PaperspaceHook("c").test_connection() == (
        True,
        "Connected to team 'acme' as ada@example.org. To add a link from each task to its project, set Team to 'acme'",
    )


@pytest.mark.parametrize("text", ["acme\nERROR - forged\x1b[31m", "x" * 3_000_000], ids=["forged line", "3 MB"])
def test_the_test_button_quotes_and_cuts_what_it_shows(
    connection: str, server: LocalPaperspaceServer, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(server.paperspace.team, "namespace", text)
    monkeypatch.setitem(server.paperspace.user, "email", text)
    works, said = PaperspaceHook().test_connection()
    assert works
    assert said.isprintable()
    assert len(said) < 1_000


def test_the_test_button_reports_a_wrong_host(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", server.connection_json().replace(server.url, f"{server.url}/elsewhere"))
    works, said = PaperspaceHook("c").test_connection()
    assert not works
    assert (
        said == f"There is no Paperspace API at {server.url}/elsewhere (404). Check the connection's Base URL (Host)."
    )


def test_the_test_button_reports_a_refused_key(
    connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.app, "api_key", "another")
    works, said = PaperspaceHook().test_connection()
    assert not works
    assert "does not accept this API key" in said
    assert connection not in said
    assert "Create a new one in the Paperspace console (Team settings > API keys) and enter it as" in said


@pytest.mark.parametrize("fault", ["500", "502", "reset", "truncated", "429", "wrong-types"])
def test_the_test_button_reports_an_error_within_two_attempts(
    connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.fault(fault, times=0)
    works, said = PaperspaceHook().test_connection()
    assert (works, "API key: could not check it" in said) == (False, True)
    assert connection not in said, "the Test button tests a copy under a random id"
    assert len(server.requests) <= 2, "it gives up soon"


def test_the_test_button_reports_a_bad_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", "paperspace://:k@http%3A%2F%2Fexample.org")
    works, said = PaperspaceHook("c").test_connection()
    assert (works, said.startswith("This connection: The base URL")) == (False, True)


def test_a_key_with_blanks_around_it_is_masked(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[Any] = []
    monkeypatch.setattr("airflow_provider_paperspace.hooks.paperspace.mask_secret", masked.append)
    monkeypatch.setenv("AIRFLOW_CONN_C", server.connection_json().replace(API_KEY, f" {API_KEY}\\n"))
    assert PaperspaceHook("c").test_connection()[0]
    assert masked == [API_KEY]


@pytest.mark.parametrize(("blanks", "masks"), [("", []), (" ", [API_KEY])], ids=["key alone", "key with blanks"])
def test_an_asynchronous_client_masks_it_outside_the_loop(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, blanks: str, masks: list[str]
) -> None:
    masked: list[str] = []
    threads: set[int] = set()

    def mask(secret: str) -> None:
        """Ask a supervisor through the loop, as Airflow 3 does in a triggerer; in the loop's own thread it hangs."""
        masked.append(secret)
        threads.add(threading.get_ident())
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(timeout=30)

    async def names() -> list[str]:
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with await PaperspaceHook("c").get_async_conn() as client:
            return [tag.name for tag in await client.list_project_tags("p1")]

    loop: asyncio.AbstractEventLoop
    monkeypatch.setattr("airflow_provider_paperspace.hooks.paperspace.mask_secret", mask)
    monkeypatch.setenv("AIRFLOW_CONN_C", server.connection_json().replace(API_KEY, f"{API_KEY}{blanks}"))
    assert asyncio.run(names()) == ["gpu"]
    assert masked == masks
    assert threading.get_ident() not in threads


class TestOpenHook:
    """What a task shows when something of ours fails: one line, and no chain that repeats it."""

    def failed(self, conn_id: str = "paperspace_default", error: Exception | None = None) -> BaseException:
        def use() -> None:
            with open_hook(conn_id, "t") as hook:
                if error is not None:
                    raise error
                hook.list_project_tags("nope")

        with pytest.raises(Exception) as caught:  # noqa: PT011  # which one is for the tests to say
            use()
        return caught.value

    def errors(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]

    def assert_is_shown_once(self, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
        (logged,) = self.errors(caplog)
        assert logged.split() == str(error).split()
        assert max(map(len, logged.splitlines())) <= LOG_COLUMNS, "Airflow's log view cuts longer lines"
        assert "".join(traceback.format_exception(error)).count("Traceback") == 1
        assert error.__cause__ is None
        assert error.__suppress_context__

    def test_a_permanent_error_fails_at_once(self, connection: str, caplog: pytest.LogCaptureFixture) -> None:
        error = self.failed()
        assert type(error) is AirflowFailException
        assert "Project 'nope': could not list its tags: the service answered 404" in str(error)
        self.assert_is_shown_once(error, caplog)

    def test_a_bad_argument_names_the_task(self, connection: str, caplog: pytest.LogCaptureFixture) -> None:
        error = self.failed(error=InvalidArgumentError("tags is None."))
        assert (type(error), str(error)) == (AirflowFailException, "Task 't': tags is None.")
        self.assert_is_shown_once(error, caplog)

    def test_another_error_stays_what_it_is(
        self, connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
        server.fault("500", times=0)
        error = self.failed()
        assert isinstance(error, ServerError)
        self.assert_is_shown_once(error, caplog)

    def test_a_missing_connection_fails_at_once(self, caplog: pytest.LogCaptureFixture, airflow_db: object) -> None:
        error = self.failed("not_there")
        assert type(error) is AirflowFailException
        assert str(error).startswith("Task 't': Airflow has no connection 'not_there' (")
        assert "Create it under Admin > Connections with type Paperspace, or set AIRFLOW_CONN_NOT_THERE." in str(error)
        self.assert_is_shown_once(error, caplog)

    def test_an_error_of_others_is_not_touched(self, connection: str, caplog: pytest.LogCaptureFixture) -> None:
        original = OSError("theirs")
        assert self.failed(error=original) is original
        assert self.errors(caplog) == []
        assert not original.__suppress_context__

    def test_a_success_logs_no_error(self, connection: str, caplog: pytest.LogCaptureFixture) -> None:
        with open_hook(connection, "t") as hook:
            assert len(hook.list_project_tags("p1")) == 1
        assert self.errors(caplog) == []
