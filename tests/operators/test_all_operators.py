"""What holds for every operator, and for the sensor and the notifier: constructor, docstring, template fields."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pkgutil
import re
from typing import Any

import pytest

from airflow_provider_paperspace import operators
from airflow_provider_paperspace._arguments import NOT_SET
from airflow_provider_paperspace.notifications.project_tags import ProjectTagNotifier
from airflow_provider_paperspace.operators._base import PaperspaceOperator, ProjectTagsOperator
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.lease import (
    ReturnProjectTagLeaseOperator,
    TakeProjectTagLeaseOperator,
)
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from airflow_provider_paperspace.operators.projects import ListProjectsOperator
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor

BASES = [PaperspaceOperator, ProjectTagsOperator]

ARGUMENTS: dict[type[Any], dict[str, Any]] = {
    AddProjectTagOperator: {"project_id": "p", "tags": "t"},
    RemoveProjectTagOperator: {"project_id": "p", "tags": "t"},
    SetProjectTagsOperator: {"project_id": "p", "tags": "t", "within": "t"},
    ListProjectTagsOperator: {"project_id": "p"},
    UndoProjectTagChangeOperator: {"change": {}},
    TakeProjectTagLeaseOperator: {"project_id": "p", "tags": "t", "lease_id": "l"},
    ReturnProjectTagLeaseOperator: {"project_id": "p", "tags": "t", "lease_id": "l"},
    CleanUpProjectTagsOperator: {"all_projects": True},
    ListProjectsOperator: {"name": "a*", "tagged": "b", "untagged": "c"},
}
"""Each operator, with arguments that make one."""

PUBLIC = [*ARGUMENTS, ProjectTagSensor, ProjectTagNotifier]

STORED_AS = {"dry_run": "is_dry_run"}

EXCLUDED_BY = {
    "project_name": ["project_id"],
    "project_ids": ["project_id", "all_projects"],
    "plan": ["all_projects"],
}


def test_the_table_lists_every_operator() -> None:
    found = set()
    for module in pkgutil.iter_modules(operators.__path__, operators.__name__ + "."):
        kinds = [kind for kind in vars(importlib.import_module(module.name)).values() if inspect.isclass(kind)]
        found |= {kind for kind in kinds if issubclass(kind, PaperspaceOperator)}
    assert found - set(BASES) == set(ARGUMENTS)


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_template_fields_are_stored_and_rendered(kind: type[Any]) -> None:
    arguments_by_field = {STORED_AS.get(name, name): name for name in (*_own_parameters(kind), *_inherited(kind))}
    assert isinstance(kind.template_fields, tuple)
    assert set(kind.template_fields) <= set(arguments_by_field)
    for field in kind.template_fields:
        argument = arguments_by_field[field]
        if argument not in _own_parameters(kind):
            assert getattr(kind(task_id="t", **ARGUMENTS[kind]), field) is NOT_SET
            continue
        arguments = {**ARGUMENTS[kind], argument: "{{ value }}"}
        for excluded in EXCLUDED_BY.get(argument, ()):
            arguments.pop(excluded, None)
        operator = kind(task_id="t", **arguments)
        operator.render_template_fields({"value": "rendered"})
        assert getattr(operator, field) == "rendered"


@pytest.mark.parametrize("kind", PUBLIC)
def test_a_class_spells_out_its_own_arguments(kind: type[Any]) -> None:
    parameters, documented = _own_parameters(kind), _documented(kind)
    for name, parameter in parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
    assert set(parameters) == documented - {"kwargs"}
    assert len(_our_bases(kind)) <= 2


@pytest.mark.parametrize("kind", PUBLIC)
def test_a_class_names_the_arguments_that_it_shares(kind: type[Any]) -> None:
    own = set(_own_parameters(kind))
    assert "paperspace_conn_id" in own
    assert own.isdisjoint({"project_id", "project_name"}) or {"project_id", "project_name"} <= own
    if issubclass(kind, ProjectTagsOperator):
        assert {"project_id", "project_name"} <= own
    for hidden in set(_inherited(kind)) - own:
        with pytest.raises(TypeError, match=hidden):
            kind(task_id="t", **ARGUMENTS[kind], **{hidden: ["p"]})


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_an_operator_over_many_projects_takes_a_concurrency(kind: type[Any]) -> None:
    own = set(_own_parameters(kind))
    assert "max_concurrency" in own
    assert "project_ids" in own or not issubclass(kind, ProjectTagsOperator)


@pytest.mark.parametrize("kind", [*PUBLIC, *BASES])
def test_a_constructor_only_stores_template_fields(kind: type[Any]) -> None:
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
        ("super().__init__(tags=tags)", []),
        ("super().__init__(tags=list(tags))", ["tags"]),
        ("super().__init__(names=tags)", ["tags"]),
        ("super().prepare(tags=tags)", ["tags"]),
        ("parse(tags=tags)", ["tags"]),
        ("check_one_of(self.task_id, tags=tags)", []),
        ("check_one_of(self.task_id, tags=list(tags))", ["tags"]),
    ],
)
def test_the_search_finds_a_read_template_field(body: str, reads: list[str]) -> None:
    source = f"class A:\n  def __init__(self, tags):\n    super().__init__()\n    {body}\n"
    assert reads_of_template_fields(source, {"tags"}) == reads


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_an_operator_can_be_deep_copied(kind: type[Any]) -> None:
    operator = kind(task_id="t", **ARGUMENTS[kind])
    operator.on_kill()
    copied = copy.deepcopy(operator)
    assert (copied.task_id, copied.paperspace_conn_id) == ("t", "paperspace_default")
    assert copied._stop is not operator._stop
    assert copied._stop.is_set


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_a_stop_ends_one_execution_and_no_later_one(kind: type[Any]) -> None:
    operator = kind(task_id="t", **ARGUMENTS[kind])
    first, second = operator.prepare_for_execution(), operator.prepare_for_execution()
    first.on_kill()
    assert [one._stop.is_set for one in (operator, first, second)] == [False, True, False]
    assert not operator.prepare_for_execution()._stop.is_set


@pytest.mark.parametrize("kind", ARGUMENTS)
@pytest.mark.parametrize("max_concurrency", [0, -1, 1.5, True, "many", None])
def test_a_bad_concurrency_is_found_when_the_dag_is_parsed(kind: type[Any], max_concurrency: Any) -> None:
    with pytest.raises(ValueError, match="^Task 't': max_concurrency is "):
        kind(task_id="t", **ARGUMENTS[kind], max_concurrency=max_concurrency)


def _own_parameters(kind: type[Any]) -> dict[str, inspect.Parameter]:
    signature = inspect.signature(inspect.unwrap(vars(kind)["__init__"]))
    return {name: parameter for name, parameter in signature.parameters.items() if name not in ("self", "kwargs")}


def _inherited(kind: type[Any]) -> dict[str, inspect.Parameter]:
    return {name: parameter for base in _our_bases(kind) for name, parameter in _own_parameters(base).items()}


def _our_bases(kind: type[Any]) -> list[type[Any]]:
    return [base for base in kind.__mro__[1:] if base.__module__.startswith("airflow_provider_paperspace")]


def _documented(kind: type[Any]) -> set[str]:
    return set(re.findall(r":param (\w+):", vars(kind)["__doc__"]))


def reads_of_template_fields(source: str, fields: set[str]) -> list[str]:
    """Return the template fields that an ``__init__`` reads.

    ``self.field = field``, ``field is None``, ``super().__init__(field=field)`` and ``check_one_of(field=field)`` are
    no reads.
    """
    constructors = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    found = []
    for constructor in constructors:
        allowed = (
            {
                id(node.value)
                for node in ast.walk(constructor)
                if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Name)
            }
            | {
                id(node.left)
                for node in ast.walk(constructor)
                if isinstance(node, ast.Compare) and all(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops)
            }
            | {
                id(keyword.value)
                for node in ast.walk(constructor)
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("super().__init__", "check_one_of")
                for keyword in node.keywords
                if isinstance(keyword.value, ast.Name) and keyword.value.id == keyword.arg
            }
        )
        for node in ast.walk(constructor):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in allowed:
                found += [node.id] if node.id in fields else []
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in fields:
                found.append(node.attr)
    return found
