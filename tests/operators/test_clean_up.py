"""Cleaning up: the plan, the limit, the dry run, applying a plan, and what is looked at again."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.project_tags import CleanUpProjectTagsOperator, UndoProjectTagChangeOperator
from tests.operators.task import Task, asked

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
    monkeypatch.setattr("airflow_provider_paperspace.api.retries.wait_s", lambda *_: 0.0)
    server.reset(seed=WORLD)
    return server


def clean_up(**arguments: Any) -> Any:
    return json.loads(json.dumps(Task(CleanUpProjectTagsOperator, **arguments).run()))


def pairs(removals: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((removal["project_id"], removal["tag"]) for removal in removals)


def writes(world: LocalPaperspaceServer) -> list[str]:
    return [request.target for request in asked(world) if request.method != "GET"]


def test_stale_tags_go_from_every_project_and_no_other(
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
    assert "p1       one   demo@2026-11-23  its last day was 2026-11-23" in lines
    assert "p2       two   stale:b          matches 'stale:*'" in lines


def test_a_date_that_cannot_be_read_is_shown_loudly_and_the_tag_stays(caplog: pytest.LogCaptureFixture) -> None:
    report = clean_up()
    assert report["unreadable"] == [
        {"project_id": "p2", "tag": "demo@2026-13-01", "why": "what follows its last '@' is no date such as 2026-12-01"}
    ]
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_paperspace")]
    (warning,) = [record for record in ours if record.levelname == "WARNING"]
    assert "demo@2026-13-01" in warning.getMessage()


def test_a_dry_run_gives_the_plan_that_the_real_run_carries_out(world: LocalPaperspaceServer) -> None:
    planned = clean_up(names="stale:*", dry_run="True")
    assert not writes(world)
    assert (planned["dry_run"], planned["removed"]) == (True, [])
    real = clean_up(names="stale:*", dry_run="False")
    assert (real["planned"], real["rules"]) == (planned["planned"], planned["rules"])
    assert real["removed"] == planned["planned"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_plan_above_the_limit_removes_nothing_at_all(world: LocalPaperspaceServer, dry_run: bool) -> None:
    task = Task(CleanUpProjectTagsOperator, names="stale:*", max_removals="3", dry_run=dry_run)
    with pytest.raises(AirflowFailException, match="remove 4 tags, more than max_removals=3: nothing was removed"):
        task.run()
    assert not writes(world)
    assert len(task.pushed["return_value"]["planned"]) == 4
    assert len(clean_up(names="stale:*", max_removals=4)["removed"]) == 4


def test_only_the_given_projects_are_looked_at(world: LocalPaperspaceServer) -> None:
    report = clean_up(project_ids=["p2", {"id": "p3"}], names="stale:*")
    assert pairs(report["removed"]) == [("p2", "stale:b"), ("p2", "stale:keep")]
    assert "stale:a" in world.paperspace.tag_names("p1")


def test_now_is_the_end_of_the_runs_interval_and_not_the_clock(world: LocalPaperspaceServer) -> None:
    from tests.operators.task import RUN_AT

    late = Task(CleanUpProjectTagsOperator, at=RUN_AT - timedelta(days=1), dry_run=True).run()
    assert late["planned"] == []
    early = Task(CleanUpProjectTagsOperator, at=RUN_AT + timedelta(days=1), dry_run=True).run()
    assert pairs(early["planned"]) == [("p1", "demo@2026-11-23"), ("p1", "demo@2026-11-24")]


def test_age_is_counted_from_the_creation_of_the_tag(world: LocalPaperspaceServer) -> None:
    tags = [
        {"name": "old", "dtCreated": "2026-01-01T00:00:00.000Z"},
        {"name": "new", "dtCreated": "2026-11-24T00:00:00Z"},
    ]
    world.paperspace.add_project("p5", tags=tags)
    report = clean_up(project_ids=["p5"], older_than=timedelta(days=30))
    assert pairs(report["removed"]) == [("p5", "old")]
    assert report["removed"][0]["reason"] == "was created on 2026-01-01"


def test_a_plan_is_applied_by_another_task(world: LocalPaperspaceServer) -> None:
    plan = clean_up(names="stale:*", dry_run=True)
    plan["planned"] = [removal for removal in plan["planned"] if removal["tag"] != "stale:a"]  # not approved
    count = len(asked(world))
    report = clean_up(plan=plan)
    assert pairs(report["removed"]) == [("p1", "demo@2026-11-23"), ("p2", "stale:b"), ("p2", "stale:keep")]
    assert report["rules"] == plan["rules"]
    assert len(asked(world)) - count == 2 + 3, "a read for each project of the plan, and the removals"


def test_each_tag_of_a_plan_is_looked_at_again_before_it_goes(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plan = clean_up(names="stale:*", dry_run=True)
    plan["planned"].append({"project_id": "p3", "project": "three", "tag": "gpu", "reason": "because I say so"})
    world.paperspace.remove_tag("p1", {"name": "stale:a"})
    report = clean_up(plan=plan, keep="*:keep")
    assert pairs(report["removed"]) == [("p1", "demo@2026-11-23"), ("p2", "stale:b")]
    assert sorted((s["tag"], s["why"]) for s in report["spared"]) == [
        ("gpu", "is kept, or no longer stale by the rules of the plan"),
        ("stale:a", "is gone already"),
        ("stale:keep", "is kept, or no longer stale by the rules of the plan"),
    ]
    assert "Planned, and spared" in caplog.text
    assert world.paperspace.tag_names("p3") == ["gpu"]


def test_a_tag_that_was_made_anew_since_the_plan_is_no_longer_old(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_project("p5", tags=[{"name": "old", "dtCreated": "2026-01-01T00:00:00.000Z"}])
    plan = clean_up(project_ids=["p5"], older_than=timedelta(days=30), dry_run=True)
    world.paperspace.projects["p5"].tags.clear()
    world.paperspace._team_tags.clear()
    world.paperspace.add_tag("p5", {"name": "old"})
    assert clean_up(plan=plan)["removed"] == []
    assert world.paperspace.tag_names("p5") == ["old"]


def test_a_project_that_fails_does_not_stop_the_others(world: LocalPaperspaceServer) -> None:
    world.fault("500", path="/p1/", times=0)
    task = Task(CleanUpProjectTagsOperator, names="stale:*")
    with pytest.raises(AirflowException, match="1 of 3 projects failed"):
        task.run()
    report = task.pushed["return_value"]
    assert list(report["failed"]) == ["p1"]
    assert pairs(report["removed"]) == [("p2", "stale:b"), ("p2", "stale:keep")]


def test_a_removal_that_fails_is_told_and_the_rest_goes(world: LocalPaperspaceServer) -> None:
    world.fault("403", path="/p1/", method="DELETE", at=2, times=0)
    task = Task(CleanUpProjectTagsOperator, names="stale:*")
    with pytest.raises(AirflowFailException, match="1 of 3 projects failed"):
        task.run()
    removed = pairs(task.pushed["return_value"]["removed"])
    assert len(removed) == 3
    assert len([pair for pair in removed if pair[0] == "p1"]) == 1


def test_a_clean_up_can_be_taken_back(world: LocalPaperspaceServer) -> None:
    before = {id_: set(world.paperspace.tag_names(id_)) for id_ in ("p1", "p2", "p3")}
    task = Task(CleanUpProjectTagsOperator, names="stale:*")
    task.run()
    Task(UndoProjectTagChangeOperator, change=task.pushed["change"]).run()
    assert {id_: set(world.paperspace.tag_names(id_)) for id_ in before} == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"expired": False}, "There is no criterion"),
        ({"max_removals": -1}, "max_removals is -1, and must be a whole number"),
        ({"max_removals": "many"}, "max_removals is 'many'"),
        ({"dry_run": ""}, "dry_run is '', and must be True or False"),
        ({"names": ""}, "blank"),
        ({"keep": 7}, "keep is a int"),
        ({"project_ids": "p1"}, "must be a list"),
        ({"plan": {}}, "plan is a dict, and must be what CleanUpProjectTagsOperator returned"),
        ({"plan": {"planned": []}}, "The plan has no rules"),
        ({"plan": {"planned": []}, "names": "x"}, "a plan brings its own projects and rules"),
    ],
)
def test_bad_input_is_refused_before_any_request(
    world: LocalPaperspaceServer, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(AirflowFailException, match=complaint):
        clean_up(**arguments)
    assert not asked(world)


@pytest.mark.parametrize("field", ["project_ids", "names", "keep"])
def test_an_argument_that_came_to_nothing_never_widens_what_goes(world: LocalPaperspaceServer, field: str) -> None:
    task = Task(
        CleanUpProjectTagsOperator, **{"names": "stale:*", "project_ids": ["p1"], "keep": "x", field: "{{ x }}"}
    )
    setattr(task.operator, field, None)
    with pytest.raises(AirflowFailException, match="Did the task that it comes from return nothing"):
        task.run()
    assert not asked(world)


def test_a_mapped_plan_that_came_to_nothing_is_refused(world: LocalPaperspaceServer) -> None:
    with pytest.raises(AirflowFailException, match="plan is None"):
        Task(CleanUpProjectTagsOperator, plan=None).run()
    assert not asked(world)


def test_a_project_deleted_meanwhile_is_no_failure_unless_it_was_asked_for(
    world: LocalPaperspaceServer,
) -> None:
    read = world.paperspace.list_tags

    def read_and_lose(project_id: str, query: Any) -> Any:
        world.paperspace.projects["p2"].dt_deleted = "2026-11-24T00:00:00.000Z"
        return read(project_id, query)

    world.paperspace.list_tags = read_and_lose  # type: ignore[method-assign]
    assert pairs(clean_up(names="stale:*")["removed"]) == [("p1", "demo@2026-11-23"), ("p1", "stale:a")]
    with pytest.raises(AirflowFailException, match="1 of 1 projects failed"):
        clean_up(project_ids=["p2"])


def test_the_report_covers_the_tries_that_failed(world: LocalPaperspaceServer) -> None:
    kept: dict[str, Any] = {}
    world.fault("500", path="/p1/", method="DELETE", times=2)
    with pytest.raises(AirflowException, match="1 of 3 projects failed"):
        Task(CleanUpProjectTagsOperator, names="stale:*").keeping(kept).run()
    second = Task(CleanUpProjectTagsOperator, names="stale:*").keeping(kept)
    report = second.run()
    assert len(report["removed"]) == 4
    assert {r["reason"] for r in report["removed"] if r["project_id"] == "p2"} == {
        "removed by an earlier try of the task"
    }
    Task(UndoProjectTagChangeOperator, change=second.pushed["change"]).run()
    assert "stale:b" in world.paperspace.tag_names("p2")


def test_a_plan_that_came_to_nothing_is_not_taken_for_no_plan(world: LocalPaperspaceServer) -> None:
    task = Task(CleanUpProjectTagsOperator, plan="{{ x }}")
    task.operator.plan = None
    with pytest.raises(AirflowFailException, match="plan is None"):
        task.run()
    assert not asked(world)


@pytest.mark.parametrize("more", [{"project_ids": ["p1"]}, {"older_than": timedelta(days=1)}])
def test_a_plan_goes_with_no_rules_of_its_own(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a plan brings its own projects and rules"):
        CleanUpProjectTagsOperator(task_id="t", plan={}, **more)
