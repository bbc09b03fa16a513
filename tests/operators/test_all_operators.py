"""What holds for every operator: its constructor, its template fields, what it is listed under."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from typing import Any

import pytest

from airflow_provider_paperspace import operators
from airflow_provider_paperspace.operators.base import PaperspaceBaseOperator
from airflow_provider_paperspace.operators.for_projects import ManyProjectsOperator, ProjectOperator
from airflow_provider_paperspace.operators.project_tag_change import ProjectTagsChangeOperator
from airflow_provider_paperspace.operators.project_tag_lease import ReturnProjectTagOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    CleanUpProjectTagsOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from airflow_provider_paperspace.operators.projects import ListProjectsOperator

BASES = [PaperspaceBaseOperator, ManyProjectsOperator, ProjectOperator, ProjectTagsChangeOperator]

ARGUMENTS: dict[type[Any], dict[str, Any]] = {
    AddProjectTagOperator: {"project_id": "p", "tags": "t"},
    RemoveProjectTagOperator: {"project_id": "p", "tags": "t"},
    SetProjectTagsOperator: {"project_id": "p", "tags": "t", "within": "t"},
    ListProjectTagsOperator: {"project_id": "p"},
    UndoProjectTagChangeOperator: {"change": {}},
    ReturnProjectTagOperator: {"project_id": "p", "tags": "t", "before": []},
    CleanUpProjectTagsOperator: {},
    ListProjectsOperator: {"name": "a*", "tagged": "b", "untagged": "c"},
}
"""Each operator, with arguments that make one."""

STORED_AS = {"dry_run": "is_dry_run"}


def test_this_file_knows_every_operator() -> None:
    found = set()
    for module in pkgutil.iter_modules(operators.__path__, operators.__name__ + "."):
        kinds = [kind for kind in vars(importlib.import_module(module.name)).values() if inspect.isclass(kind)]
        found |= {kind for kind in kinds if issubclass(kind, PaperspaceBaseOperator)}
    assert found - set(BASES) == set(ARGUMENTS)


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_each_template_field_is_an_attribute_and_is_rendered(kind: type[Any]) -> None:
    parameters = {STORED_AS.get(name, name): name for name in _parameters(kind)}
    assert isinstance(kind.template_fields, tuple)
    assert set(kind.template_fields) <= set(parameters)
    for field in kind.template_fields:
        arguments = {**ARGUMENTS[kind], parameters[field]: "{{ value }}"}
        if parameters[field] in ("project_name", "project_ids"):
            arguments.pop("project_id", None)
        operator = kind(task_id="t", **arguments)
        operator.render_template_fields({"value": "rendered"})
        assert getattr(operator, field) == "rendered"


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_each_operator_takes_its_arguments_by_name_alone_and_documents_them(kind: type[Any]) -> None:
    ours = [base for base in kind.__mro__ if base.__module__.startswith("airflow_provider_paperspace")]
    documented = "".join(inspect.getdoc(base) or "" for base in ours)
    for name, parameter in _parameters(kind).items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert f":param {name}:" in documented, name


@pytest.mark.parametrize("kind", [*ARGUMENTS, *BASES])
def test_a_constructor_stores_its_template_fields_and_does_not_look_at_them(kind: type[Any]) -> None:
    fields = set(kind.template_fields) | {"paperspace_conn_id"} | set(STORED_AS)
    assert reads_of_template_fields(inspect.getsource(kind), fields) == []


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        ("self.tags = tags", []),
        ("self.tags = list(tags)", ["tags"]),
        ("self.tags = tags or []", ["tags"]),
        ("if tags: pass", ["tags"]),
        ("if tags is None: raise ValueError", []),
        ("if tags == 1: raise ValueError", ["tags"]),
        ("self.tags = tags; print(self.tags)", ["tags"]),
        ("self.tags: object = tags", []),
    ],
)
def test_the_search_for_such_reads_finds_them(body: str, reads: list[str]) -> None:
    source = f"class A:\n  def __init__(self, tags):\n    super().__init__()\n    {body}\n"
    assert reads_of_template_fields(source, {"tags"}) == reads


def _parameters(kind: type[Any]) -> dict[str, inspect.Parameter]:
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if base.__module__.startswith("airflow_provider_paperspace"):
            signature = inspect.signature(inspect.unwrap(base.__init__))
            found |= {n: p for n, p in signature.parameters.items() if n not in ("self", "kwargs")}
    return found


def reads_of_template_fields(source: str, fields: set[str]) -> list[str]:
    """Name the template fields that an ``__init__`` reads, but for ``self.field = field`` and ``field is None``."""
    constructors = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    found = []
    for constructor in constructors:
        allowed = {
            id(node.value)
            for node in ast.walk(constructor)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Name)
        } | {
            id(node.left)
            for node in ast.walk(constructor)
            if isinstance(node, ast.Compare) and all(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops)
        }
        for node in ast.walk(constructor):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in allowed:
                found += [node.id] if node.id in fields else []
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in fields:
                found.append(node.attr)
    return found
