"""The notifier: what it changes, where it is called from, and that it never raises."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any, ClassVar

import airflow
import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.api._messages import Request, Response
from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook
from airflow_provider_paperspace.notifications.project_tags import (
    ATTEMPT_TIMEOUT_S,
    BUDGET_S,
    MAX_ATTEMPTS,
    ProjectTagNotifier,
)
from tests.conversation import TagStore
from tests.secret_watch import API_KEY
from tests.silence import BASE_URL, SilentService
from tests.triggers import virtual_time

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")

pytestmark = pytest.mark.usefixtures("connection")


def context(**more: Any) -> Any:
    return {"dag": DAG("d", schedule=None), "run_id": "run-7", **more}


def notify(**arguments: Any) -> None:
    ProjectTagNotifier(**arguments)(context())


def tags(server: LocalPaperspaceServer) -> list[str]:
    return server.paperspace.tag_names("p1")


def test_a_notifier_renders_its_tags(server: LocalPaperspaceServer) -> None:
    notify(project_id="p1", add=["failed:{{ run_id }}"], remove="gpu")
    assert tags(server) == ["failed:run-7"]


def test_a_notifier_finds_a_project_by_its_name(server: LocalPaperspaceServer) -> None:
    notify(project_name="one", add="failed")
    assert tags(server) == ["gpu", "failed"]


def test_a_notifier_takes_a_project_from_another_task(server: LocalPaperspaceServer) -> None:
    notify(project_id={"id": "p1", "name": "one"}, add="failed")
    assert tags(server) == ["gpu", "failed"]


def test_a_notifier_runs_in_an_event_loop(server: LocalPaperspaceServer) -> None:
    asyncio.run(ProjectTagNotifier(project_id="p1", add="late").async_notify(context()), debug=True)
    asyncio.run(ProjectTagNotifier(project_name="one", remove="gpu").async_notify(context()), debug=True)
    assert tags(server) == ["late"]


@pytest.mark.skipif(ON_AIRFLOW_2, reason="Airflow 2 has no deadlines")
def test_a_deadline_awaits_a_notifier(server: LocalPaperspaceServer) -> None:
    from airflow.triggers.callback import CallbackTrigger

    async def meet() -> list[Any]:
        arguments = {"project_id": "p1", "add": ["late:{{ run_id }}"], "context": {"run_id": "run-8"}}
        trigger = CallbackTrigger(f"{ProjectTagNotifier.__module__}.ProjectTagNotifier", arguments)
        return [event.payload["state"] async for event in trigger.run()]

    assert [str(state) for state in asyncio.run(meet())] == ["running", "success"]
    assert tags(server) == ["gpu", "late:run-8"]


def test_a_notifier_serves_many_runs(server: LocalPaperspaceServer) -> None:
    notifier = ProjectTagNotifier(project_id="p1", add="{{ run_id }}")
    for number in (1, 2):
        notifier(context(run_id=f"run-{number}"))
    assert tags(server) == ["gpu", "run-1", "run-2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"project_id": "nope", "add": "x"}, "the service answered 404"),
        ({"project_id": "{{ nothing.here }}", "add": "x"}, "'nothing' is undefined"),
        ({"project_id": "p1", "add": "x", "remove": "x"}, "add and remove both contain 'x'"),
        ({"project_id": "p1", "add": 7}, "add is an int"),
        ({"project_id": "", "add": "x"}, "project_id is blank"),
        ({"project_id": None, "add": "x"}, "project_id is None"),
        ({"project_name": " ", "add": "x"}, "project_name is blank"),
        ({"project_id": "p1", "add": None}, "add is None"),
        ({"project_id": "p1", "add": "x", "paperspace_conn_id": "bad_conn"}, "has no API key"),
        ({"project_id": "p1", "add": "x", "paperspace_conn_id": "not_there"}, "not_there"),
    ],
)
def test_a_failed_notifier_logs_and_raises_nothing(
    server: LocalPaperspaceServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    arguments: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD_CONN", "paperspace://")
    notify(**arguments)
    assert "could not make all tag changes (add " in caplog.text
    assert message in caplog.text
    assert tags(server) == ["gpu"]
    if "{{" not in str(arguments):
        caplog.clear()
        asyncio.run(ProjectTagNotifier(**arguments).async_notify(context()))
        assert message in caplog.text


class TestTheBudget:
    """Airflow's DAG processor ends a callback after 50 s: a notifier is done, or gives up, within 20 s."""

    NOTIFIER: ClassVar[dict[str, Any]] = {"project_id": "p1", "add": ["a", "b"], "remove": "gpu"}

    @pytest.fixture(autouse=True)
    def _patient_connection(self, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
        patient = {"conn_type": "paperspace", "host": BASE_URL, "password": API_KEY}
        monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", json.dumps(patient))

    @pytest.mark.parametrize("answered", range(5))
    def test_a_silent_service_does_not_hold_a_callback(
        self, answered: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        service = SilentService(TagStore(["gpu"]), answered=answered)
        service.serve_blocking(monkeypatch)
        started_s = service.clock.now_s
        notify(**self.NOTIFIER)
        assert service.clock.now_s - started_s <= BUDGET_S
        self.assert_gave_up(service, answered, caplog)
        silent_s = service.timeouts_s[answered:]
        assert sum(silent_s) <= BUDGET_S
        assert all(timeout_s <= ATTEMPT_TIMEOUT_S for timeout_s in silent_s)

    @pytest.mark.parametrize("answered", range(5))
    def test_a_silent_service_does_not_hold_the_triggerer(
        self, answered: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        service = SilentService(TagStore(["gpu"]), answered=answered)
        service.serve_async(monkeypatch)
        monkeypatch.setattr(PaperspaceHook, "get_async_conn", _open_without_threads)

        async def seconds() -> float:
            loop = asyncio.get_running_loop()
            started_s = loop.time()
            await ProjectTagNotifier(**self.NOTIFIER).async_notify(context())
            return loop.time() - started_s

        assert virtual_time.run(seconds()) <= BUDGET_S
        self.assert_gave_up(service, answered, caplog)

    def assert_gave_up(self, service: SilentService, answered: int, caplog: pytest.LogCaptureFixture) -> None:
        is_done = answered == 4
        assert (service.store.names == ["a", "b"]) == is_done
        assert ("could not make all tag changes" in caplog.text) == (not is_done)
        assert service.most_attempts <= MAX_ATTEMPTS
        assert len(service.sent) - answered <= 3

    def test_a_connection_that_hangs_does_not_hold_the_triggerer(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def hang(*_: Any, **__: Any) -> Any:
            await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(PaperspaceHook, "get_async_conn", hang)
        virtual_time.run(ProjectTagNotifier(**self.NOTIFIER).async_notify(context()))
        assert "Project 'p1': could not make all tag changes (add ['a', 'b'], remove 'gpu'): the time limit of" in (
            caplog.text
        )
        assert "the time limit of 20 s" in caplog.text

    def test_a_slow_service_is_left_after_twenty_seconds(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each answer is in time, and all of them together are not."""

        async def answer_slowly(client: AsyncPaperspaceClient, request: Request) -> Response:
            await asyncio.sleep(8)
            return store(request)

        store = TagStore(["gpu"])
        monkeypatch.setattr(AsyncPaperspaceClient, "_send_once", answer_slowly)
        monkeypatch.setattr(PaperspaceHook, "get_async_conn", _open_without_threads)
        virtual_time.run(ProjectTagNotifier(**self.NOTIFIER).async_notify(context()))
        assert store.writes == [("POST", "a")]
        assert "the time limit of 20 s" in caplog.text

    def test_a_connection_may_be_less_patient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        extra = {"timeout": 3, "max_attempts": 1}
        connection = {"conn_type": "paperspace", "host": BASE_URL, "password": API_KEY, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", json.dumps(connection))
        service = SilentService(TagStore(), answered=0)
        service.serve_blocking(monkeypatch)
        notify(**self.NOTIFIER)
        assert service.timeouts_s == [3]


async def _open_without_threads(hook: PaperspaceHook, *, max_attempts: int, timeout_s: float) -> AsyncPaperspaceClient:
    """Open the client as the hook does, but in this thread: a virtual loop does not wait for threads."""
    settings = hook.settings.client
    return AsyncPaperspaceClient(
        replace(
            settings,
            max_attempts=min(settings.max_attempts, max_attempts),
            timeout_s=min(settings.timeout_s, timeout_s),
        )
    )


@pytest.mark.parametrize("given", [{}, {"project_id": "p1", "project_name": "one"}])
def test_a_notifier_takes_exactly_one_project(given: dict[str, Any]) -> None:
    with pytest.raises(
        InvalidArgumentError, match="ProjectTagNotifier.*set exactly one of project_id, project_name and project_ids"
    ):
        ProjectTagNotifier(add="x", **given)
