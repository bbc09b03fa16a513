"""The table of what each operator makes of an empty argument, for the tests and for the DAG that maps over it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

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

EMPTY_FORMS: Final = {"None": None, "[]": [], "''": "", "' '": " ", "'None'": "None", "{}": {}}

GOOD: Final[dict[type[Any], dict[str, Any]]] = {
    ListProjectTagsOperator: {"project_id": "p1"},
    AddProjectTagOperator: {"project_id": "p1", "tags": ["new"]},
    RemoveProjectTagOperator: {"project_id": "p1", "tags": ["gpu"]},
    SetProjectTagsOperator: {"project_id": "p1", "tags": "stage:b", "within": "stage:"},
    UndoProjectTagChangeOperator: {"change": {"project_id": "p1", "added": ["gpu"], "removed": ["old"]}},
    TakeProjectTagLeaseOperator: {"project_id": "p1", "tags": "in-use", "lease_id": "lease"},
    ReturnProjectTagLeaseOperator: {"project_id": "p1", "tags": "in-use", "lease_id": "lease"},
    CleanUpProjectTagsOperator: {"project_ids": ["p1"], "names": "gpu"},
    ListProjectsOperator: {"name": "one"},
}
"""Each operator, with arguments with which most of them would write."""

_INSTEAD_OF: Final = {
    "project_name": ["project_id"],
    "project_ids": ["project_id"],
    "all_projects": ["project_ids"],
    "plan": ["project_ids", "names"],
    "replace_all": ["within"],
}

_NO_WORK: Final = {
    "project_ids": ["[]", "{}"],
    # What a task without projects pushed.
    "change": ["{}"],
}


def arguments_of(kind: type[Any]) -> list[str]:
    signature = inspect.signature(inspect.unwrap(vars(kind)["__init__"]))
    return [name for name in signature.parameters if name not in ("self", "kwargs")]


def good_but(kind: type[Any], argument: str) -> dict[str, Any]:
    """Return good arguments, without this one and those that it excludes."""
    without = {argument, *_INSTEAD_OF.get(argument, ())}
    return {name: value for name, value in GOOD[kind].items() if name not in without}


def means_no_work(kind: type[Any], argument: str, form: str) -> bool:
    """Return whether an empty form is fine, and there is nothing to do."""
    if argument == "tags" and form == "[]":
        return kind in (AddProjectTagOperator, RemoveProjectTagOperator)
    return form in _NO_WORK.get(argument, ())


def cases() -> Iterator[tuple[type[Any], str, str]]:
    """Return each operator with each argument in each empty form."""
    for kind in GOOD:
        for argument in arguments_of(kind):
            for form in EMPTY_FORMS:
                yield kind, argument, form
