"""Adding, removing and listing tags: what a task returns and logs, and which errors fail it at once."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_paperspace.api import _retries
from airflow_provider_paperspace.api.errors import ApiError, ConflictError, RateLimitError, ServerError, TransportError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators._base import PaperspaceOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
)
from tests.operators.task import Task, names

OURS = "airflow_provider_paperspace"
OPERATORS = [AddProjectTagOperator, RemoveProjectTagOperator, ListProjectTagsOperator]


def execute(kind: type[PaperspaceOperator], **arguments: Any) -> Any:
    where = {} if {"project_id", "project_name", "project_ids"} & set(arguments) else {"project_id": "p1"}
    return kind(task_id="task", **where, **arguments).execute({})


@pytest.fixture(autouse=True)
def _connected(connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)


def test_an_add_returns_the_present_tags_in_the_given_order(server: LocalPaperspaceServer) -> None:
    tags = execute(AddProjectTagOperator, tags=["nightly", "gpu"])
    assert names(tags) == ["nightly", "gpu"]
    assert set(tags[0]) == {"id", "name", "dtCreated"}
    assert server.paperspace.tag_names("p1") == ["gpu", "nightly"]


def test_a_remove_returns_the_removed_tags(server: LocalPaperspaceServer) -> None:
    assert names(execute(RemoveProjectTagOperator, tags=["gpu", "absent"])) == ["gpu"]
    assert execute(RemoveProjectTagOperator, tags="gpu") == []
    assert server.paperspace.tag_names("p1") == []


def test_a_list_returns_all_tags_in_the_given_order(server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("many", tags=[f"tag-{i:03}" for i in range(300)])
    assert names(execute(ListProjectTagsOperator, project_id="many", order="asc")) == [
        f"tag-{i:03}" for i in range(300)
    ]
    assert execute(ListProjectTagsOperator, project_id="many")[0]["name"] == "tag-299"


def test_the_log_tells_changed_and_unchanged_tags(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        execute(AddProjectTagOperator, tags=["nightly", "gpu"])
        execute(ListProjectTagsOperator)
        execute(RemoveProjectTagOperator, tags=["nightly", "x"])
    assert "Project 'p1': added 'nightly'; 'gpu' was already there" in caplog.text
    assert "Project 'p1': 2 tags: 'nightly', 'gpu'" in caplog.text
    assert "Project 'p1': removed 'nightly'; 'x' was not there" in caplog.text


def test_the_log_of_a_long_list_stays_short(server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture) -> None:
    server.paperspace.add_project("many", tags=[f"tag-{i:03}" for i in range(30)])
    with caplog.at_level(logging.INFO):
        execute(ListProjectTagsOperator, project_id="many")
    assert "30 tags" in caplog.text
    assert "and 10 more" in caplog.text


@pytest.mark.parametrize("kind", OPERATORS)
def test_an_unknown_project_fails_the_task_at_once(kind: type[PaperspaceOperator]) -> None:
    tags = {} if kind is ListProjectTagsOperator else {"tags": []}
    with pytest.raises(AirflowFailException, match=r"Project 'nope'.*404.*connection 'paperspace_default'.*project id"):
        execute(kind, project_id="nope", **tags)


@pytest.mark.parametrize("kind", OPERATORS)
def test_an_unknown_connection_fails_the_task_at_once(kind: type[PaperspaceOperator]) -> None:
    tags = {} if kind is ListProjectTagsOperator else {"tags": "x"}
    with pytest.raises(AirflowFailException, match="Task 'task': .*not_there"):
        execute(kind, paperspace_conn_id="not_there", **tags)


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
def test_only_a_permanent_error_fails_the_task_at_once(
    server: LocalPaperspaceServer, fault: str, error: type[Exception]
) -> None:
    server.fault(fault, method="POST", times=0)
    with pytest.raises(error, match=r"Project 'p1': could not add tag 'x'"):
        execute(AddProjectTagOperator, tags="x")


def test_a_permanent_status_is_never_sent_again() -> None:
    permanent = {status for status in range(400, 600) if ApiError.of(status, b"").is_permanent}
    assert permanent == {400, 401, 403, 404, 405, 412, 413, 422}
    assert not {status for status in permanent if _retries.may_resend(status)}


@pytest.mark.parametrize("error", [TypeError, ValueError, ZeroDivisionError])
@pytest.mark.parametrize("projects", [{"project_id": "p1"}, {"project_ids": ["p1"]}])
@pytest.mark.parametrize("broken", ["tags_as_json", "converge_project_tags", "parse_tag_names"])
def test_a_bug_of_ours_is_raised_as_it_is(
    monkeypatch: pytest.MonkeyPatch, broken: str, projects: dict[str, Any], error: type[Exception]
) -> None:
    def fail(*_: Any) -> Any:
        raise error("a bug")

    task = Task(AddProjectTagOperator, tags="x", **projects)
    monkeypatch.setattr(f"airflow_provider_paperspace.operators.project_tags.{broken}", fail)
    with pytest.raises(error, match="^a bug$") as caught:
        task.run()
    assert type(caught.value) is error
    assert ("change" in task.pushed) is (broken == "tags_as_json"), "it was written before the bug"


def test_missing_tags_fail_the_task_unless_allowed(server: LocalPaperspaceServer) -> None:
    with pytest.raises(AirflowFailException, match="not on the project: 'x'"):
        execute(RemoveProjectTagOperator, tags=["gpu", "x"], missing_ok=False)
    assert server.paperspace.tag_names("p1") == ["gpu"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"project_id": ""}, "project_id is blank"),
        ({"project_id": 7}, "not an int"),
        ({"tags": ""}, "blank"),
        ({"tags": [" "]}, "blank"),
        ({"tags": None}, "Did the upstream task return nothing"),
        ({"tags": 7}, "tags is an int"),
        ({"tags": b"x"}, "tags is a bytes"),
        ({"tags": [["a"], ["b"]]}, "Map this task too"),
        ({"tags": [7]}, "tags contains an int"),
        ({"tags": [{"id": 7}]}, "tags contains a dict"),
        ({"tags": "['a', 'b']"}, "render_template_as_native_obj"),
        ({"tags": '["a"]'}, "render_template_as_native_obj"),
        ({"paperspace_conn_id": "bad_conn"}, "Connection 'bad_conn' has no API key"),
    ],
)
def test_a_bad_argument_fails_the_task_and_changes_nothing(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], complaint: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD_CONN", "paperspace://")
    with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{complaint}"):
        execute(AddProjectTagOperator, **{"tags": "x", **arguments})
    operator = AddProjectTagOperator(task_id="task", project_id="p1", tags="x")
    vars(operator).update(arguments)
    with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{complaint}"):
        operator.execute({})
    assert not server.requests
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
def test_tags_are_a_name_a_list_of_names_or_of_tags(tags: Any, meant: list[str]) -> None:
    assert names(execute(AddProjectTagOperator, tags=tags)) == meant


def test_an_id_that_rendered_to_none_fails_with_a_hint() -> None:
    operator = ListProjectTagsOperator(task_id="task", project_id="{{ x }}")
    operator.project_id = None
    with pytest.raises(AirflowFailException, match="Did the upstream task return nothing"):
        operator.execute({})


def test_a_project_is_found_by_its_exact_name(server: LocalPaperspaceServer) -> None:
    assert names(execute(AddProjectTagOperator, project_name="one", tags="x")) == ["x"]
    with pytest.raises(AirflowFailException, match="no project has this name; similar: 'one'"):
        execute(AddProjectTagOperator, project_name="One", tags="y")
    server.paperspace.add_project("p2", "one")
    with pytest.raises(AirflowFailException, match="2 projects have this name: 'p[12]', 'p[12]'.*project_id"):
        execute(AddProjectTagOperator, project_name="one", tags="y")
    assert server.paperspace.tag_names("p1") == ["gpu", "x"]


def test_a_project_from_another_task_is_accepted() -> None:
    assert names(execute(ListProjectTagsOperator, project_id={"id": "p1", "name": "one"})) == ["gpu"]


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize(
    "given", [{}, {"project_id": "p", "project_name": "one"}, {"project_id": "p", "project_ids": []}]
)
def test_a_dag_file_must_set_exactly_one_project_argument(
    kind: type[PaperspaceOperator], given: dict[str, Any]
) -> None:
    tags = {} if kind is ListProjectTagsOperator else {"tags": "x"}
    with pytest.raises(ValueError, match="Task 'task': set exactly one of project_id, project_name and project_ids"):
        kind(task_id="task", **given, **tags)


@pytest.mark.parametrize("where", [{"project_id": "p1"}, {"project_ids": ["p1"]}])
def test_a_missing_name_that_looks_like_a_pattern_is_warned_of(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, where: dict[str, Any]
) -> None:
    server.paperspace.add_tag("p1", {"name": "exp[1]"})
    assert names_by(execute(RemoveProjectTagOperator, tags=["stale:*", "absent", "exp[1]"], **where)) == ["exp[1]"]
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and r.name.startswith(OURS)]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "Project 'p1': no tag is named 'stale:*'. RemoveProjectTagOperator takes literal names"
    )


def names_by(returned: Any) -> list[str]:
    """Return the names of one project's tags, whether it was one project or one of many."""
    return names(returned["p1"] if isinstance(returned, dict) else returned)


@pytest.mark.parametrize(("number", "text"), [(1, "1 tag: 'gpu'"), (0, "0 tags"), (2, "2 tags: 'x', 'gpu'")])
def test_the_log_counts_tags_in_plain_english(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, number: int, text: str
) -> None:
    server.reset(seed={"projects": [{"id": "p1", "tags": ["gpu", "x"][:number]}]})
    with caplog.at_level(logging.INFO):
        execute(ListProjectTagsOperator)
    assert f"Project 'p1': {text}" in caplog.messages
