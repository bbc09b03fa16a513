"""The button to the console: where it leads, that it costs no request, and that it never fails a task."""

from __future__ import annotations

import logging
from typing import Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook
from airflow_provider_paperspace.links import paperspace as links
from airflow_provider_paperspace.links.paperspace import PaperspaceProjectLink, console_url, link_of, restore_link
from airflow_provider_paperspace.operators._base import PaperspaceOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
)
from airflow_provider_paperspace.operators.projects import ListProjectsOperator
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from tests.operators.task import Task, names

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")
KEY = "_link_PaperspaceProjectLink"
PROJECTS = "https://console.paperspace.com/acme/projects"

TASKS: dict[str, tuple[type[Any], dict[str, Any], str, int]] = {
    "list": (ListProjectTagsOperator, {"project_id": "p1"}, f"{PROJECTS}/p1", 1),
    "list, by name": (ListProjectTagsOperator, {"project_name": "one"}, f"{PROJECTS}/p1", 2),
    "list, of many": (ListProjectTagsOperator, {"project_ids": ["p1"]}, PROJECTS, 1),
    "list, of none": (ListProjectTagsOperator, {"project_ids": []}, PROJECTS, 0),
    "add": (AddProjectTagOperator, {"project_id": "p1", "tags": "x"}, f"{PROJECTS}/p1", 2),
    "add, unchanged": (AddProjectTagOperator, {"project_id": "p1", "tags": "gpu"}, f"{PROJECTS}/p1", 1),
    "add, of many": (AddProjectTagOperator, {"project_ids": ["p1"], "tags": "x"}, PROJECTS, 2),
    "remove": (RemoveProjectTagOperator, {"project_id": "p1", "tags": "gpu"}, f"{PROJECTS}/p1", 2),
    "set, unchanged": (
        SetProjectTagsOperator,
        {"project_id": "p1", "tags": "gpu", "within": "gp"},
        f"{PROJECTS}/p1",
        1,
    ),
    "set": (SetProjectTagsOperator, {"project_id": "p1", "tags": "s:a", "within": "s:"}, f"{PROJECTS}/p1", 3),
    "projects": (ListProjectsOperator, {}, PROJECTS, 1),
    "sensor": (ProjectTagSensor, {"project_id": "p1", "tags": "gpu", "deferrable": False}, f"{PROJECTS}/p1", 1),
    "sensor, deferrable": (
        ProjectTagSensor,
        {"project_id": "p1", "tags": "gpu", "deferrable": True},
        f"{PROJECTS}/p1",
        1,
    ),
}


@pytest.fixture(autouse=True)
def _connected(server: LocalPaperspaceServer, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)


def without_team(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json(team="", max_attempts=2))


