"""Many projects in one task: what it returns, what fails, how it stops, and that a retry completes it."""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_paperspace.api.project_tags import converge_project_tags
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
)
from tests.operators.task import Task, names

IDS = [f"m{i}" for i in range(12)]


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": id_, "tags": ["gpu", "stage:a"]} for id_ in IDS]})
    return server


def tags(world: LocalPaperspaceServer) -> list[list[str]]:
    return [world.paperspace.tag_names(id_) for id_ in IDS]


def test_an_operator_returns_its_result_per_project() -> None:
    added = Task(AddProjectTagOperator, project_ids=IDS, tags=["x", "gpu"])
    assert {id_: names(value) for id_, value in added.run().items()} == {id_: ["x", "gpu"] for id_ in IDS}
    assert list(added.pushed) == ["change"]
    assert {id_: change["added"] for id_, change in added.pushed["change"].items()} == {id_: ["x"] for id_ in IDS}
    assert names(Task(ListProjectTagsOperator, project_ids=IDS, order="asc").run()["m3"]) == ["gpu", "stage:a", "x"]
    changes = Task(SetProjectTagsOperator, project_ids=IDS, tags="stage:b", within="stage:").run()
    assert (changes["m3"]["added"], changes["m3"]["removed"]) == (["stage:b"], ["stage:a"])
    assert names(Task(RemoveProjectTagOperator, project_ids=IDS, tags=["x", "y"]).run()["m3"]) == ["x"]


def test_projects_may_come_from_another_task(world: LocalPaperspaceServer) -> None:
    listed = Task(ListProjectTagsOperator, project_ids=[{"id": "m1"}, "m2", "m1"]).run()
    assert list(listed) == ["m1", "m2"]
    Task(AddProjectTagOperator, project_ids=listed, tags="x").run()
    assert [tag[-1] for tag in tags(world)[:3]] == ["stage:a", "x", "x"]
    assert Task(AddProjectTagOperator, project_ids=[], tags="x").run() == {}


def test_an_unchanged_project_costs_one_request(world: LocalPaperspaceServer) -> None:
    Task(AddProjectTagOperator, project_ids=IDS, tags="gpu").run()
    assert [request.method for request in world.requests] == ["GET"] * len(IDS)


