"""Setting tags, what it leaves as a record, and taking a change back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_paperspace.api.errors import ServerError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from tests.operators.task import Task, asked


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api.retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": "p1", "tags": ["gpu", "stage:a"]}, {"id": "p2", "tags": ["gpu"]}]})
    return server


def undo(change: Any) -> dict[str, Any]:
    return Task(UndoProjectTagChangeOperator, change=json.loads(json.dumps(change))).run()


def test_setting_within_a_prefix_returns_what_it_changed_and_by_whom(world: LocalPaperspaceServer) -> None:
    task = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:")
    record = task.run()
    assert record == {
        "project_id": "p1",
        "before": ["stage:a", "gpu"],
        "after": ["gpu", "stage:b"],
        "added": ["stage:b"],
        "removed": ["stage:a"],
        "dry_run": False,
        "dag_id": "dag",
        "run_id": "run",
        "task_id": "task",
        "map_index": -1,
        "try_number": 1,
    }
    assert task.pushed == {"change": record}
    assert world.paperspace.tag_names("p1") == ["gpu", "stage:b"]


def test_setting_without_a_prefix_manages_all_tags(world: LocalPaperspaceServer) -> None:
    Task(SetProjectTagsOperator, project_id="p1", tags=["new", "gpu"]).run()
    assert world.paperspace.tag_names("p1") == ["gpu", "new"]


@pytest.mark.parametrize("dry_run", [True, "True", "true"])
@pytest.mark.parametrize("target", [{"project_id": "p1"}, {"project_ids": ["p1"]}])
def test_a_dry_run_reads_and_tells_and_writes_nothing(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, dry_run: Any, target: dict[str, Any]
) -> None:
    caplog.set_level("INFO")
    task = Task(SetProjectTagsOperator, tags="stage:b", within="stage:", dry_run=dry_run, **target)
    planned = task.run()
    planned = planned if "project_id" in target else planned["p1"]
    assert (planned["added"], planned["removed"], planned["dry_run"]) == (["stage:b"], ["stage:a"], True)
    assert planned["after"] == ["gpu", "stage:b"]
    assert task.pushed == {"change": {}}
    assert "Dry run. Project 'p1': would add 'stage:b'; would remove 'stage:a'" in caplog.text
    assert [request.method for request in asked(world)] == ["GET"]
    real = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:", dry_run="False").run()
    assert {**planned, "dry_run": False} == real, "the real run does what the dry run told"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"dry_run": "perhaps"}, "dry_run is 'perhaps', and must be True or False"),
        ({"dry_run": 1}, "dry_run is 1"),
        ({"within": ""}, "within is empty"),
        ({"within": "other:"}, "'stage:b' does not begin with 'other:'"),
        ({"tags": None}, "Did the task that it comes from return nothing"),
    ],
)
def test_bad_input_changes_nothing(world: LocalPaperspaceServer, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AirflowFailException, match=complaint):
        Task(SetProjectTagsOperator, **{"project_id": "p1", "tags": "stage:b", **arguments}).run()
    assert not asked(world)


def test_what_each_writing_task_changed_is_taken_back_and_nothing_that_others_did(world: LocalPaperspaceServer) -> None:
    added = Task(AddProjectTagOperator, project_id="p1", tags=["new", "gpu"])
    added.run()
    removed = Task(RemoveProjectTagOperator, project_id="p1", tags=["stage:a", "absent"])
    removed.run()
    world.paperspace.add_tag("p1", {"name": "theirs"})
    undo(added.pushed["change"])
    assert world.paperspace.tag_names("p1") == ["gpu", "theirs"], "gpu was there before, and stays"
    records = undo(removed.pushed["change"])
    assert world.paperspace.tag_names("p1") == ["gpu", "stage:a", "theirs"]
    assert records["p1"]["added"] == ["stage:a"]
    undo(records)
    assert world.paperspace.tag_names("p1") == ["gpu", "theirs"], "an undo can be undone"


def test_an_undo_may_be_repeated_and_costs_one_read_then(world: LocalPaperspaceServer) -> None:
    record = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:").run()
    undo(record)
    before = len(asked(world))
    assert undo(record)["p1"]["added"] == []
    assert [request.method for request in asked(world)[before:]] == ["GET"]


def test_the_changes_of_many_projects_and_of_mapped_tasks_are_taken_back_together(world: LocalPaperspaceServer) -> None:
    many = Task(AddProjectTagOperator, project_ids=["p1", "p2"], tags="x")
    many.run()
    first = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:").run()
    second = Task(SetProjectTagsOperator, project_id="p1", tags="stage:c", within="stage:").run()
    undo([many.pushed["change"], first, second])
    assert sorted(world.paperspace.tag_names("p1")) == ["gpu", "stage:a"]
    assert world.paperspace.tag_names("p2") == ["gpu"]


def test_a_dry_run_leaves_nothing_to_take_back(world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    planned = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:", dry_run=True).run()
    count = len(asked(world))
    assert undo(planned) == {}
    assert len(asked(world)) == count
    assert "was a dry run" in caplog.text


def test_what_a_task_had_changed_before_it_failed_can_be_taken_back(world: LocalPaperspaceServer) -> None:
    world.fault("500", method="POST", at=2, times=0)
    task = Task(AddProjectTagOperator, project_id="p1", tags=["x", "y"])
    with pytest.raises(ServerError, match="Before that, 'x' added well"):
        task.run()
    world.app.faults = []
    undo(task.pushed["change"])
    assert world.paperspace.tag_names("p1") == ["gpu", "stage:a"]


def test_an_undo_that_fails_on_a_project_tells_it_and_keeps_the_rest(world: LocalPaperspaceServer) -> None:
    many = Task(AddProjectTagOperator, project_ids=["p1", "p2"], tags="x")
    many.run()
    world.fault("500", path="/p1/", times=0)
    task = Task(UndoProjectTagChangeOperator, change=many.pushed["change"])
    with pytest.raises(AirflowException, match="1 of 2 projects failed"):
        task.run()
    assert list(task.pushed["change"]) == ["p2"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (None, "change is None, and must be what a writing task pushed"),
        ("p1", "change is a str"),
        (7, "change is a int"),
        ([7], "change is a int"),
        ({"project_id": "p1"}, "no list 'added'"),
        ({"project_id": "p1", "added": [""], "removed": []}, "blank"),
        ({"project_id": "", "added": [], "removed": []}, "project id is empty"),
    ],
)
def test_what_is_no_record_is_refused(world: LocalPaperspaceServer, change: Any, complaint: str) -> None:
    with pytest.raises(AirflowFailException, match=complaint):
        Task(UndoProjectTagChangeOperator, change=change).run()
    assert not asked(world)


def test_the_record_covers_the_tries_that_failed_where_airflow_keeps_something_between_them(
    world: LocalPaperspaceServer,
) -> None:
    kept: dict[str, Any] = {}
    arguments: dict[str, Any] = {"project_id": "p1", "tags": ["x", "y"], "within": None}
    world.fault("500", method="DELETE", at=2, times=2)
    with pytest.raises(ServerError, match="'x', 'y' added well"):
        Task(SetProjectTagsOperator, **arguments).keeping(kept).run()
    assert kept
    second = Task(SetProjectTagsOperator, **arguments).keeping(kept)
    record = second.run()
    assert (record["added"], sorted(record["removed"])) == (["x", "y"], ["gpu", "stage:a"])
    assert record["before"] == ["stage:a", "gpu"]
    assert not kept, "nothing is left behind"
    undo(second.pushed["change"])
    assert sorted(world.paperspace.tag_names("p1")) == ["gpu", "stage:a"]


def test_tries_that_took_back_each_others_work_come_to_nothing(world: LocalPaperspaceServer) -> None:
    kept: dict[str, Any] = {}
    world.fault("500", method="DELETE", at=1, times=2)
    with pytest.raises(ServerError):
        Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:").keeping(kept).run()
    other = Task(SetProjectTagsOperator, project_id="p1", tags="stage:a", within="stage:").keeping(kept)
    record = other.run()
    assert (record["added"], record["removed"]) == ([], [])


def test_the_records_of_many_projects_are_kept_between_tries_too(world: LocalPaperspaceServer) -> None:
    kept: dict[str, Any] = {}
    world.fault("500", path="/p2/", times=2)
    with pytest.raises(AirflowException, match="1 of 2 projects failed"):
        Task(AddProjectTagOperator, project_ids=["p1", "p2"], tags="x").keeping(kept).run()
    second = Task(AddProjectTagOperator, project_ids=["p1", "p2"], tags="x").keeping(kept)
    second.run()
    assert {id_: record["added"] for id_, record in second.pushed["change"].items()} == {"p1": ["x"], "p2": ["x"]}


def test_the_record_of_a_last_try_is_not_kept_for_a_later_clear(
    world: LocalPaperspaceServer,
) -> None:
    kept: dict[str, Any] = {}
    arguments: dict[str, Any] = {"project_id": "p1", "tags": ["x", "y"]}
    world.fault("500", method="POST", at=2, times=2)
    last_try = Task(AddProjectTagOperator, **arguments).keeping(kept)
    last_try.try_number = last_try.max_tries + 1
    with pytest.raises(ServerError):
        last_try.run()
    assert last_try.pushed["change"]["added"] == ["x"]
    undo(last_try.pushed["change"])
    world.paperspace.add_tag("p1", {"name": "x"})  # another's now
    cleared = Task(AddProjectTagOperator, **arguments).keeping(kept)
    cleared.run()
    assert cleared.pushed["change"]["added"] == ["y"]


def test_a_task_that_failed_before_its_first_write_leaves_nothing_to_take_back(world: LocalPaperspaceServer) -> None:
    world.fault("500", times=0)
    task = Task(AddProjectTagOperator, project_id="p1", tags="x")
    with pytest.raises(ServerError):
        task.run()
    assert task.pushed["change"] == {}
    assert undo(task.pushed["change"]) == {}


@pytest.mark.parametrize(
    ("kind", "arguments", "field"),
    [
        (SetProjectTagsOperator, {"project_id": "p1", "tags": "stage:b", "within": "{{ x }}"}, "within"),
        (AddProjectTagOperator, {"project_id": "p1", "tags": "x", "expires_on": "{{ x }}"}, "expires_on"),
        (AddProjectTagOperator, {"project_ids": "{{ x }}", "tags": "x"}, "project_ids"),
    ],
)
def test_an_argument_that_came_to_nothing_is_not_taken_for_one_that_was_left_out(
    world: LocalPaperspaceServer, kind: type[Any], arguments: dict[str, Any], field: str
) -> None:
    task = Task(kind, **arguments)
    setattr(task.operator, field, None)
    with pytest.raises(AirflowFailException, match="Did the task that it comes from return nothing"):
        task.run()
    assert not asked(world)
