from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_paperspace.api.errors import ConflictError, RateLimitError, ServerError, TransportError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.hooks.opening import BEYOND_RETRY
from airflow_provider_paperspace.operators.base import PaperspaceBaseOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
)

OPERATORS = [AddProjectTagOperator, RemoveProjectTagOperator, ListProjectTagsOperator]


def execute(kind: type[PaperspaceBaseOperator], **arguments: Any) -> Any:
    return kind(task_id="task", **{"project_id": "p1", **arguments}).execute({})


def names(tags: list[dict[str, Any]]) -> list[str]:
    return [tag["name"] for tag in tags]


@pytest.fixture(autouse=True)
def _connected(connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api.retries.wait_s", lambda *_: 0.0)


def test_adding_returns_the_tags_now_there_in_the_order_asked(server: LocalPaperspaceServer) -> None:
    tags = execute(AddProjectTagOperator, tags=["nightly", "gpu"])
    assert names(tags) == ["nightly", "gpu"]
    assert set(tags[0]) == {"id", "name", "dtCreated"}
    assert server.paperspace.tag_names("p1") == ["gpu", "nightly"]


def test_removing_returns_the_tags_that_were_taken_off(server: LocalPaperspaceServer) -> None:
    assert names(execute(RemoveProjectTagOperator, tags=["gpu", "absent"])) == ["gpu"]
    assert execute(RemoveProjectTagOperator, tags="gpu") == []
    assert server.paperspace.tag_names("p1") == []


def test_listing_returns_all_tags_in_the_order_asked(server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("many", tags=[f"tag-{i:03}" for i in range(300)])
    assert names(execute(ListProjectTagsOperator, project_id="many", order="asc")) == [
        f"tag-{i:03}" for i in range(300)
    ]
    assert execute(ListProjectTagsOperator, project_id="many")[0]["name"] == "tag-299"


def test_the_log_says_what_changed_and_what_was_there(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        execute(AddProjectTagOperator, tags=["nightly", "gpu"])
        execute(ListProjectTagsOperator)
        execute(RemoveProjectTagOperator, tags=["nightly", "x"])
    assert "Project 'p1': added 'nightly'; 'gpu' was there already" in caplog.text
    assert "Project 'p1': 2 tags: 'nightly', 'gpu'" in caplog.text
    assert "Project 'p1': removed 'nightly'; 'x' was not there" in caplog.text


def test_the_log_of_a_long_list_stays_short(server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture) -> None:
    server.paperspace.add_project("many", tags=[f"tag-{i:03}" for i in range(30)])
    with caplog.at_level(logging.INFO):
        execute(ListProjectTagsOperator, project_id="many")
    assert "30 tags" in caplog.text
    assert "and 10 more" in caplog.text


@pytest.mark.parametrize("kind", OPERATORS)
def test_a_project_that_does_not_exist_fails_the_task_at_once(kind: type[PaperspaceBaseOperator]) -> None:
    tags = {} if kind is ListProjectTagsOperator else {"tags": []}
    with pytest.raises(AirflowFailException, match=r"Project 'nope'.*404.*connection 'paperspace_default'.*project id"):
        execute(kind, project_id="nope", **tags)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", AirflowFailException),
        ("403", AirflowFailException),
        ("409", ConflictError),
        ("429", RateLimitError),
        ("500", ServerError),
        ("502", ServerError),
        ("reset", TransportError),
    ],
)
def test_only_what_a_retry_cannot_mend_fails_at_once(
    server: LocalPaperspaceServer, fault: str, error: type[Exception]
) -> None:
    server.fault(fault, method="POST", times=0)
    with pytest.raises(error, match=r"Project 'p1': could not add tag 'x'"):
        execute(AddProjectTagOperator, tags="x")


def test_missing_tags_fail_the_task_when_they_must_be_there(server: LocalPaperspaceServer) -> None:
    with pytest.raises(AirflowFailException, match="not on the project: 'x'"):
        execute(RemoveProjectTagOperator, tags=["gpu", "x"], missing_ok=False)
    assert server.paperspace.tag_names("p1") == ["gpu"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"project_id": ""}, "project id is empty"),
        ({"project_id": 7}, "not a int"),
        ({"tags": ""}, "blank"),
        ({"tags": [" "]}, "blank"),
        ({"tags": None}, "Did the task that it comes from return nothing"),
        ({"tags": 7}, "tags is a int"),
        ({"tags": b"x"}, "tags is a bytes"),
        ({"tags": [["a"], ["b"]]}, "Map this task too"),
        ({"tags": [7]}, "tags holds a int"),
        ({"tags": [{"id": 7}]}, "tags holds a dict"),
        ({"tags": "['a', 'b']"}, "render_template_as_native_obj"),
        ({"tags": '["a"]'}, "render_template_as_native_obj"),
        ({"paperspace_conn_id": "bad_conn"}, "Connection 'bad_conn' has no API key"),
    ],
)
def test_bad_input_fails_the_task_with_what_is_wrong_and_changes_nothing(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], complaint: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD_CONN", "paperspace://")
    with pytest.raises(AirflowFailException, match=complaint):
        execute(AddProjectTagOperator, **{"tags": "x", **arguments})
    assert server.paperspace.tag_names("p1") == ["gpu"]


