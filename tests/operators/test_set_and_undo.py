"""Setting tags, the record of a change, and its undo."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_paperspace._arguments import NOT_SET
from airflow_provider_paperspace.api.errors import ServerError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from tests.operators.task import Task, rendered, writes


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": "p1", "tags": ["gpu", "stage:a"]}, {"id": "p2", "tags": ["gpu"]}]})
    return server


def undo(change: Any) -> dict[str, Any]:
    return Task(UndoProjectTagChangeOperator, change=json.loads(json.dumps(change))).run()


def test_a_set_within_a_prefix_returns_the_change_record(world: LocalPaperspaceServer) -> None:
    task = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:")
    record = task.run()
    assert record == {
        "project_id": "p1",
        "before": ["stage:a", "gpu"],
        "after": ["stage:b", "gpu"],
        "added": ["stage:b"],
        "removed": ["stage:a"],
        "unsettled": [],
        "complete": True,
        "dry_run": False,
        "dag_id": "dag",
        "run_id": "run",
        "task_id": "task",
        "map_index": -1,
        "try_number": 1,
    }
    assert task.pushed == {"change": record}
    assert world.paperspace.tag_names("p1") == ["gpu", "stage:b"]


def test_a_set_that_replaces_all_manages_all_tags(world: LocalPaperspaceServer) -> None:
    Task(SetProjectTagsOperator, project_id="p1", tags=["new", "gpu"], replace_all=True).run()
    assert world.paperspace.tag_names("p1") == ["gpu", "new"]


@pytest.mark.parametrize("dry_run", [True, "True", "true"])
@pytest.mark.parametrize("target", [{"project_id": "p1"}, {"project_ids": ["p1"]}])
def test_a_dry_run_reports_the_change_and_writes_nothing(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, dry_run: Any, target: dict[str, Any]
) -> None:
    caplog.set_level("INFO")
    task = Task(SetProjectTagsOperator, tags="stage:b", within="stage:", dry_run=dry_run, **target)
    planned = task.run()
    planned = planned if "project_id" in target else planned["p1"]
    assert (planned["added"], planned["removed"], planned["dry_run"]) == (["stage:b"], ["stage:a"], True)
    assert planned["after"] == ["gpu", "stage:b"]
    assert task.pushed == {"change": planned if "project_id" in target else {"p1": planned}}
    assert "Dry run. Project 'p1': would add 'stage:b'; would remove 'stage:a'" in caplog.text
    assert [request.method for request in world.requests] == ["GET"]
    real = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:", dry_run="False").run()
    assert real == {**planned, "dry_run": False, "after": real["after"]}, "the real run does what the dry run reported"
    assert set(real["after"]) == set(planned["after"])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"dry_run": "perhaps"}, "dry_run is 'perhaps'; it must be True or False"),
        ({"dry_run": 1}, "dry_run is 1"),
        ({"within": ""}, "within is blank"),
        ({"within": 7}, "within is an int; it must be a prefix"),
        ({"within": "other:"}, "'stage:b' does not start with 'other:'"),
        ({"tags": None}, "tags is None.* Did the upstream task return nothing"),
        ({"tags": []}, "tags is empty, which would remove all tags that start with 'stage:'"),
        ({"tags": [], "allow_empty": "no"}, "allow_empty is 'no'; it must be True or False"),
        (
            {"tags": [], "within": NOT_SET, "replace_all": True},
            "tags is empty, which would remove all tags. If you want that",
        ),
        ({"within": NOT_SET, "replace_all": None}, "replace_all is None; it must be True or False"),
        ({"within": NOT_SET, "replace_all": "False?"}, "replace_all is 'False.'; it must be True or False"),
    ],
)
def test_a_bad_argument_of_a_set_changes_nothing(
    world: LocalPaperspaceServer, arguments: dict[str, Any], complaint: str
) -> None:
    good = {"project_id": "p1", "tags": "stage:b", "within": "stage:"}
    with pytest.raises(ValueError, match=f"^Task 'task': .*{complaint}"):
        Task(SetProjectTagsOperator, **{**good, **arguments})
    for field in set(arguments) & {"tags", "within"}:
        if arguments[field] is not NOT_SET:
            task = rendered(
                SetProjectTagsOperator, field, arguments[field], **{**good, **arguments, "allow_empty": False}
            )
            with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{field}|does not start with"):
                task.run()
    assert not world.requests


@pytest.mark.parametrize("where", [{}, {"within": "stage:", "replace_all": True}, {"replace_all": False}])
def test_a_set_says_exactly_once_what_it_manages(where: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Task 'task': set exactly one of within and replace_all"):
        Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", **where)


@pytest.mark.parametrize(("where", "left"), [({"within": "stage:"}, ["gpu"]), ({"replace_all": True}, [])])
def test_an_empty_set_removes_tags_if_allowed(
    world: LocalPaperspaceServer, where: dict[str, Any], left: list[str]
) -> None:
    Task(SetProjectTagsOperator, project_id="p1", tags=[], allow_empty=True, **where).run()
    assert world.paperspace.tag_names("p1") == left


def test_an_undo_reverts_a_task_and_not_other_writers(world: LocalPaperspaceServer) -> None:
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


def test_a_repeated_undo_costs_one_read(world: LocalPaperspaceServer) -> None:
    record = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:").run()
    undo(record)
    before = len(world.requests)
    assert undo(record)["p1"]["added"] == []
    assert [request.method for request in world.requests[before:]] == ["GET"]


def test_changes_of_many_and_mapped_tasks_are_undone_together(world: LocalPaperspaceServer) -> None:
    many = Task(AddProjectTagOperator, project_ids=["p1", "p2"], tags="x")
    many.run()
    first = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:").run()
    second = Task(SetProjectTagsOperator, project_id="p1", tags="stage:c", within="stage:").run()
    undo([many.pushed["change"], first, second])
    assert sorted(world.paperspace.tag_names("p1")) == ["gpu", "stage:a"]
    assert world.paperspace.tag_names("p2") == ["gpu"]


def test_a_dry_run_leaves_nothing_to_undo(world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    planned = Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:", dry_run=True).run()
    count = len(world.requests)
    assert undo(planned) == {}
    assert len(world.requests) == count
    assert "Project 'p1': the change was a dry run; nothing to undo" in caplog.text


def test_a_change_made_before_a_failure_can_be_undone(world: LocalPaperspaceServer) -> None:
    world.fault("500", method="POST", at=2, times=0)
    task = Task(AddProjectTagOperator, project_id="p1", tags=["x", "y"])
    with pytest.raises(ServerError, match="Already added: 'x'"):
        task.run()
    world.app.faults = []
    undo(task.pushed["change"])
    assert world.paperspace.tag_names("p1") == ["gpu", "stage:a"]


def test_an_undo_records_what_it_did_before_a_failure(world: LocalPaperspaceServer) -> None:
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
        (None, "change is None: the other task left no change record"),
        ([], "change is empty: no task left a change record"),
        ([None], "change is None: the other task left no change record"),
        ("", "change is a str"),
        ("None", "change is a str"),
        ("p1", "change is a str"),
        (7, "change is an int"),
        ([7], "change is an int"),
        ({"project_id": "p1"}, "no 'added' list"),
        ({"project_id": "p1", "added": [""], "removed": []}, "blank"),
        ({"project_id": "", "added": [], "removed": []}, "project id is empty"),
    ],
)
def test_a_bad_change_record_is_refused(world: LocalPaperspaceServer, change: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^Task 'task': .*{complaint}"):
        Task(UndoProjectTagChangeOperator, change=change)
    with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{complaint}"):
        rendered(UndoProjectTagChangeOperator, "change", change).run()
    assert not world.requests


def test_a_failure_before_the_first_read_leaves_no_record(world: LocalPaperspaceServer) -> None:
    world.fault("500", times=0)
    task = Task(AddProjectTagOperator, project_id="p1", tags="x")
    with pytest.raises(ServerError):
        task.run()
    assert task.pushed == {}


def test_a_task_without_projects_leaves_nothing_to_undo(world: LocalPaperspaceServer) -> None:
    task = Task(AddProjectTagOperator, project_ids=[], tags="x")
    task.run()
    assert undo(task.pushed["change"]) == {}
    assert not world.requests


def test_the_change_of_a_dry_run_leaves_nothing_to_undo(world: LocalPaperspaceServer) -> None:
    for where in ({"project_id": "p1"}, {"project_ids": ["p1", "p2"]}):
        task = Task(SetProjectTagsOperator, tags="stage:b", within="stage:", dry_run=True, **where)
        task.run()
        assert undo(task.pushed["change"]) == {}
    assert not writes(world)


@pytest.mark.parametrize("added", [[], ["x"]])
def test_an_undo_leaves_an_unsettled_tag_alone(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, added: list[str]
) -> None:
    world.paperspace.add_tag("p1", {"name": "x"})
    world.paperspace.add_tag("p1", {"name": "y"})
    undo({"project_id": "p1", "added": [*added, "y"], "removed": ["z"], "unsettled": ["x"]})
    assert set(world.paperspace.tag_names("p1")) == {"gpu", "stage:a", "x", "z"}
    assert "Project 'p1': unknown whether the other task changed 'x'; left alone" in caplog.text


def test_an_undo_warns_of_an_incomplete_record(world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture) -> None:
    undo({"project_id": "p1", "added": [], "removed": [], "complete": False})
    assert "Project 'p1': an earlier try of the other task may have changed more than its record" in caplog.text
    caplog.clear()
    undo({"project_id": "p1", "added": [], "removed": [], "complete": True})
    assert "an earlier try" not in caplog.text
