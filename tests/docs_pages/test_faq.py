"""The page *Questions and answers*: what it says of patterns, requests and runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.emulator.pytest_plugin import run_in_process
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
)
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger
from tests.conftest import REPOSITORY
from tests.operators.empty_arguments import GOOD, arguments_of, good_but
from tests.operators.task import Task
from tests.test_example_dags import NEEDS_3, load
from tests.triggers.polls import first_event

PAGE = (REPOSITORY / "docs/faq.md").read_text()
OPEN_PATTERN = "exp[1"


@pytest.fixture(autouse=True)
def world(server: LocalPaperspaceServer, connection: str) -> LocalPaperspaceServer:
    return server


def table(header: str) -> list[list[str]]:
    lines = PAGE.partition(f"| {header}")[2].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


PATTERNS = {row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in table("where |")}


def takes_a_pattern(kind: type[Any], argument: str) -> bool:
    """Return whether the class reads this argument as a pattern, and so refuses one that is malformed."""
    good: dict[str, Any] = good_but(kind, argument) if kind in GOOD else {"project_id": "p1"}
    try:
        Task(kind, **{**good, argument: OPEN_PATTERN}).run()
    except Exception as error:  # noqa: BLE001  # refused for another reason, or not at all
        return "is never closed" in str(error)
    return False


@pytest.mark.parametrize("kind", [*GOOD, ProjectTagSensor], ids=lambda kind: kind.__name__)
def test_the_page_lists_every_argument_that_takes_patterns(kind: type[Any]) -> None:
    arguments = arguments_of(kind) if kind in GOOD else ["tags", "project_id", "project_name", "mode_of_match"]
    found = [argument for argument in arguments if takes_a_pattern(kind, argument)]
    assert sorted(found) == sorted(PATTERNS.get(kind.__name__, [])), kind.__name__


def test_the_trigger_takes_patterns_in_its_tags() -> None:
    assert PATTERNS["ProjectTagTrigger"] == ["tags"]
    assert first_event(ProjectTagTrigger(project_id="p1", tags="g*", poke_interval=0))["status"] == "met"


@NEEDS_3
def test_the_event_trigger_takes_patterns_in_its_tags() -> None:
    from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger

    assert PATTERNS["ProjectTagEventTrigger"] == ["tags"]
    with pytest.raises(InvalidArgumentError, match="is never closed"):
        ProjectTagEventTrigger(project_id="p1", tags=OPEN_PATTERN)


ONE: dict[str, Any] = {"project_id": "p1"}
STAGE: dict[str, Any] = {**ONE, "within": "stage:"}
MANY = {"project_ids": ["p1", "p2", "p3"]}
TASKS: dict[str, list[tuple[type[Any], dict[str, Any]]]] = {
    "list the tags, or add or remove tags with nothing to do": [
        (ListProjectTagsOperator, ONE),
        (AddProjectTagOperator, {**ONE, "tags": "gpu"}),
        (RemoveProjectTagOperator, {**ONE, "tags": "absent"}),
    ],
    "add three tags that are missing": [(AddProjectTagOperator, {**ONE, "tags": ["x", "y", "z"]})],
    "remove two tags that are there": [(RemoveProjectTagOperator, {**ONE, "tags": ["gpu", "old"]})],
    "set one tag within a prefix, in place of another": [(SetProjectTagsOperator, {**STAGE, "tags": "stage:b"})],
    "the same, if it is set already": [(SetProjectTagsOperator, {**STAGE, "tags": "stage:a"})],
    "clean up the five projects of a team, with nothing stale": [(CleanUpProjectTagsOperator, {"all_projects": True})],
    "clean up one project, with one stale tag": [(CleanUpProjectTagsOperator, {"project_ids": ["p1"], "names": "old"})],
}


@pytest.mark.parametrize("task", TASKS)
def test_a_task_sends_as_many_requests_as_the_page_says(world: LocalPaperspaceServer, task: str) -> None:
    stated = {row[0]: row[1] for row in table("task | requests")}
    for kind, arguments in TASKS[task]:
        assert count(world, lambda kind=kind, arguments=arguments: Task(kind, **arguments).run()) == int(stated[task])


def count(world: LocalPaperspaceServer, act: Callable[[], object]) -> int:
    """Return how many requests something sends, to a team of five projects."""
    tags = ["gpu", "old", "stage:a"]
    world.reset(seed={"projects": [{"id": f"p{n}", "name": f"name-{n}", "tags": tags} for n in range(1, 6)]})
    act()
    return len(world.requests)


def test_names_many_projects_and_polls_cost_what_the_page_says(world: LocalPaperspaceServer) -> None:
    stated = {row[0]: row[1] for row in table("task | requests")}
    assert list(stated) == [
        *list(TASKS)[:5],
        "any of these with `project_name`",
        "any of these with `project_ids`",
        *list(TASKS)[5:],
        "one poll of a sensor",
    ]
    by_name = count(world, Task(AddProjectTagOperator, project_name="name-1", tags="gpu").run)
    assert (by_name, stated["any of these with `project_name`"]) == (2, "1 more for each page of projects")
    assert count(world, Task(AddProjectTagOperator, **MANY, tags="gpu").run) == 3
    sensor = ProjectTagSensor(task_id="wait", project_id="p1", tags="never")
    assert count(world, lambda: sensor.poke({})) == int(stated["one poll of a sensor"])


@pytest.mark.uncovered
@pytest.mark.parametrize(("name", "state"), [("green", "success"), ("red", "failed")])
def test_a_failed_run_is_as_green_as_the_page_says(airflow_db: object, name: str, state: str) -> None:
    run = run_in_process(getattr(load("tests/dags/green_failure.py"), name))
    assert (run.state, run.tasks["train"], run.tasks["tag_failed"]) == (state, "failed", "success")


def test_a_retry_adds_only_what_is_missing(world: LocalPaperspaceServer) -> None:
    world.fault("403", method="POST", at=3)
    task: dict[str, Any] = {"project_id": "p1", "tags": ["x", "y", "z"]}
    with pytest.raises(Exception, match="403"):
        Task(AddProjectTagOperator, **task).run()
    before = len(world.requests)
    Task(AddProjectTagOperator, **task).run()
    assert [request.method for request in world.requests[before:]] == ["GET", "POST"]


def test_a_backfill_lives_in_its_own_interval(world: LocalPaperspaceServer) -> None:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(Exception, match="in the past"):
        Task(AddProjectTagOperator, at=then, project_id="p1", tags="demo", expires_in=timedelta(days=7)).run()
    world.reset(seed={"projects": [{"id": "p1", "tags": ["a@2025-12-01", "b@2026-02-01"]}]})
    Task(CleanUpProjectTagsOperator, at=then, project_ids=["p1"]).run()
    assert world.paperspace.tag_names("p1") == ["b@2026-02-01"]