@pytest.mark.parametrize(
    ("tags", "meant"),
    [
        ("a", ["a"]),
        (["a", "b", "a"], ["a", "b"]),
        (("a",), ["a"]),
        ({"name": "a"}, ["a"]),
        ([{"id": 1, "name": "a", "dtCreated": "d"}, "b"], ["a", "b"]),
        ((name for name in "ab"), ["a", "b"]),
        ([], []),
        ("[draft] v2", ["[draft] v2"]),
        ("(a + b", ["(a + b"]),
        ("(1 + 2)", ["(1 + 2)"]),
    ],
)
def test_tags_may_be_a_name_names_or_tags(tags: Any, meant: list[str]) -> None:
    assert names(execute(AddProjectTagOperator, tags=tags)) == meant


def test_the_statuses_beyond_retry_are_those_that_the_policy_never_retries() -> None:
    from airflow_provider_paperspace.api import retries

    assert not {status for status in BEYOND_RETRY if retries.may_repeat(status)}
    assert {400, 401, 403, 404} <= BEYOND_RETRY


def test_an_id_that_came_to_nothing_fails_the_task_with_the_usual_cause() -> None:
    operator = ListProjectTagsOperator(task_id="task", project_id="{{ x }}")
    operator.project_id = None
    with pytest.raises(AirflowFailException, match="Did the task that it comes from return nothing"):
        operator.execute({})


def test_a_project_may_be_given_by_its_name(server: LocalPaperspaceServer) -> None:
    assert names(execute(AddProjectTagOperator, project_id=None, project_name="one", tags="x")) == ["x"]
    with pytest.raises(AirflowFailException, match="no project has this name; there is 'one'"):
        execute(AddProjectTagOperator, project_id=None, project_name="One", tags="y")
    server.paperspace.add_project("p2", "one")
    with pytest.raises(AirflowFailException, match="2 projects have this name, 'p[12]', 'p[12]'.*project_id"):
        execute(AddProjectTagOperator, project_id=None, project_name="one", tags="y")
    assert server.paperspace.tag_names("p1") == ["gpu", "x"]


def test_a_project_may_be_given_as_another_task_returned_it() -> None:
    assert names(execute(ListProjectTagsOperator, project_id={"id": "p1", "name": "one"})) == ["gpu"]


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize(
    "given", [{}, {"project_id": "p", "project_name": "one"}, {"project_id": "p", "project_ids": []}]
)
def test_exactly_one_way_to_say_which_project_is_asked_for_when_the_dag_is_read(
    kind: type[PaperspaceBaseOperator], given: dict[str, Any]
) -> None:
    tags = {} if kind is ListProjectTagsOperator else {"tags": "x"}
    with pytest.raises(ValueError, match="Task 'task': give exactly one of project_id, project_name and project_ids"):
        kind(task_id="task", **given, **tags)
