"""The notifier: what it changes, where it is called from, and that it never raises."""

from __future__ import annotations

import asyncio
from typing import Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.notifications.project_tags import ProjectTagNotifier

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
        ({"project_id": "", "add": "x"}, "project id is empty"),
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
    assert "was not tagged (add " in caplog.text
    assert message in caplog.text
    assert tags(server) == ["gpu"]
    if "{{" not in arguments["project_id"]:
        caplog.clear()
        asyncio.run(ProjectTagNotifier(**arguments).async_notify(context()))
        assert message in caplog.text


@pytest.mark.parametrize("given", [{}, {"project_id": "p1", "project_name": "one"}])
def test_a_notifier_takes_exactly_one_project(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="set exactly one of project_id and project_name"):
        ProjectTagNotifier(add="x", **given)
