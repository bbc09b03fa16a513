from __future__ import annotations

import ast
import inspect
import logging
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_paperspace.api.errors import ConflictError, RateLimitError, ServerError, TransportError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators import base, project_tags
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
        ({"project_id": None}, "not None"),
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


@pytest.mark.parametrize("kind", OPERATORS)
def test_each_template_field_is_an_attribute_and_has_its_argument(kind: type[PaperspaceBaseOperator]) -> None:
    tags = {} if kind is ListProjectTagsOperator else {"tags": "{{ t }}"}
    operator = kind(task_id="t", project_id="{{ p }}", paperspace_conn_id="{{ c }}", **tags)
    assert isinstance(operator.template_fields, tuple)
    rendered = {"p": "p1", "t": "x", "c": "conn"}
    operator.render_template_fields(rendered)
    values = {field: getattr(operator, field) for field in operator.template_fields}
    assert values == {"project_id": "p1", "paperspace_conn_id": "conn", **({"tags": "x"} if tags else {})}


def test_this_file_knows_every_operator() -> None:
    def operators(module: Any) -> set[type]:
        kinds = {kind for kind in vars(module).values() if inspect.isclass(kind)}
        return {
            kind for kind in kinds if issubclass(kind, PaperspaceBaseOperator) and kind.__module__ == module.__name__
        }

    assert operators(project_tags) == set(OPERATORS)


@pytest.mark.parametrize("kind", [*OPERATORS, PaperspaceBaseOperator])
def test_a_constructor_stores_its_template_fields_and_does_not_look_at_them(kind: type[Any]) -> None:
    assert reads_of_template_fields(inspect.getsource(kind), set(kind.template_fields) | {"paperspace_conn_id"}) == []


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        ("self.tags = tags", []),
        ("self.tags = list(tags)", ["tags"]),
        ("self.tags = tags or []", ["tags"]),
        ("if tags: pass", ["tags"]),
        ("self.tags = tags; print(self.tags)", ["tags"]),
        ("self.tags: object = tags", []),
    ],
)
def test_the_search_for_such_reads_finds_them(body: str, reads: list[str]) -> None:
    source = f"class A:\n  def __init__(self, tags):\n    super().__init__()\n    {body}\n"
    assert reads_of_template_fields(source, {"tags"}) == reads


def reads_of_template_fields(source: str, fields: set[str]) -> list[str]:
    """Name the template fields that an ``__init__`` reads other than by ``self.field = field``."""
    constructors = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    found = []
    for constructor in constructors:
        stored = {
            id(node.value)
            for node in ast.walk(constructor)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Name)
        }
        for node in ast.walk(constructor):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in stored:
                found += [node.id] if node.id in fields else []
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in fields:
                found.append(node.attr)
    return found


def test_the_statuses_beyond_retry_are_those_that_the_policy_never_retries() -> None:
    from airflow_provider_paperspace.api import retries

    assert not {status for status in base.BEYOND_RETRY if retries.may_repeat(status)}
    assert {400, 401, 403, 404} <= base.BEYOND_RETRY
