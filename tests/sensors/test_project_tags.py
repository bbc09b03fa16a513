"""The sensor: poking, deferring, and what each event of the trigger leads to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_paperspace.api.errors import InvalidArgumentError, ServerError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger
from tests.operators.task import Task, asked, names
from tests.operators.test_all_operators import reads_of_template_fields
from tests.triggers.polls import after_polls


@pytest.fixture(autouse=True)
def _connected(server: LocalPaperspaceServer, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)


def sensor(**arguments: Any) -> Task:
    return Task(ProjectTagSensor, **{"project_id": "p1", "tags": "gpu", "poke_interval": 0, **arguments})


def deferred(task: Task) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        task.run()
    return caught.value


@pytest.mark.parametrize("deferrable", [True, False])
def test_tags_that_are_there_end_the_wait_at_the_first_poll(server: LocalPaperspaceServer, deferrable: bool) -> None:
    task = sensor(tags=["g*"], deferrable=deferrable)
    assert names(task.run()) == ["gpu"]
    assert len(asked(server)) == 1
    assert task.links == {"_link_PaperspaceProjectLink": "https://console.paperspace.com/acme/projects/p1"}


def test_a_sensor_pokes_until_all_tags_match(server: LocalPaperspaceServer) -> None:
    after_polls(server, 3, lambda: server.paperspace.add_tag("p1", {"name": "approved:ada"}))
    assert names(sensor(tags=["gpu", "approved:*"]).run()) == ["approved:ada", "gpu"]
    assert len(asked(server)) == 4
    assert len(server.requests) == 5, "one more, for the link"


def test_a_sensor_can_wait_for_tags_to_be_gone(server: LocalPaperspaceServer) -> None:
    assert sensor(tags="busy", mode_of_match="none").run() == []


def test_a_timeout_fails_or_skips_the_task() -> None:
    with pytest.raises(AirflowSensorTimeout):
        sensor(tags="approved", timeout=0).run()
    with pytest.raises(AirflowSkipException):
        sensor(tags="approved", timeout=0, soft_fail=True).run()


def test_a_deferred_sensor_passes_a_deadline_to_its_trigger(server: LocalPaperspaceServer) -> None:
    before = datetime.now(UTC)
    left = deferred(
        sensor(
            tags=["approved", {"name": "eval:*"}],
            deferrable=True,
            timeout=3600,
            mode_of_match="any",
            poke_interval=timedelta(seconds=30),
            max_failures="7",
        )
    )
    assert len(asked(server)) == 1
    assert isinstance(left.trigger, ProjectTagTrigger)
    _, arguments = left.trigger.serialize()
    deadline = datetime.fromisoformat(arguments.pop("deadline"))
    assert before + timedelta(seconds=3600) <= deadline <= datetime.now(UTC) + timedelta(seconds=3600)
    assert arguments == {
        "project_id": "p1",
        "tags": ["approved", "eval:*"],
        "mode_of_match": "any",
        "paperspace_conn_id": "paperspace_default",
        "poke_interval": 30.0,
        "max_failures": 7,
    }
    assert (left.method_name, left.timeout) == ("execute_complete", None)


def test_the_execution_timeout_holds_while_deferred() -> None:
    left = deferred(sensor(tags="approved", deferrable=True, execution_timeout=timedelta(minutes=5)))
    assert left.timeout == timedelta(minutes=5)


def test_a_project_can_be_set_by_name_or_as_json(server: LocalPaperspaceServer) -> None:
    assert names(sensor(project_id=None, project_name="one").run()) == ["gpu"]
    assert names(sensor(project_id={"id": "p1", "name": "one"}).run()) == ["gpu"]
    left = deferred(sensor(project_id=None, project_name="one", tags="x", deferrable=True))
    assert left.trigger.serialize()[1]["project_id"] == "p1"


def test_a_first_poll_that_fails_still_defers(server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture) -> None:
    server.fault("500", path="/tags", times=0)
    deferred(sensor(deferrable=True))
    assert "The first poll failed; the triggerer keeps polling" in caplog.text
    with pytest.raises(ServerError):
        sensor(deferrable=False).run()


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"project_id": "nope"}, "Project 'nope'.*404"),
        ({"project_id": ""}, "project id is empty"),
        ({"tags": []}, "tags is empty: there is no tag to wait for"),
        ({"tags": ""}, "blank"),
        ({"tags": "['a']"}, "render_template_as_native_obj"),
        ({"mode_of_match": "most"}, "mode_of_match is 'most'"),
        ({"project_id": None, "project_name": "nobody"}, "no project has this name"),
        ({"paperspace_conn_id": "bad_conn"}, "has no API key"),
    ],
)
def test_a_permanent_error_fails_the_task_without_a_retry(
    monkeypatch: pytest.MonkeyPatch, deferrable: bool, arguments: dict[str, Any], complaint: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD_CONN", "paperspace://")
    with pytest.raises(AirflowFailException, match=complaint) as caught:
        sensor(deferrable=deferrable, **arguments).run()
    assert caught.value.__cause__ is not caught.value
    with pytest.raises(AirflowSkipException):
        sensor(deferrable=deferrable, soft_fail=True, **arguments).run()


def test_never_fail_skips_on_an_error_that_may_pass(server: LocalPaperspaceServer) -> None:
    server.fault("500", times=0)
    for deferrable in (True, False):
        with pytest.raises(AirflowSkipException):
            sensor(project_id=None, project_name="one", deferrable=deferrable, never_fail=True).run()
    with pytest.raises(ServerError):
        sensor(project_id=None, project_name="one", deferrable=True).run()


TAGS = [{"id": 1, "name": "gpu", "dtCreated": "2026-03-02T09:15:00.000Z"}]


def test_a_sensor_returns_the_tags_of_the_event() -> None:
    task = sensor()
    assert task.operator.execute_complete({}, {"status": "met", "project_id": "p1", "tags": TAGS}) == TAGS


@pytest.mark.parametrize(
    ("event", "error", "message"),
    [
        ({"status": "timeout", "message": "not in time"}, AirflowSensorTimeout, "not in time"),
        ({"status": "error", "message": "gone", "permanent": True}, AirflowFailException, "gone"),
        ({"status": "error", "message": "down", "permanent": False}, AirflowException, "down"),
        ({"status": "error", "message": "down"}, AirflowException, "down"),
        (None, AirflowException, "unexpected event from ProjectTagTrigger: None"),
        ({}, AirflowException, "unexpected event from ProjectTagTrigger"),
        ({"status": "success"}, AirflowException, "unexpected event from ProjectTagTrigger"),
        ({"status": "met"}, AirflowException, "unexpected event from ProjectTagTrigger"),
        ({"status": "met", "tags": "gpu"}, AirflowException, "unexpected event from ProjectTagTrigger"),
        ("met", AirflowException, "unexpected event from ProjectTagTrigger"),
    ],
)
def test_any_other_event_fails_the_task(event: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        sensor().operator.execute_complete({}, event)
    if error is AirflowException:
        assert not isinstance(caught.value, (AirflowFailException, AirflowSensorTimeout)), "a retry may help"


@pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("status", ["timeout", "error"])
def test_a_soft_failure_skips_the_task(option: str, status: str) -> None:
    with pytest.raises(AirflowSkipException, match="not in time"):
        sensor(**{option: True}).operator.execute_complete({}, {"status": status, "message": "not in time"})


def test_the_constructor_leaves_templates_alone() -> None:
    operator = ProjectTagSensor(task_id="t", project_id="{{ x }}", tags=["{{ x }}"], paperspace_conn_id="{{ x }}")
    operator.render_template_fields({"x": "y"})
    assert (operator.project_id, operator.tags, operator.paperspace_conn_id) == ("y", ["y"], "y")
    assert ProjectTagSensor(task_id="t", project_name="{{ x }}", tags="x").project_name == "{{ x }}"
    import inspect

    assert reads_of_template_fields(inspect.getsource(ProjectTagSensor), set(ProjectTagSensor.template_fields)) == []


@pytest.mark.parametrize("arguments", [{}, {"project_id": "p", "project_name": "one"}])
def test_a_sensor_needs_exactly_one_project(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="set exactly one of project_id and project_name"):
        ProjectTagSensor(task_id="t", tags="x", **arguments)


def test_the_default_of_deferrable_is_airflows() -> None:
    assert ProjectTagSensor(task_id="t", project_id="p", tags="x").deferrable is False
