"""A sensor on many projects: all of them must meet the condition, and the wait is deferred as one."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, TaskDeferred

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from tests.operators.task import Task, rendered
from tests.triggers.polls import after_polls


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(
        seed={"projects": [{"id": "p1", "tags": ["gpu"]}, {"id": "p2", "tags": ["gpu", "busy"]}, {"id": "p3"}]}
    )
    return server


def sensor(**arguments: Any) -> Task:
    return Task(
        ProjectTagSensor, **{"project_ids": ["p1", "p2"], "tags": "gpu", "poke_interval": 0, "timeout": 60, **arguments}
    )


@pytest.mark.parametrize("deferrable", [False, True])
def test_tags_of_all_projects_are_returned_by_id(world: LocalPaperspaceServer, deferrable: bool) -> None:
    returned = sensor(deferrable=deferrable).run()
    assert {id_: [tag["name"] for tag in tags] for id_, tags in returned.items()} == {"p1": ["gpu"], "p2": ["gpu"]}
    assert len(world.requests) == 2


def test_a_poll_ends_at_the_first_project_that_is_not_ready(world: LocalPaperspaceServer) -> None:
    after_polls(world, 2, lambda: world.paperspace.add_tag("p3", {"name": "gpu"}))
    assert set(sensor(project_ids=["p3", "p1"]).run()) == {"p1", "p3"}
    assert [request.target.split("/")[2] for request in world.requests] == ["p3", "p3", "p3", "p1"]


def test_one_trigger_waits_for_all(world: LocalPaperspaceServer) -> None:
    task = sensor(tags="busy", mode_of_match="none", deferrable=True)
    with pytest.raises(TaskDeferred) as caught:
        task.run()
    trigger = caught.value.trigger
    assert trigger.serialize()[1]["project_ids"] == ["p1", "p2"]
    assert trigger.serialize()[1]["project_id"] is None
    event = {"status": "met", "tags": {"p1": [], "p2": []}}
    assert task.operator.execute_complete(task.context, event) == event["tags"]
    with pytest.raises(AirflowException, match="unexpected event"):
        task.operator.execute_complete(task.context, {"status": "met", "tags": []})


def test_projects_of_another_task_are_taken(world: LocalPaperspaceServer) -> None:
    task = rendered(ProjectTagSensor, "project_ids", [{"id": "p1", "name": "one"}, "p2"], tags="gpu")
    assert set(task.run()) == {"p1", "p2"}


@pytest.mark.parametrize("deferrable", [False, True])
def test_no_projects_are_no_wait(world: LocalPaperspaceServer, deferrable: bool) -> None:
    assert rendered(ProjectTagSensor, "project_ids", [], tags="gpu", deferrable=deferrable).run() == {}
    assert not world.requests


@pytest.mark.parametrize("value", [None, "", "None", "p1", 7])
def test_an_empty_argument_is_refused(world: LocalPaperspaceServer, value: Any) -> None:
    with pytest.raises(AirflowFailException, match="Task 'task': project_ids is "):
        rendered(ProjectTagSensor, "project_ids", value, tags="gpu").run()
    assert not world.requests


def test_a_deleted_project_fails_the_task(world: LocalPaperspaceServer) -> None:
    with pytest.raises(AirflowFailException, match="Project 'nope'"):
        sensor(project_ids=["p1", "nope"]).run()
