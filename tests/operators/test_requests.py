"""How many requests each operator sends, and what it logs: nothing that nobody asked for."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_paperspace.api.errors import PaperspaceError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.lease import ReturnProjectTagLeaseOperator, TakeProjectTagLeaseOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from airflow_provider_paperspace.operators.projects import ListProjectsOperator
from tests.operators.task import Task
from tests.operators.test_all_operators import ARGUMENTS
from tests.test_docs import table

IDS = [f"p{i}" for i in range(1, 6)]
UNDONE = {"project_id": "p1", "added": ["gpu"], "removed": ["old"]}


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    projects = [{"id": id_, "name": f"name-{id_}", "tags": ["gpu", "stage:a"]} for id_ in IDS]
    server.reset(seed={"projects": projects})
    return server


def counted(world: LocalPaperspaceServer, kind: type[Any], **arguments: Any) -> dict[str, int]:
    """Return the number of requests of a task, by method."""
    before = len(world.requests)
    Task(kind, **arguments).run()
    methods = [request.method for request in world.requests[before:]]
    return {method: methods.count(method) for method in dict.fromkeys(methods)}


ONE: dict[str, Any] = {"project_id": "p1"}
COSTS: list[tuple[type[Any], dict[str, Any], dict[str, int]]] = [
    (ListProjectTagsOperator, ONE, {"GET": 1}),
    (ListProjectTagsOperator, {"project_name": "name-p1"}, {"GET": 2}),
    (ListProjectTagsOperator, {"project_ids": IDS}, {"GET": 5}),
    (AddProjectTagOperator, {**ONE, "tags": "gpu"}, {"GET": 1}),
    (AddProjectTagOperator, {**ONE, "tags": []}, {"GET": 1}),
    (AddProjectTagOperator, {**ONE, "tags": ["x", "y", "z", "gpu"]}, {"GET": 1, "POST": 3}),
    (AddProjectTagOperator, {"project_ids": IDS, "tags": "gpu"}, {"GET": 5}),
    (AddProjectTagOperator, {"project_ids": IDS, "tags": ["x", "y"]}, {"GET": 5, "POST": 10}),
    (AddProjectTagOperator, {"project_ids": [], "tags": ["x", "y"]}, {}),
    (RemoveProjectTagOperator, {**ONE, "tags": "absent"}, {"GET": 1}),
    (RemoveProjectTagOperator, {**ONE, "tags": ["gpu", "stage:a", "absent"]}, {"GET": 1, "DELETE": 2}),
    (SetProjectTagsOperator, {**ONE, "tags": "stage:a", "within": "stage:"}, {"GET": 1}),
    (SetProjectTagsOperator, {**ONE, "tags": "stage:b", "within": "stage:"}, {"GET": 2, "POST": 1, "DELETE": 1}),
    (SetProjectTagsOperator, {**ONE, "tags": "stage:b", "within": "stage:", "dry_run": True}, {"GET": 1}),
    (SetProjectTagsOperator, {**ONE, "tags": "x", "replace_all": True}, {"GET": 2, "POST": 1, "DELETE": 2}),
    (UndoProjectTagChangeOperator, {"change": {**UNDONE, "added": [], "removed": []}}, {"GET": 1}),
    (UndoProjectTagChangeOperator, {"change": UNDONE}, {"GET": 1, "POST": 1, "DELETE": 1}),
    (UndoProjectTagChangeOperator, {"change": {}}, {}),
    (TakeProjectTagLeaseOperator, {**ONE, "tags": "in-use", "lease_id": "l"}, {"GET": 1, "POST": 1}),
    (ReturnProjectTagLeaseOperator, {**ONE, "tags": "in-use", "lease_id": "l"}, {"GET": 1}),
    (CleanUpProjectTagsOperator, {"all_projects": True}, {"GET": 6}),
    (CleanUpProjectTagsOperator, {"project_ids": IDS}, {"GET": 5}),
    (CleanUpProjectTagsOperator, {"project_ids": ["p1"], "names": "gpu"}, {"GET": 2, "DELETE": 1}),
    (CleanUpProjectTagsOperator, {"project_ids": ["p1"], "names": "gpu", "dry_run": True}, {"GET": 1}),
    (ListProjectsOperator, {}, {"GET": 1}),
    (ListProjectsOperator, {"name": "name-*"}, {"GET": 1}),
    (ListProjectsOperator, {"name": ["name-p1", "name-p2"], "tagged": "gpu", "untagged": "x"}, {"GET": 3}),
]


@pytest.mark.parametrize(("kind", "arguments", "cost"), COSTS)
def test_an_operator_sends_no_request_too_many(
    world: LocalPaperspaceServer, kind: type[Any], arguments: dict[str, Any], cost: dict[str, int]
) -> None:
    assert counted(world, kind, **arguments) == cost
    assert not [request for request in world.requests if "session" in request.target]


def test_the_costs_are_known_for_every_operator() -> None:
    assert {kind for kind, _, _ in COSTS} == set(ARGUMENTS)


@pytest.mark.parametrize("pages", [1, 2, 3])
@pytest.mark.parametrize("new", [0, 1, 7])
def test_new_tags_cost_the_pages_and_one_request_each(world: LocalPaperspaceServer, pages: int, new: int) -> None:
    world.paperspace.add_project("many", tags=[f"old-{i}" for i in range(120 * pages)])
    cost = counted(world, AddProjectTagOperator, project_id="many", tags=["old-0", *[f"new-{i}" for i in range(new)]])
    assert cost == {"GET": pages, **({"POST": new} if new else {})}


@pytest.mark.parametrize(("team", "url"), [("acme", "https://console.paperspace.com/acme/projects/p1"), ("", "")])
def test_the_button_costs_no_request(
    world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, team: str, url: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", world.connection_json(max_attempts=2, team=team))
    task = Task(ListProjectTagsOperator, project_id="p1")
    task.run()
    urls = [link.get_link(task.operator, ti_key=None) for link in task.operator.operator_extra_links]
    if not task.links:  # Airflow 2 reads it from XCom
        assert "".join(urls) == url
    assert len(world.requests) == 1


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Return the provider's lines of a level, or above."""
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_paperspace")]
    return [record.getMessage() for record in ours if record.levelno >= level]


