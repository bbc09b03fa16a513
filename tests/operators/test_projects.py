"""Listing projects, by name and by tags."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.projects import ListProjectsOperator
from tests.operators.task import Task, rendered

PROJECTS = [
    {"id": "p1", "name": "vision-a", "tags": ["gpu", "stage:a"]},
    {"id": "p2", "name": "vision-b", "tags": ["gpu"]},
    {"id": "p3", "name": "speech", "tags": ["stage:b", "keep"]},
    {"id": "p4", "name": "gone", "tags": ["gpu"], "dtDeleted": "2026-01-01T00:00:00.000Z"},
]


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": PROJECTS})
    return server


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, ["p1", "p2", "p3"]),
        ({"name": "vision-*"}, ["p1", "p2"]),
        ({"name": ["speech", "*-b"]}, ["p2", "p3"]),
        ({"name": "Vision-*"}, []),
        ({"tagged": "gpu"}, ["p1", "p2"]),
        ({"tagged": ["gpu", "stage:*"]}, ["p1"]),
        ({"untagged": "stage:*"}, ["p2"]),
        ({"untagged": ["keep", "stage:a"]}, ["p2"]),
        ({"name": "vision-*", "tagged": "gpu", "untagged": "stage:*"}, ["p2"]),
        ({"tagged": [{"id": 1, "name": "keep", "dtCreated": "d"}]}, ["p3"]),
    ],
)
def test_existing_projects_are_filtered_by_name_and_tags(filters: dict[str, Any], ids: list[str]) -> None:
    assert sorted(project["id"] for project in Task(ListProjectsOperator, **filters).run()) == ids


def test_a_project_is_returned_under_the_keys_of_the_api(world: LocalPaperspaceServer) -> None:
    (project,) = Task(ListProjectsOperator, name="speech").run()
    created = world.paperspace.projects["p3"].dt_created
    assert project == {"id": "p3", "name": "speech", "dtCreated": created, "repoUrl": None}


def test_tags_are_read_only_of_projects_with_a_matching_name(world: LocalPaperspaceServer) -> None:
    Task(ListProjectsOperator, name="vision-*").run()
    assert len(world.requests) == 1, "one page of projects"
    Task(ListProjectsOperator, name="vision-*", tagged="gpu").run()
    assert len(world.requests) == 4


def test_a_project_with_unreadable_tags_fails_the_task(world: LocalPaperspaceServer) -> None:
    world.fault("500", path="/p2/", times=0)
    with pytest.raises(AirflowException, match="1 of 3 projects failed"):
        Task(ListProjectsOperator, tagged="gpu").run()


@pytest.mark.parametrize(
    ("filters", "complaint"),
    [({"name": ""}, "name is blank"), ({"tagged": 7}, "tagged is an int"), ({"untagged": None}, "untagged is None")],
)
def test_a_bad_filter_is_refused_before_any_request(
    world: LocalPaperspaceServer, filters: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=f"Task 'task': {complaint}"):
        Task(ListProjectsOperator, **filters)
    ((field, value),) = filters.items()
    with pytest.raises(AirflowFailException, match=f"Task 'task': {complaint}"):
        rendered(ListProjectsOperator, field, value).run()
    assert not world.requests


def test_a_project_deleted_meanwhile_is_left_out(world: LocalPaperspaceServer) -> None:
    read = world.paperspace.list_tags

    def read_and_delete(project_id: str, query: Any) -> Any:
        world.paperspace.projects["p2"].dt_deleted = "2026-11-24T00:00:00.000Z"
        return read(project_id, query)

    world.paperspace.list_tags = read_and_delete  # type: ignore[method-assign]
    assert [project["id"] for project in Task(ListProjectsOperator, tagged="gpu", name="vision-*").run()] == ["p1"]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (["vision-a", "vision-c"], r"no project is named 'vision-c' \(similar: 'vision-[ab]', 'vision-[ab]'\)"),
        ("Speech", r"no project is named 'Speech' \(similar: 'speech'\)\. Check the spelling"),
        (["x", "q"], r"no project is named 'x' or 'q'\. Check the spelling .* or set missing_ok=True"),
        ("gone", "no project is named 'gone'"),
        ({"id": "p1", "name": "vision-*"}, r"no project is named 'vision-\*'"),
    ],
)
def test_a_name_that_no_project_has_is_an_error(name: Any, complaint: str) -> None:
    with pytest.raises(AirflowFailException, match=f"Task 'task': {complaint}"):
        Task(ListProjectsOperator, name=name).run()


def test_a_missing_name_may_be_allowed() -> None:
    listed = Task(ListProjectsOperator, name=["vision-a", "vision-c"], missing_ok=True).run()
    assert [project["id"] for project in listed] == ["p1"]


def test_a_pattern_may_match_no_project() -> None:
    assert Task(ListProjectsOperator, name=["nothing-*", "[x]"]).run() == []
