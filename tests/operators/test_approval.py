"""A plan that is applied a week after it was made: its rules, on the tags as they are then."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from tests.operators.conftest import NOW
from tests.operators.task import Task

CREATED = "2026-03-02T09:15:00.000Z"


def tag(name: str, created: str = CREATED) -> dict[str, Any]:
    return {"name": name, "dtCreated": created}


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer) -> LocalPaperspaceServer:
    server.reset(seed={"projects": [{"id": "p1", "name": "one", "tags": [tag("stale:a"), tag("stale:b")]}]})
    return server


@pytest.fixture
def plan(world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A plan that was made a week ago."""
    arguments: dict[str, Any] = {"all_projects": True, "names": "stale:*", "older_than": timedelta(days=7)}
    report = Task(CleanUpProjectTagsOperator, **arguments, keep="*keep*", dry_run=True).run()
    assert [removal["tag"] for removal in report["planned"]] == ["stale:a", "stale:b"]
    for module in ("_base", "project_tags", "clean_up"):
        monkeypatch.setattr(f"airflow_provider_paperspace.operators.{module}.utc_now", lambda: NOW + timedelta(days=7))
    return dict(json.loads(json.dumps(report)))


def apply(plan: dict[str, Any], **arguments: Any) -> list[str]:
    """Apply the plan, and return the tags that it removed."""
    report = Task(CleanUpProjectTagsOperator, plan=plan, **arguments).run()
    return [removal["tag"] for removal in report["removed"]]


@pytest.mark.parametrize(
    ("then", "arguments", "removed"),
    [
        ([tag("stale:a"), tag("stale:b")], {}, ["stale:a", "stale:b"]),
        # What was not planned stays, stale or not.
        ([tag("stale:a"), tag("stale:new"), tag("stale:a:keep"), tag("x@2026-11-25")], {}, ["stale:a"]),
        # Added again since: by the rules of the plan it is too young.
        ([tag("stale:a", "2026-11-25T09:15:00.000Z"), tag("stale:b")], {}, ["stale:b"]),
        # It is 7 days old by now, but was not when the plan was made.
        ([tag("stale:a", "2026-11-20T09:15:00.000Z"), tag("stale:b")], {}, ["stale:b"]),
        ([tag("stale:a"), tag("stale:b")], {"keep": "*:b"}, ["stale:a"]),
        ([], {}, []),
    ],
)
def test_a_late_approval_applies_the_rules_of_the_plan_to_the_tags_of_then(
    world: LocalPaperspaceServer, plan: dict[str, Any], then: list[Any], arguments: dict[str, Any], removed: list[str]
) -> None:
    world.reset(seed={"projects": [{"id": "p1", "name": "one", "tags": then}]})
    assert apply(plan, **arguments) == removed
    left = [one["name"] for one in then if one["name"] not in removed]
    assert world.paperspace.tag_names("p1") == left


def test_a_plan_is_accepted_with_or_without_its_text(plan: dict[str, Any]) -> None:
    assert plan.pop("markdown").startswith("### 2 tags to remove from 1 of 1 project\n\n| Project |")
    assert apply(plan) == ["stale:a", "stale:b"]


@pytest.mark.parametrize("text", ["", None, "### 0 tags to remove", 7])
def test_the_text_of_a_plan_is_not_read(plan: dict[str, Any], text: Any) -> None:
    assert apply(plan | {"markdown": text}) == ["stale:a", "stale:b"]


def test_the_text_links_to_the_console_of_the_team(plan: dict[str, Any]) -> None:
    assert "[one](https://console.paperspace.com/acme/projects/p1) `p1`" in plan["markdown"]


def test_a_report_that_is_pushed_by_a_failed_task_has_its_text(world: LocalPaperspaceServer) -> None:
    task = Task(CleanUpProjectTagsOperator, all_projects=True, names="stale:*", max_removals=1)
    with pytest.raises(Exception, match="nothing was removed"):
        task.run()
    assert task.pushed["return_value"]["markdown"].startswith("### 0 of 2 planned tags removed")