def link(task: Task) -> str:
    """Return where the button of a task that has run leads: read in the worker, or on Airflow 2 from its XCom."""
    operator = task.operator
    if ON_AIRFLOW_2:
        return task.links.get(KEY, "")
    assert task.links == {}, "no XCom of ours"
    return PaperspaceProjectLink().get_link(operator, ti_key=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", TASKS)
class TestEachTask:
    def test_the_button_leads_to_the_project(self, task: str) -> None:
        kind, arguments, url, _ = TASKS[task]
        ran = Task(kind, **arguments)
        ran.run()
        assert link(ran) == url

    def test_the_button_costs_no_request(self, task: str, server: LocalPaperspaceServer) -> None:
        kind, arguments, _, requests = TASKS[task]
        ran = Task(kind, **arguments)
        ran.run()
        link(ran)
        assert len(server.requests) == requests
        assert not [request for request in server.requests if "session" in request.target]

    def test_without_a_team_there_is_no_button(
        self,
        task: str,
        server: LocalPaperspaceServer,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        without_team(server, monkeypatch)
        kind, arguments, _, requests = TASKS[task]
        ran = Task(kind, **arguments)
        with caplog.at_level(logging.INFO):
            ran.run()
        assert (link(ran), ran.links) == ("", {})
        assert ON_AIRFLOW_2 or not ran.operator.operator_extra_links, "Airflow would store the empty address of each"
        assert len(server.requests) == requests
        assert "link" not in caplog.text.lower()


def test_a_hook_asks_nothing_for_a_link(server: LocalPaperspaceServer) -> None:
    with PaperspaceHook() as hook:
        assert console_url(hook.settings, "p1") == f"{PROJECTS}/p1"
        assert console_url(hook.settings) == PROJECTS
    assert server.requests == []


def test_a_sensor_that_polls_twice_asks_twice(server: LocalPaperspaceServer) -> None:
    task = Task(ProjectTagSensor, project_name="one", tags="none", deferrable=False)
    for requests in (2, 3):  # the first also looks up the name
        assert not task.operator.poke(task.context)
        assert len(server.requests) == requests
    assert link(task) == f"{PROJECTS}/p1"


def test_a_connection_may_set_another_console(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = server.connection_json(console_url="https://console.example/x/", team="a&b")
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", uri)
    task = Task(ListProjectTagsOperator, project_id="p1")
    task.run()
    assert link(task) == "https://console.example/x/a%26b/projects/p1"


def test_an_awkward_project_id_stays_one_part_of_the_path() -> None:
    with PaperspaceHook() as hook:
        assert console_url(hook.settings, "a/../b?c") == f"{PROJECTS}/a%2F..%2Fb%3Fc"


def test_a_failed_task_has_the_button_too(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.app, "api_key", "another")
    task = Task(ListProjectTagsOperator, project_id="p1")
    with pytest.raises(AirflowFailException, match="401"):
        task.run()
    assert link(task) == f"{PROJECTS}/p1"


def test_a_task_that_never_ran_has_no_button(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(links, "IS_AIRFLOW_2", False)
    operator = ListProjectTagsOperator(task_id="t", project_id="p1")
    with caplog.at_level(logging.DEBUG):
        assert PaperspaceProjectLink().get_link(operator, ti_key=None) == ""  # type: ignore[arg-type]
    assert not [record for record in caplog.records if "XCom" in record.getMessage()]


def test_airflow_3_reads_no_xcom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "IS_AIRFLOW_2", False)
    monkeypatch.setattr(links, "XCom", None)
    task = Task(AddProjectTagOperator, project_id="p1", tags="x")
    assert names(task.run()) == ["x"]
    assert task.links == {}
    link = PaperspaceProjectLink()
    assert link.get_link(task.operator, ti_key=None) == f"{PROJECTS}/p1"  # type: ignore[arg-type]


def test_airflow_2_stores_the_address_as_an_xcom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "IS_AIRFLOW_2", True)
    task = Task(AddProjectTagOperator, project_id="p1", tags="x")
    task.run()
    assert task.links == {KEY: f"{PROJECTS}/p1"}


def test_airflow_2_reads_the_stored_address(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: dict[str, Any] = {KEY: f"{PROJECTS}/p1"}

    class StoredXCom:
        @staticmethod
        def get_value(*, key: str, ti_key: Any) -> Any:
            return stored[ti_key]

    monkeypatch.setattr(links, "IS_AIRFLOW_2", True)
    monkeypatch.setattr(links, "XCom", StoredXCom)
    link, operator = PaperspaceProjectLink(), ListProjectTagsOperator(task_id="t", project_id="p1")
    assert link.get_link(operator, ti_key=KEY) == stored[KEY]  # type: ignore[arg-type]
    stored[KEY] = None
    assert link.get_link(operator, ti_key=KEY) == ""  # type: ignore[arg-type]
    assert link.get_link(operator, ti_key="nowhere") == "", "no link, and no error"  # type: ignore[arg-type]


def test_the_button_survives_a_deferral() -> None:
    before = Task(ProjectTagSensor, project_id="p1", tags="gpu", deferrable=True)
    before.run()
    after = ProjectTagSensor(task_id="t", project_id="p1", tags="gpu", deferrable=True)
    assert link_of(after) == ""
    restore_link(after, link_of(before.operator))
    assert PaperspaceProjectLink().get_link(after, ti_key=None) == f"{PROJECTS}/p1"  # type: ignore[arg-type]


def test_a_context_without_a_task_instance_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "IS_AIRFLOW_2", True)
    operator = ListProjectTagsOperator(task_id="t", project_id="p1")
    with PaperspaceHook() as hook:
        links.set_link(operator, {}, hook.settings, "p1")
    assert link_of(operator) == f"{PROJECTS}/p1"


def test_every_operator_has_the_button() -> None:
    assert ListProjectsOperator.operator_extra_links == PaperspaceOperator.operator_extra_links
    for operator in (
        ListProjectTagsOperator(task_id="t", project_id="p1"),
        ProjectTagSensor(task_id="s", project_id="p1", tags="x"),
    ):
        (link,) = operator.operator_extra_links
        assert (link.name, link.xcom_key) == ("Paperspace project", KEY)
