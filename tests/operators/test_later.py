"""Tasks that the service asks to come back later: they fail at once, to be retried, and say when."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_paperspace.api.errors import RateLimitError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators._base import ProjectsFailedError
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from airflow_provider_paperspace.operators.projects import ListProjectsOperator
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from tests.operators.task import Task, writes

IDS = [f"m{number}" for number in range(12)]
HOUR_S = 3600.0
CHANGE = [{"project_id": id_, "added": ["gpu"], "removed": []} for id_ in IDS]


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    def no_wait(failures: int, retry_after_s: float | None, fraction: float) -> float:
        assert retry_after_s is None or retry_after_s <= 120, "nobody sits out a long wait"
        return 0.0

    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", no_wait)
    monkeypatch.setattr("airflow_provider_paperspace.api._rate_limit.MIN_RATE_PER_S", 1_000)
    server.reset(seed={"projects": [{"id": id_, "name": id_, "tags": ["gpu", "stale:a"]} for id_ in IDS]})
    return server


ONE: list[tuple[type[Any], dict[str, Any]]] = [
    (ListProjectTagsOperator, {"project_id": "m1"}),
    (AddProjectTagOperator, {"project_id": "m1", "tags": "x"}),
    (AddProjectTagOperator, {"project_name": "m1", "tags": "x"}),
    (SetProjectTagsOperator, {"project_id": "m1", "tags": "x", "replace_all": True}),
    (ListProjectsOperator, {}),
    (CleanUpProjectTagsOperator, {"all_projects": True}),
    (ProjectTagSensor, {"project_id": "m1", "tags": "x"}),
]


@pytest.mark.parametrize(("kind", "arguments"), ONE)
def test_a_task_of_one_project_raises_the_error_itself(
    world: LocalPaperspaceServer, kind: type[Any], arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    world.fault("429", times=0, retry_after=HOUR_S)
    with pytest.raises(RateLimitError) as caught:
        Task(kind, **arguments).run()
    assert (caught.value.retry_after_s, len(world.requests)) == (HOUR_S, 1)
    assert "asked the client to wait 3600 s, until 20" in " ".join(caplog.text.split())


MANY: list[tuple[type[Any], dict[str, Any]]] = [
    (ListProjectTagsOperator, {"project_ids": IDS}),
    (AddProjectTagOperator, {"project_ids": IDS, "tags": "x"}),
    (SetProjectTagsOperator, {"project_ids": IDS, "tags": "x", "replace_all": True}),
    (UndoProjectTagChangeOperator, {"change": CHANGE}),
    (CleanUpProjectTagsOperator, {"project_ids": IDS, "names": "stale:*"}),
    (ListProjectsOperator, {"tagged": "gpu"}),
]


@pytest.mark.parametrize(("kind", "arguments"), MANY)
def test_a_batch_starts_no_more_projects(
    world: LocalPaperspaceServer, kind: type[Any], arguments: dict[str, Any]
) -> None:
    world.fault("429", path="/m3/", times=0, retry_after=HOUR_S)
    with pytest.raises(ProjectsFailedError) as caught:
        Task(kind, max_concurrency=1, **arguments).run()
    assert isinstance(caught.value, AirflowException)
    assert not isinstance(caught.value, AirflowFailException)
    assert caught.value.retry_after_s == HOUR_S
    first, *_, last = str(caught.value).splitlines()
    asked = {request.target.split("/")[2] for request in world.requests if request.target.startswith("/projects/")}
    assert 4 <= len(asked) < 12, "each operator has its own order"
    assert first == f"1 of 12 projects failed, {12 - len(asked)} remaining; completed changes are kept."
    assert last.startswith(
        "A retry processes the remaining projects. The service asked the client to wait 3600 s, until 20"
    )
    assert last.endswith(" UTC.")


def test_a_batch_lets_running_projects_end(world: LocalPaperspaceServer) -> None:
    world.fault("429", path="/m0/", times=0, retry_after=HOUR_S)
    task = Task(AddProjectTagOperator, project_ids=IDS, tags="x", max_concurrency=4)
    with pytest.raises(ProjectsFailedError, match="1 of 12 projects failed"):
        task.run()
    done = [id_ for id_ in IDS if "x" in world.paperspace.tag_names(id_)]
    assert {"m1", "m2", "m3"} <= set(done), "they were running"
    assert set(done) == set(task.pushed["return_value"]) == set(task.pushed["change"])


def test_a_retry_of_a_batch_does_the_rest(world: LocalPaperspaceServer) -> None:
    world.fault("429", at=8, times=1, retry_after=HOUR_S)
    with pytest.raises(ProjectsFailedError):
        Task(AddProjectTagOperator, project_ids=IDS, tags="x", max_concurrency=1).run()
    Task(AddProjectTagOperator, project_ids=IDS, tags="x", max_concurrency=1).run()
    assert all("x" in world.paperspace.tag_names(id_) for id_ in IDS)


@pytest.mark.parametrize(
    ("faults", "retry_after_s"),
    [
        ([("429", "m1", 30)], 30.0),
        ([("429", "m1", 30), ("429", "m2", 60)], 60.0),
        ([("429", "m1", 30), ("403", "m2", None)], 30.0),
        ([("429", "m1", 30), ("500", "m2", None)], 30.0),
        ([("503", "m1", 30)], 30.0),
        ([("429", "m1", None)], None),
        ([("500", "m1", None)], None),
    ],
)
def test_a_batch_carries_the_longest_wait_of_its_projects(
    world: LocalPaperspaceServer, faults: list[tuple[str, str, int | None]], retry_after_s: float | None
) -> None:
    for kind, project_id, seconds in faults:
        world.fault(kind, path=f"/{project_id}/", times=0, retry_after=seconds)
    with pytest.raises(ProjectsFailedError) as caught:
        Task(AddProjectTagOperator, project_ids=["m0", "m1", "m2", "m3"], tags="x").run()
    assert caught.value.retry_after_s == retry_after_s
    assert ("The service asked the client to wait" in str(caught.value)) is (retry_after_s is not None)
    assert "x" in world.paperspace.tag_names("m3"), "all projects were started"


def test_a_clean_up_that_is_asked_to_wait_while_it_reads_removes_nothing(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.fault("429", path="/tags", at=4, times=1, retry_after=HOUR_S)
    task = Task(CleanUpProjectTagsOperator, project_ids=IDS, names="stale:*", max_concurrency=1)
    with pytest.raises(ProjectsFailedError):
        task.run()
    assert writes(world) == []
    assert (len(task.pushed["return_value"]["planned"]), task.pushed["return_value"]["removed"]) == (3, [])
    assert "Nothing was removed: the service asked for a long wait" in caplog.text


def test_the_error_of_a_batch_survives_pickling() -> None:
    error = ProjectsFailedError("1 of 2 projects failed", HOUR_S)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert (type(copy), str(copy), copy.retry_after_s) == (ProjectsFailedError, str(error), HOUR_S)