def test_a_batch_logs_a_line_for_each_changed_project(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    for id_ in ("p2", "p4"):
        world.paperspace.add_tag(id_, {"name": "x"})
    world.fault("403", path="/p5/", times=0)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(AirflowFailException):
        Task(AddProjectTagOperator, project_ids=IDS, tags="x").run()
    info = [line for line in lines(caplog, logging.INFO) if line.startswith("Project 'p")]
    assert sorted(line.split(":")[0] for line in info if "added" in line) == ["Project 'p1'", "Project 'p3'"]
    assert not [line for line in info if line.startswith(("Project 'p2'", "Project 'p4'"))], "unchanged"
    assert [line for line in lines(caplog, logging.DEBUG) if line.startswith("Project 'p2'")]
    assert "5 projects: 2 changed, 2 unchanged, 1 failed" in lines(caplog, logging.INFO)


@pytest.mark.parametrize(
    ("kind", "arguments", "summary"),
    [
        (AddProjectTagOperator, {"project_ids": IDS, "tags": "x"}, "5 projects: 5 changed, 0 unchanged, 0 failed"),
        (AddProjectTagOperator, {"project_ids": ["p1"], "tags": "gpu"}, "1 project: 0 changed, 1 unchanged, 0 failed"),
        (
            SetProjectTagsOperator,
            {"project_ids": IDS, "tags": "stage:b", "within": "stage:"},
            "5 projects: 5 changed, 0 unchanged, 0 failed",
        ),
        (RemoveProjectTagOperator, {"project_ids": IDS, "tags": "y"}, "5 projects: 0 changed, 5 unchanged, 0 failed"),
        (UndoProjectTagChangeOperator, {"change": UNDONE}, "1 project: 1 changed, 0 unchanged, 0 failed"),
        (
            CleanUpProjectTagsOperator,
            {"project_ids": IDS[:2], "names": "gpu"},
            "2 projects: 2 changed, 0 unchanged, 0 failed",
        ),
    ],
)
def test_a_batch_ends_with_a_summary(
    caplog: pytest.LogCaptureFixture, kind: type[Any], arguments: dict[str, Any], summary: str
) -> None:
    caplog.set_level(logging.INFO)
    Task(kind, **arguments).run()
    assert lines(caplog, logging.INFO).count(summary) == 1


def test_a_list_of_many_projects_logs_no_line_for_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Task(ListProjectTagsOperator, project_ids=IDS).run()
    assert not [line for line in lines(caplog, logging.INFO) if line.startswith("Project 'p")]


@pytest.mark.parametrize(
    ("kind", "arguments", "fault", "message"),
    [
        (AddProjectTagOperator, {**ONE, "tags": "x"}, "500", "Project 'p1': could not list its tags"),
        (AddProjectTagOperator, {**ONE, "tags": "x"}, "403", "Project 'p1': could not list its tags"),
        (AddProjectTagOperator, {"project_ids": IDS, "tags": "x"}, "500", "5 of 5 projects failed"),
        (AddProjectTagOperator, {"project_ids": ["p1"], "tags": "x"}, "403", "1 of 1 project failed"),
        (AddProjectTagOperator, {"project_ids": IDS, "tags": "x"}, "401", "Project 'p"),
        (
            CleanUpProjectTagsOperator,
            {"project_ids": ["p1"], "names": "*", "max_removals": 1},
            "",
            "The plan has 2 rem",
        ),
        (ListProjectsOperator, {"name": "nobody"}, "", "Task 'task': no project is named 'nobody'"),
    ],
)
def test_a_failure_of_ours_has_an_error_line_of_its_own(
    world: LocalPaperspaceServer,
    caplog: pytest.LogCaptureFixture,
    kind: type[Any],
    arguments: dict[str, Any],
    fault: str,
    message: str,
) -> None:
    if fault:
        world.fault(fault, times=0)
    with pytest.raises((AirflowException, PaperspaceError)) as caught:
        Task(kind, **arguments).run()
    errors = lines(caplog, logging.ERROR)
    assert len(errors) == 1
    assert errors[0].startswith(message)
    assert str(caught.value).startswith(message)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_stopped_batch_has_an_error_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    task = Task(AddProjectTagOperator, project_ids=IDS, tags="x")
    task.operator.on_kill()
    with pytest.raises(AirflowException):
        task.run()
    assert lines(caplog, logging.ERROR) == [
        "The task was stopped after 0 of 5 projects. A retry processes the remaining projects."
    ]


FIGURES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "list the tags of a project, up to 120": (ListProjectTagsOperator, {}),
    "add a tag that is missing": (AddProjectTagOperator, {"tags": "new"}),
    "add a tag that is already there": (AddProjectTagOperator, {"tags": "gpu"}),
    "remove a tag": (RemoveProjectTagOperator, {"tags": "gpu"}),
    "remove a tag that is missing": (RemoveProjectTagOperator, {"tags": "absent"}),
    "replace the only tag with a prefix": (SetProjectTagsOperator, {"tags": "stage:b", "within": "stage:"}),
    "set tags that are already set": (SetProjectTagsOperator, {"tags": "stage:a", "within": "stage:"}),
}


@pytest.mark.parametrize(("what", "requests"), table("docs/explanation/performance.md", "what | requests"))
def test_the_page_on_performance_states_the_requests(world: LocalPaperspaceServer, what: str, requests: str) -> None:
    kind, arguments = FIGURES[what]
    assert sum(counted(world, kind, **ONE, **arguments).values()) == int(requests)
