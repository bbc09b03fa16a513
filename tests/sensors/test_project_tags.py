"""The sensor: poking, deferring, and what each event of the trigger leads to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_paperspace.api.errors import InvalidArgumentError, ServerError
from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger
from tests.operators.task import Task, asked, names, rendered
from tests.operators.test_all_operators import reads_of_template_fields
from tests.triggers.polls import after_polls

ON_AIRFLOW_2 = airflow.__version__ < "3"


@pytest.fixture(autouse=True)
def _connected(server: LocalPaperspaceServer, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)


def sensor(**arguments: Any) -> Task:
    return Task(ProjectTagSensor, **{"project_id": "p1", "tags": "gpu", "poke_interval": 0, **arguments})


URL = "https://console.paperspace.com/acme/projects/p1"


def button(task: Task) -> str:
    """Return where the button of a finished task leads; Airflow 2 reads it from what was pushed."""
    (link,) = task.operator.operator_extra_links
    if ON_AIRFLOW_2:
        return task.links.get(link.xcom_key, "")
    url: str = link.get_link(task.operator, ti_key=None)
    assert task.links == {}, "no XCom"
    return url


def deferred(task: Task) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        task.run()
    return caught.value


@pytest.mark.parametrize("deferrable", [True, False])
def test_tags_that_are_there_end_the_wait_at_the_first_poll(server: LocalPaperspaceServer, deferrable: bool) -> None:
    task = sensor(tags=["g*"], deferrable=deferrable)
    assert names(task.run()) == ["gpu"]
    assert len(asked(server)) == 1
    assert button(task) == URL


def test_a_sensor_pokes_until_all_tags_match(server: LocalPaperspaceServer) -> None:
    after_polls(server, 3, lambda: server.paperspace.add_tag("p1", {"name": "approved:ada"}))
    assert names(sensor(tags=["gpu", "approved:*"]).run()) == ["approved:ada", "gpu"]
    assert len(server.requests) == 4


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
        "project_ids": None,
        "tags": ["approved", {"name": "eval:*"}],
        "mode_of_match": "any",
        "paperspace_conn_id": "paperspace_default",
        "poke_interval": 30.0,
        "exponential_backoff": False,
        "max_wait": None,
        "max_failures": 7,
    }
    assert (left.method_name, left.kwargs, left.timeout) == ("execute_complete", {"console_url": URL}, None)


def test_the_execution_timeout_holds_while_deferred() -> None:
    left = deferred(sensor(tags="approved", deferrable=True, execution_timeout=timedelta(minutes=5)))
    assert left.timeout == timedelta(minutes=5)


def by_name(name: str, **arguments: Any) -> Task:
    return Task(ProjectTagSensor, **{"project_name": name, "tags": "gpu", "poke_interval": 0, **arguments})


def test_a_project_can_be_set_by_name_or_as_json(server: LocalPaperspaceServer) -> None:
    assert names(by_name("one").run()) == ["gpu"]
    assert names(sensor(project_id={"id": "p1", "name": "one"}).run()) == ["gpu"]
    left = deferred(by_name("one", tags="x", deferrable=True))
    assert left.trigger.serialize()[1]["project_id"] == "p1"


def test_a_first_poll_that_fails_still_defers(server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture) -> None:
    server.fault("500", path="/tags", times=0)
    deferred(sensor(deferrable=True))
    assert "The first poll failed; the triggerer keeps polling" in caplog.text
    with pytest.raises(ServerError):
        sensor(deferrable=False).run()


BAD_ARGUMENTS = [
    ("project_id", "", "project_id is blank"),
    ("project_id", None, "project_id is None"),
    ("tags", [], "tags is empty"),
    ("tags", None, "tags is None"),
    ("tags", "", "tags is blank"),
    ("tags", "None", "tags is the text 'None'"),
    ("tags", "['a']", "render_template_as_native_obj"),
    ("tags", "[stale", r"'\[' is never closed"),
    ("paperspace_conn_id", " ", "paperspace_conn_id is blank"),
]


@pytest.mark.parametrize(
    ("argument", "value", "complaint"),
    [
        *BAD_ARGUMENTS,
        ("project_name", "", "set exactly one of project_id, project_name and project_ids"),
        ("mode_of_match", "most", "mode_of_match is 'most'"),
        ("max_failures", -1, "max_failures is -1"),
    ],
)
def test_bad_constants_fail_when_the_dag_is_parsed(argument: str, value: Any, complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"Task 'task': .*{complaint}"):
        sensor(**{argument: value})


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("argument", "value", "complaint"),
    [
        *BAD_ARGUMENTS,
        ("project_id", "nope", "Project 'nope'.*404"),
        ("paperspace_conn_id", "bad_conn", "has no API key"),
        ("paperspace_conn_id", "no_conn", "Airflow has no connection 'no_conn'"),
    ],
)
def test_a_permanent_error_fails_the_task_without_a_retry(
    airflow_db: object, monkeypatch: pytest.MonkeyPatch, deferrable: bool, argument: str, value: Any, complaint: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD_CONN", "paperspace://")
    arguments = {"project_id": "p1", "tags": "gpu", "poke_interval": 0, "deferrable": deferrable}
    with pytest.raises(AirflowFailException, match=complaint):
        rendered(ProjectTagSensor, argument, value, **arguments).run()
    with pytest.raises(AirflowSkipException):
        rendered(ProjectTagSensor, argument, value, **arguments, soft_fail=True).run()


def test_an_unknown_project_name_fails_the_task() -> None:
    with pytest.raises(AirflowFailException, match="no project has this name"):
        by_name("nobody").run()


@pytest.mark.parametrize(
    ("tags", "ends"), [("exp[1]", True), (["exp[1]"], True), ({"name": "exp[1]"}, False), ([{"name": "exp[1]"}], False)]
)
def test_a_name_of_another_task_is_no_pattern(server: LocalPaperspaceServer, tags: Any, ends: bool) -> None:
    """The project has the tag ``exp1``, which only the pattern matches; the rule holds through the triggerer, too."""
    server.paperspace.add_tag("p1", {"name": "exp1"})
    condition = sensor(tags=tags).operator._condition()
    assert condition.match(Tag(1, name, "") for name in server.paperspace.tag_names("p1")).is_met is ends
    if ends:
        assert names(sensor(tags=tags).run()) == ["exp1"]
        return
    with pytest.raises(AirflowSensorTimeout):
        sensor(tags=tags, timeout=0).run()
    left = deferred(sensor(tags=tags, deferrable=True))
    assert left.trigger.serialize()[1]["tags"] == [{"name": "exp[1]"}]


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ({"exponential_backoff": True}, (True, None)),
        ({"exponential_backoff": True, "max_wait": timedelta(minutes=5)}, (True, 300.0)),
        ({"exponential_backoff": True, "max_wait": 90}, (True, 90.0)),
    ],
)
def test_a_deferred_sensor_passes_its_backoff_on(arguments: dict[str, Any], passed: tuple[bool, float | None]) -> None:
    _, stored = deferred(sensor(tags="approved", deferrable=True, **arguments)).trigger.serialize()
    assert (stored["exponential_backoff"], stored["max_wait"]) == passed


@pytest.mark.parametrize("options", [{"deferrable": True}, {"mode": "poke"}])
def test_a_poll_is_a_single_request(server: LocalPaperspaceServer, options: dict[str, Any]) -> None:
    assert names(sensor(**options).run()) == ["gpu"]
    assert [request.method for request in server.requests] == ["GET"]


def test_each_poke_of_a_new_process_is_a_single_request(server: LocalPaperspaceServer) -> None:
    """In ``reschedule`` mode each poke is a process of its own, with a sensor of its own."""
    for _ in range(3):
        task = sensor(tags="approved", mode="reschedule")
        assert not task.operator.poke(task.context).is_done
    assert len(server.requests) == 3


def test_a_button_is_there_again_after_a_deferral(server: LocalPaperspaceServer) -> None:
    """The process that continues does not know what the first one looked up."""
    left = deferred(by_name("one", tags="x", deferrable=True))
    requests, task = len(server.requests), by_name("one", tags="x", deferrable=True)
    task.operator.execute_complete(task.context, {"status": "met", "tags": TAGS}, **left.kwargs)
    if not ON_AIRFLOW_2:
        assert button(task) == URL
    assert len(server.requests) == requests


def test_never_fail_skips_on_an_error_that_may_pass(server: LocalPaperspaceServer) -> None:
    server.fault("500", times=0)
    for deferrable in (True, False):
        with pytest.raises(AirflowSkipException):
            by_name("one", deferrable=deferrable, never_fail=True).run()
    with pytest.raises(ServerError):
        by_name("one", deferrable=True).run()


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
    with pytest.raises(InvalidArgumentError, match="set exactly one of project_id, project_name and project_ids"):
        ProjectTagSensor(task_id="t", tags="x", **arguments)


def test_the_default_of_deferrable_is_airflows() -> None:
    assert ProjectTagSensor(task_id="t", project_id="p", tags="x").deferrable is False
