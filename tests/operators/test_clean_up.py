"""Cleaning up: the plan, the limit, the dry run, a plan applied by another task, and what is checked again."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators._batch import run_batch
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.project_tags import UndoProjectTagChangeOperator
from airflow_provider_paperspace.rules.clean_up import CleanUpRules
from tests.operators.task import RUN_AT, Task, rendered, writes

WORLD = {
    "projects": [
        {"id": "p1", "name": "one", "tags": ["gpu", "demo@2026-11-23", "demo@2026-11-24", "stale:a"]},
        {"id": "p2", "name": "two", "tags": ["gpu", "demo@2026-13-01", "stale:b", "stale:keep"]},
        {"id": "p3", "name": "three", "tags": ["gpu"]},
        {"id": "p4", "name": "gone", "tags": ["stale:x"], "dtDeleted": "2026-01-01T00:00:00.000Z"},
    ]
}


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed=WORLD)
    return server


def clean_up_task(**arguments: Any) -> Task:
    """Return the task of a clean-up, of all projects unless told otherwise."""
    where = {} if {"project_ids", "plan"} & set(arguments) else {"all_projects": True}
    return Task(CleanUpProjectTagsOperator, **where, **arguments)


def clean_up(**arguments: Any) -> Any:
    return json.loads(json.dumps(clean_up_task(**arguments).run()))


def pairs(removals: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((removal["project_id"], removal["tag"]) for removal in removals)


def test_only_stale_tags_are_removed_from_all_projects(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    report = clean_up(names="stale:*", keep="*:keep")
    assert pairs(report["removed"]) == [("p1", "demo@2026-11-23"), ("p1", "stale:a"), ("p2", "stale:b")]
    assert report["planned"] == report["removed"]
    assert report["projects"] == 3
    assert world.paperspace.tag_names("p1") == ["gpu", "demo@2026-11-24"]
    assert world.paperspace.tag_names("p2") == ["gpu", "demo@2026-13-01", "stale:keep"]
    assert world.paperspace.tag_names("p4") == ["stale:x"]
    lines = caplog.text.splitlines()
    assert "p1       one   demo@2026-11-23  expired after 2026-11-23" in lines
    assert "p2       two   stale:b          matches 'stale:*'" in lines


def test_a_tag_with_an_unreadable_date_stays_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    report = clean_up()
    assert report["unreadable"] == [
        {
            "project_id": "p2",
            "tag": "demo@2026-13-01",
            "why": "the part after its last '@' is not a date such as 2026-12-01",
        }
    ]
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_paperspace")]
    (warning,) = [record for record in ours if record.levelname == "WARNING"]
    assert warning.getMessage().startswith("1 tag has an unreadable date and was left in place:")
    assert "demo@2026-13-01" in warning.getMessage()


def test_a_stale_tag_with_an_unreadable_date_is_only_planned() -> None:
    report = clean_up(names="demo*", dry_run=True)
    assert "demo@2026-13-01" in [removal["tag"] for removal in report["planned"]]
    assert report["unreadable"] == []


def test_a_dry_run_returns_the_plan_of_the_real_run(world: LocalPaperspaceServer) -> None:
    planned = clean_up(names="stale:*", dry_run="True")
    assert not writes(world)
    assert (planned["dry_run"], planned["removed"]) == (True, [])
    real = clean_up(names="stale:*", dry_run="False")
    assert (real["planned"], real["rules"]) == (planned["planned"], planned["rules"])
    assert real["removed"] == planned["planned"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_plan_above_the_limit_removes_nothing(world: LocalPaperspaceServer, dry_run: bool) -> None:
    task = clean_up_task(names="stale:*", max_removals="3", dry_run=dry_run)
    with pytest.raises(
        AirflowFailException, match="The plan has 4 removals, more than max_removals=3; nothing was removed"
    ):
        task.run()
    assert not writes(world)
    assert len(task.pushed["return_value"]["planned"]) == 4
    assert len(clean_up(names="stale:*", max_removals=4)["removed"]) == 4


def test_only_the_given_projects_are_cleaned_up(world: LocalPaperspaceServer) -> None:
    report = clean_up(project_ids=["p2", {"id": "p3"}], names="stale:*")
    assert pairs(report["removed"]) == [("p2", "stale:b"), ("p2", "stale:keep")]
    assert "stale:a" in world.paperspace.tag_names("p1")


def test_now_is_the_end_of_the_data_interval(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_tag("p1", {"name": "demo@2026-11-22"})
    late = clean_up_task(at=RUN_AT - timedelta(days=1), dry_run=True).run()
    assert pairs(late["planned"]) == [("p1", "demo@2026-11-22")]
    on_time = clean_up_task(at=RUN_AT, dry_run=True).run()
    assert pairs(on_time["planned"]) == [("p1", "demo@2026-11-22"), ("p1", "demo@2026-11-23")]
    early = clean_up_task(at=RUN_AT + timedelta(days=30), dry_run=True).run()
    assert early["planned"] == on_time["planned"], "never later than the clock"
    assert early["rules"]["now"] == (RUN_AT + timedelta(hours=2)).isoformat()


def test_the_age_of_a_tag_starts_at_its_creation(world: LocalPaperspaceServer) -> None:
    tags = [
        {"name": "old", "dtCreated": "2026-01-01T00:00:00.000Z"},
        {"name": "new", "dtCreated": "2026-11-24T00:00:00Z"},
    ]
    world.paperspace.add_project("p5", tags=tags)
    report = clean_up(project_ids=["p5"], older_than=timedelta(days=30))
    assert pairs(report["removed"]) == [("p5", "old")]
    assert report["removed"][0]["reason"] == "created on 2026-01-01"


def test_another_task_applies_a_plan(world: LocalPaperspaceServer) -> None:
    plan = clean_up(names="stale:*", dry_run=True)
    plan["planned"] = [removal for removal in plan["planned"] if removal["tag"] != "stale:a"]  # not approved
    count = len(world.requests)
    report = clean_up(plan=plan)
    assert pairs(report["removed"]) == [("p1", "demo@2026-11-23"), ("p2", "stale:b"), ("p2", "stale:keep")]
    assert report["rules"] == plan["rules"]
    assert len(world.requests) - count == 2 + 3, "one read per project of the plan, and the removals"


def test_a_planned_tag_is_checked_again_before_its_removal(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plan = clean_up(names="stale:*", dry_run=True)
    plan["planned"].append({"project_id": "p3", "project": "three", "tag": "gpu", "reason": "because I say so"})
    world.paperspace.remove_tag("p1", {"name": "stale:a"})
    report = clean_up(plan=plan, keep="*:keep")
    assert pairs(report["removed"]) == [("p1", "demo@2026-11-23"), ("p2", "stale:b")]
    assert sorted((s["tag"], s["why"]) for s in report["spared"]) == [
        ("gpu", "kept, or no longer stale by the rules of the plan"),
        ("stale:a", "already gone"),
        ("stale:keep", "kept, or no longer stale by the rules of the plan"),
    ]
    assert "Planned, but not removed by this task" in caplog.text
    assert world.paperspace.tag_names("p3") == ["gpu"]


def test_a_tag_that_was_added_anew_is_no_longer_old(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_project("p5", tags=[{"name": "old", "dtCreated": "2026-01-01T00:00:00.000Z"}])
    plan = clean_up(project_ids=["p5"], older_than=timedelta(days=30), dry_run=True)
    world.paperspace.projects["p5"].tags.clear()
    world.paperspace._team_tags.clear()
    world.paperspace.add_tag("p5", {"name": "old"})
    assert clean_up(plan=plan)["removed"] == []
    assert world.paperspace.tag_names("p5") == ["old"]


def test_a_failed_project_does_not_stop_the_others(world: LocalPaperspaceServer) -> None:
    world.fault("500", path="/p1/", times=0)
    task = clean_up_task(names="stale:*")
    with pytest.raises(AirflowException, match="1 of 3 projects failed"):
        task.run()
    report = task.pushed["return_value"]
    assert list(report["failed"]) == ["p1"]
    assert pairs(report["removed"]) == [("p2", "stale:b"), ("p2", "stale:keep")]


@pytest.mark.parametrize("max_removals", [0, 100])
def test_a_key_refused_while_reading_ends_the_task(world: LocalPaperspaceServer, max_removals: int) -> None:
    world.fault("401", path="/tags", at=3, times=1)
    task = clean_up_task(names="stale:*", max_removals=max_removals, max_concurrency=1)
    with pytest.raises(AirflowFailException, match="API key is missing, wrong or expired"):
        task.run()
    assert not writes(world)
    assert "change" not in task.pushed


@pytest.mark.parametrize("max_removals", [0, 100])
def test_an_interruption_while_reading_ends_the_task(
    world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, max_removals: int
) -> None:
    class Interruption(BaseException):
        pass

    def run_and_be_interrupted(*arguments: Any, **options: Any) -> Any:
        result = run_batch(*arguments, **options)
        result.interrupted = Interruption()
        return result

    monkeypatch.setattr("airflow_provider_paperspace.operators._base.run_batch", run_and_be_interrupted)
    with pytest.raises(Interruption):
        clean_up(names="stale:*", max_removals=max_removals)
    assert not writes(world)


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_a_bug_in_the_rules_removes_nothing(
    world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: Any) -> Any:
        raise error("a bug")

    monkeypatch.setattr(CleanUpRules, "stale_reason", fail)
    with pytest.raises(error, match="^a bug$") as caught:
        clean_up(names="stale:*")
    assert type(caught.value) is error
    assert not writes(world)


def test_a_failed_removal_does_not_stop_the_others(world: LocalPaperspaceServer) -> None:
    world.fault("403", path="/p1/", method="DELETE", at=2, times=0)
    task = clean_up_task(names="stale:*")
    with pytest.raises(AirflowFailException, match="1 of 3 projects failed"):
        task.run()
    removed = pairs(task.pushed["return_value"]["removed"])
    assert len(removed) == 3
    assert len([pair for pair in removed if pair[0] == "p1"]) == 1


def test_a_clean_up_can_be_undone(world: LocalPaperspaceServer) -> None:
    before = {id_: set(world.paperspace.tag_names(id_)) for id_ in ("p1", "p2", "p3")}
    task = clean_up_task(names="stale:*")
    task.run()
    Task(UndoProjectTagChangeOperator, change=task.pushed["change"]).run()
    assert {id_: set(world.paperspace.tag_names(id_)) for id_ in before} == before


BAD = [
    ({"expired": False}, "No tag can be stale"),
    ({"expired": False, "keep": "x"}, "No tag can be stale"),
    ({"expired": None}, "expired is None; it must be True or False"),
    ({"older_than": timedelta(0)}, "older_than is 0:00:00; it must be longer than 0"),
    ({"older_than": -timedelta(days=1)}, "older_than is -1 day, 0:00:00; it must be longer than 0"),
    ({"older_than": 7}, "older_than is an int; it must be a timedelta"),
    ({"older_than": 7, "names": "{{ x }}"}, "older_than is an int; it must be a timedelta"),
    ({"older_than": 7, "keep": "{{ x }}"}, "older_than is an int; it must be a timedelta"),
    ({"max_removals": -1}, "max_removals is -1; it must be a whole number"),
    ({"max_removals": "many"}, "max_removals is 'many'"),
    ({"max_concurrency": 0}, "max_concurrency is 0; it must be at least 1"),
    ({"max_concurrency": "many"}, "max_concurrency is 'many'"),
    ({"dry_run": ""}, "dry_run is ''; it must be True or False"),
    ({"names": ""}, "names is blank"),
    ({"names": "[stale"}, r"names contains the pattern '\[stale', whose '\[' is never closed"),
    ({"names": "[stale", "keep": "{{ x }}"}, r"names contains the pattern '\[stale'"),
    ({"keep": 7}, "keep is an int"),
    ({"project_ids": "p1"}, "project_ids is the string 'p1'; it must be a list"),
    ({"plan": {}}, "plan is empty"),
    ({"plan": {"rules": {}}}, "plan is a dict; it must be the complete report of a CleanUpProjectTagsOperator"),
    ({"plan": {"planned": []}}, "plan has no rules; it is not a report"),
    ({"plan": {"planned": [{"project_id": "p", "tag": " "}]}}, "plan: The tag name ' ' is blank"),
    ({"plan": {"planned": [{"tag": "x"}]}}, "plan: A project id must be a string"),
    (
        {"plan": {"planned": [], "rules": {"expired": True, "now": "2026-11-24T00:00:00Z", "names": [" "]}}},
        "plan: rules",
    ),
    ({"plan": {"planned": []}, "names": "x"}, "with plan, leave out names, older_than and expired"),
    ({"plan": "{{ x }}", "older_than": timedelta(days=1)}, "with plan, leave out names, older_than and expired"),
]


@pytest.mark.parametrize(("arguments", "complaint"), BAD)
def test_a_bad_constant_is_found_when_the_dag_is_parsed(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^Task 'task': {complaint}"):
        clean_up_task(**arguments)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("max_removals", "many", "max_removals is 'many'"),
        ("names", "[stale", "names contains the pattern"),
        ("keep", 7, "keep is an int"),
        ("plan", {"planned": []}, "plan has no rules; it is not a report"),
        ("plan", {"planned": [{"project_id": "p", "tag": " "}]}, "plan: The tag name ' ' is blank"),
        ("project_ids", "p1", "project_ids is the string 'p1'; it must be a list"),
    ],
)
def test_a_bad_rendered_value_is_refused_before_any_request(
    world: LocalPaperspaceServer, field: str, value: Any, complaint: str
) -> None:
    where = {} if field in ("plan", "project_ids") else {"all_projects": True}
    with pytest.raises(AirflowFailException, match=f"^Task 'task': {complaint}"):
        rendered(CleanUpProjectTagsOperator, field, value, **where).run()
    assert not world.requests


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"all_projects": False},
        {"project_ids": [], "all_projects": True},
        {"project_ids": [], "plan": "{{ x }}"},
        {"all_projects": True, "plan": "{{ x }}"},
    ],
)
def test_a_clean_up_says_exactly_once_where(where: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Task 't': set exactly one of project_ids, all_projects and plan"):
        CleanUpProjectTagsOperator(task_id="t", **where)


@pytest.mark.parametrize("value", [None, "", "True?", 1, "{{ params.all }}"])
def test_all_projects_is_spelled_true_or_false(value: Any) -> None:
    with pytest.raises(ValueError, match="Task 't': all_projects is .*; it must be True or False"):
        CleanUpProjectTagsOperator(task_id="t", all_projects=value)


def test_a_deleted_project_fails_only_if_it_was_named(world: LocalPaperspaceServer) -> None:
    read = world.paperspace.list_tags

    def read_and_delete(project_id: str, query: Any) -> Any:
        world.paperspace.projects["p2"].dt_deleted = "2026-11-24T00:00:00.000Z"
        return read(project_id, query)

    world.paperspace.list_tags = read_and_delete  # type: ignore[method-assign]
    assert pairs(clean_up(names="stale:*")["removed"]) == [("p1", "demo@2026-11-23"), ("p1", "stale:a")]
    with pytest.raises(AirflowFailException, match="1 of 1 project failed"):
        clean_up(project_ids=["p2"])


def test_a_report_includes_earlier_tries(world: LocalPaperspaceServer) -> None:
    store: dict[str, Any] = {}
    world.fault("500", path="/p1/", method="DELETE", times=2)
    with pytest.raises(AirflowException, match="1 of 3 projects failed"):
        clean_up_task(names="stale:*").with_store(store).run()
    second = clean_up_task(names="stale:*").with_store(store, try_number=2)
    report = second.run()
    assert len(report["removed"]) == 4
    assert {r["reason"] for r in report["removed"] if r["project_id"] == "p2"} == {
        "removed by an earlier try of this task"
    }
    Task(UndoProjectTagChangeOperator, change=second.pushed["change"]).run()
    assert "stale:b" in world.paperspace.tag_names("p2")


def test_a_project_deleted_since_the_plan_is_spared(world: LocalPaperspaceServer) -> None:
    plan = clean_up(names="stale:*", dry_run=True)
    world.paperspace.projects["p2"].dt_deleted = "2026-11-24T00:00:00.000Z"
    report = clean_up(plan=plan)
    assert pairs(report["removed"]) == [("p1", "demo@2026-11-23"), ("p1", "stale:a")]
    assert {(s["project_id"], s["tag"], s["why"]) for s in report["spared"]} == {
        ("p2", "stale:b", "its project no longer exists"),
        ("p2", "stale:keep", "its project no longer exists"),
    }
    assert report["failed"] == {}