def test_a_failed_project_does_not_stop_the_others(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    world.fault("500", path="/m3/", times=0)
    task = Task(AddProjectTagOperator, project_ids=[*IDS, "nope"], tags="x")
    with pytest.raises(AirflowException) as caught:
        task.run()
    assert not isinstance(caught.value, AirflowFailException), "a retry may fix the 500"
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 of 13 projects failed; completed changes are kept."
    assert lines[1].split() == ["project", "what", "happened", "what", "to", "do"]
    assert lines[3].startswith("m3       could not list its tags: the service answered 500")
    assert lines[4].startswith("nope     could not list its tags: the service answered 404")
    assert "Check the project id" in lines[4]
    assert lines[-1] == "A retry processes the remaining projects."
    assert set(task.pushed["return_value"]) == set(IDS) - {"m3"} == set(task.pushed["change"])
    assert set(task.pushed["failed"]) == {"m3", "nope"}
    assert "Project 'nope'" in task.pushed["failed"]["nope"]
    assert "2 of 13 projects failed:\nproject" in caplog.text


def test_permanent_failures_alone_fail_the_task_at_once() -> None:
    with pytest.raises(AirflowFailException, match="1 of 2 projects failed"):
        Task(AddProjectTagOperator, project_ids=["m1", "nope"], tags="x").run()
    with pytest.raises(AirflowFailException, match="not on the project: 'y'"):
        Task(RemoveProjectTagOperator, project_ids=["m1"], tags="y", missing_ok=False).run()


def test_the_table_in_the_error_stays_short() -> None:
    with pytest.raises(AirflowFailException) as caught:
        Task(AddProjectTagOperator, project_ids=[f"nope{i}" for i in range(30)], tags="x").run()
    assert str(caught.value).splitlines()[-1] == "and 10 more"


def test_a_refused_key_fails_the_task_at_once(world: LocalPaperspaceServer) -> None:
    world.fault("401", times=0)
    with pytest.raises(AirflowFailException, match="API key is missing, wrong or expired"):
        Task(AddProjectTagOperator, project_ids=IDS, tags="x", max_concurrency=2).run()
    assert len(world.requests) <= 3


def test_a_key_refused_midway_keeps_what_was_done(world: LocalPaperspaceServer) -> None:
    world.fault("401", at=7, times=0)
    store: dict[str, Any] = {}
    task = Task(AddProjectTagOperator, project_ids=IDS, tags="x", max_concurrency=1).with_store(store)
    with pytest.raises(AirflowFailException, match="API key is missing, wrong or expired"):
        task.run()
    assert list(task.pushed["return_value"]) == ["m0", "m1", "m2"]
    assert {id_: record["added"] for id_, record in task.pushed["change"].items()} == {
        id_: ["x"] for id_ in ("m0", "m1", "m2")
    }
    assert list(task.pushed["failed"]) == ["m3"]
    assert not store, "no retry follows that would read it"


def test_a_failed_project_keeps_its_earlier_changes(world: LocalPaperspaceServer) -> None:
    world.fault("403", path="/m1/", method="POST", at=2, times=0)
    task = Task(AddProjectTagOperator, project_ids=["m1", "m2"], tags=["x", "y"])
    with pytest.raises(AirflowFailException, match="Already added: 'x'"):
        task.run()
    assert task.pushed["change"]["m1"]["added"] == ["x"]
    assert task.pushed["change"]["m2"]["added"] == ["x", "y"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"project_ids": "m1"}, "project_ids is the string 'm1'; it must be a list"),
        ({"project_ids": "['m1', 'm2']"}, "render_template_as_native_obj"),
        ({"project_ids": ["m1", ""]}, "a project id in project_ids is blank"),
        ({"project_ids": ["m1", None]}, "Did the upstream task return nothing"),
        ({"project_ids": [7]}, "not an int"),
        ({"project_ids": 7}, "project_ids is an int"),
        ({"project_ids": ["m1"], "max_concurrency": 0}, "max_concurrency is 0"),
        ({"project_ids": ["m1"], "max_concurrency": "many"}, "max_concurrency is 'many'"),
        ({"project_ids": ["m1"], "max_concurrency": -1}, "max_concurrency is -1"),
        ({"project_ids": ["m1"], "max_concurrency": 1.5}, "max_concurrency is 1.5"),
        ({"project_ids": ["m1"], "max_concurrency": True}, "max_concurrency is True"),
        ({"project_ids": ["m1"], "tags": ""}, "blank"),
    ],
)
def test_a_bad_argument_fails_before_any_request(
    world: LocalPaperspaceServer, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{complaint}"):
        Task(AddProjectTagOperator, **{"tags": "x", **arguments})
    task = Task(AddProjectTagOperator, project_ids=[], tags="x")
    vars(task.operator).update(arguments)
    with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{complaint}"):
        task.run()
    assert not world.requests


def test_a_stopped_task_starts_no_further_project(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(AddProjectTagOperator, project_ids=IDS, tags="x", max_concurrency=2)

    def converge_and_be_stopped(project_id: str, *arguments: Any) -> Any:
        if project_id == "m4":
            task.operator.on_kill()
        return (yield from converge_project_tags(project_id, *arguments))

    monkeypatch.setattr(
        "airflow_provider_paperspace.operators.project_tags.converge_project_tags", converge_and_be_stopped
    )
    caplog.set_level("INFO")
    with pytest.raises(AirflowException, match=r"stopped after [345] of 12 projects. A retry processes the remaining"):
        task.run()
    assert 3 <= len(task.pushed["return_value"]) <= 5
    assert {request.target.split("/")[2] for request in world.requests} <= set(IDS[:5])
    assert "Stopping the task" in caplog.text


def test_a_task_stopped_before_its_start_does_nothing(world: LocalPaperspaceServer) -> None:
    task = Task(AddProjectTagOperator, project_ids=IDS, tags="x")
    task.operator.on_kill()
    with pytest.raises(AirflowException, match="stopped after 0 of 12"):
        task.run()
    assert not world.requests


def test_progress_ends_with_the_number_of_projects(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Task(AddProjectTagOperator, project_ids=IDS, tags="x").run()
    assert "12 of 12 projects done" in caplog.text


@pytest.mark.parametrize("error", [ZeroDivisionError, TypeError, ValueError])
def test_a_bug_is_raised_once_the_records_are_pushed(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def converge_and_fail(project_id: str, *arguments: Any) -> Any:
        if project_id == "m2":
            raise error("a bug")
        return (yield from converge_project_tags(project_id, *arguments))

    monkeypatch.setattr("airflow_provider_paperspace.operators.project_tags.converge_project_tags", converge_and_fail)
    store: dict[str, Any] = {}
    task = Task(AddProjectTagOperator, project_ids=IDS, tags="x", max_concurrency=1).with_store(store)
    with pytest.raises(error, match="^a bug$") as caught:
        task.run()
    assert type(caught.value) is error
    assert {id_: record["added"] for id_, record in task.pushed["change"].items()} == {"m0": ["x"], "m1": ["x"]}
    assert list(task.pushed["return_value"]) == ["m0", "m1"]
    assert store, "Airflow retries after a bug"


class Interruption(BaseException):
    """Airflow interrupts a task with such an exception, out of a signal handler in the main thread."""


@pytest.fixture
def _interrupting() -> Iterator[None]:
    def interrupt(*_: Any) -> None:
        raise Interruption

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("_interrupting")
@pytest.mark.parametrize("at", [5, 14, 23])
def test_an_interrupted_task_keeps_what_was_done(world: LocalPaperspaceServer, at: int) -> None:
    world.app.requests = killing = KillingAt(at, signal.SIGUSR1)
    killing.victim = os.getpid()
    task = Task(AddProjectTagOperator, project_ids=IDS, tags=["x", "y"], max_concurrency=2)
    with pytest.raises(Interruption):
        task.run()
    kept = {id_: set(record["added"]) for id_, record in task.pushed["change"].items()}
    tagged = {id_: set(world.paperspace.tag_names(id_)) - {"gpu", "stage:a"} for id_ in IDS}
    assert {id_: names for id_, names in kept.items() if names} == {
        id_: names for id_, names in tagged.items() if names
    }
    assert len(task.pushed["return_value"]) < len(IDS)


class KillingAt(deque[Any]):
    """The server's record of requests: it sends a signal to a process when it has so many."""

    def __init__(self, number: int, signal_number: int = signal.SIGKILL) -> None:
        super().__init__()
        self.number = number
        self.signal_number = signal_number
        self.victim = 0

    def append(self, request: Any) -> None:
        super().append(request)
        if len(self) == self.number:
            os.kill(self.victim, self.signal_number)


@pytest.mark.uncovered
@pytest.mark.parametrize("at", range(5, 205, 10))
def test_a_killed_task_completes_when_it_runs_again(world: LocalPaperspaceServer, at: int) -> None:
    ids = [f"k{i}" for i in range(100)]
    world.reset(seed={"projects": [{"id": id_, "tags": []} for id_ in ids]})
    world.app.requests = killing = KillingAt(at)
    arguments = {"project_ids": ids, "tags": "x"}
    killing.victim = child = os.fork()
    if not child:
        try:
            signal.pause() if killing.victim else Task(AddProjectTagOperator, **arguments).run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was killed while it ran"
    with requests.Session() as session:
        session.trust_env = False
        session.get(f"{world.url}/auth/session")  # once this is answered, the killed requests have ended
    missing = [id_ for id_ in ids if not world.paperspace.tag_names(id_)]
    world.app.requests = deque()
    assert set(Task(AddProjectTagOperator, **arguments).run()) == set(ids)
    assert all(world.paperspace.tag_names(id_) == ["x"] for id_ in ids)
    methods = [request.method for request in world.requests]
    assert (methods.count("GET"), methods.count("POST"), len(methods)) == (100, len(missing), 100 + len(missing))
