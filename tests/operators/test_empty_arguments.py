"""An empty argument is never "all" and never "left out": every operator, argument, empty form, and way of arriving."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
)
from airflow_provider_paperspace.operators.projects import ListProjectsOperator
from tests.operators.empty_arguments import EMPTY_FORMS, GOOD, arguments_of, cases, good_but, means_no_work
from tests.operators.task import Task, writes
from tests.operators.test_all_operators import ARGUMENTS
from tests.test_example_dags import ON_AIRFLOW_2, load

TAGS = ["gpu", "stage:a", "[]", "None"]


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": "p1", "name": "one", "tags": TAGS}]})
    return server


def field_of(argument: str) -> str:
    return "is_dry_run" if argument == "dry_run" else argument


CASES = list(cases())
TEMPLATED = [case for case in CASES if field_of(case[1]) in case[0].template_fields]


def test_the_table_lists_every_operator() -> None:
    assert set(GOOD) == set(ARGUMENTS)


@pytest.mark.parametrize("kind", GOOD)
def test_the_good_arguments_of_the_table_work(world: LocalPaperspaceServer, kind: type[Any]) -> None:
    Task(kind, **GOOD[kind]).run()
    is_reading = kind in (ListProjectTagsOperator, ListProjectsOperator)
    assert bool(writes(world)) is not is_reading or "Return" in kind.__name__


@pytest.mark.parametrize(("kind", "argument", "form"), CASES)
def test_an_empty_argument_by_hand_is_found_at_parsing(
    world: LocalPaperspaceServer, kind: type[Any], argument: str, form: str
) -> None:
    arguments = {**good_but(kind, argument), argument: EMPTY_FORMS[form]}
    if means_no_work(kind, argument, form):
        Task(kind, **arguments).run()
    else:
        with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{argument}"):
            Task(kind, **arguments)
    assert not writes(world)


@pytest.mark.parametrize(("kind", "argument", "form"), TEMPLATED)
@pytest.mark.parametrize("way", ["text", "native", "xcom"])
def test_an_empty_rendered_argument_fails_the_task(
    world: LocalPaperspaceServer, kind: type[Any], argument: str, form: str, way: str
) -> None:
    with DAG("templated", schedule=None, render_template_as_native_obj=way == "native") as dag:
        task = Task(kind, **good_but(kind, argument), **{argument: "{{ value }}"})
    task.operator.render_template_fields({"value": EMPTY_FORMS[form]}, dag.get_template_env())
    value = getattr(task.operator, field_of(argument))
    if way == "text":
        assert value == str(EMPTY_FORMS[form])
    elif way == "xcom":  # is set as it is
        setattr(task.operator, field_of(argument), EMPTY_FORMS[form])
    if way != "text" and means_no_work(kind, argument, form):
        task.run()
    else:
        with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{argument}"):
            task.run()
    assert not writes(world)


@pytest.mark.parametrize("item", [None, "", " ", "None", {}, []])
@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        *[(kind, "project_ids") for kind in GOOD if "project_ids" in arguments_of(kind)],
        *[(kind, "tags") for kind in GOOD if "tags" in arguments_of(kind)],
        *[(CleanUpProjectTagsOperator, argument) for argument in ("names", "keep")],
        *[(ListProjectsOperator, argument) for argument in ("name", "tagged", "untagged")],
    ],
)
def test_an_empty_item_of_a_list_is_an_error(
    world: LocalPaperspaceServer, kind: type[Any], argument: str, item: Any
) -> None:
    with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{argument}"):
        Task(kind, **good_but(kind, argument), **{argument: ["p1", item]})
    task = Task(kind, **good_but(kind, argument), **{argument: ["{{ value }}"]})
    setattr(task.operator, argument, ["p1", item])
    with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{argument}"):
        task.run()
    assert not writes(world)


@pytest.mark.uncovered
@pytest.mark.timeout(480)
def test_an_empty_argument_of_a_mapped_task_is_an_error(airflow_db: Path, world: LocalPaperspaceServer) -> None:
    """In a real run: by the output of a task, by ``expand`` and by ``expand_kwargs``."""
    module = load("tests/dags/empty_arguments.py")
    logged = NotingErrors()
    logging.getLogger("airflow.task").addHandler(logged)
    try:
        states = {(ti.task_id, ti.map_index): str(ti.state) for ti in module.dag.test().get_task_instances()}
    finally:
        logging.getLogger("airflow.task").removeHandler(logged)
    failures = logged.messages if ON_AIRFLOW_2 else module.FAILURES
    problems = []
    for (task_id, map_index), (kind, argument, form) in module.CASES.items():
        is_fine = means_no_work(kind, argument, form)
        if states[task_id, map_index] != ("success" if is_fine else "failed"):
            problems.append((task_id, map_index, argument, form))
        elif not is_fine:
            named = [text for text in failures if text.startswith(f"Task {task_id!r}: {argument} ")]
            if named:
                failures.remove(named[0])
            else:
                problems.append((task_id, map_index, argument, form))
    assert not problems
    assert not failures
    assert set(module.CASES.values()) == set(CASES)
    assert not writes(world)
    assert world.paperspace.tag_names("p1") == TAGS


class NotingErrors(logging.Handler):
    """Keeps the messages of the exceptions that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self._errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not any(error is other for other in self._errors):
            self._errors.append(error)

    @property
    def messages(self) -> list[str]:
        return [str(error) for error in self._errors]


@pytest.mark.parametrize(
    ("kind", "arguments", "complaint"),
    [
        (CleanUpProjectTagsOperator, {"all_projects": True, "older_than": 30}, "older_than is an int"),
        (
            CleanUpProjectTagsOperator,
            {"all_projects": True, "names": "[stale"},
            r"names contains the pattern '\[stale'",
        ),
        (CleanUpProjectTagsOperator, {"all_projects": True, "keep": ["a", "[k"]}, r"keep contains the pattern '\[k'"),
        (AddProjectTagOperator, {"project_id": "p1", "tags": "x", "expires_in": 7}, "expires_in is an int"),
        (AddProjectTagOperator, {"project_id": "p1", "tags": "x", "expires_on": "soon"}, "expires_on is 'soon'"),
        (
            SetProjectTagsOperator,
            {"project_id": "p1", "tags": "training", "within": "stage:"},
            "'training' does not start with 'stage:'",
        ),
        (SetProjectTagsOperator, {"project_id": "p1", "tags": "{{ x }}", "within": ""}, "within is blank"),
        (ListProjectTagsOperator, {"project_id": "p1", "order": "newest"}, "order is 'newest'"),
        (ListProjectsOperator, {"name": "[v"}, r"name contains the pattern '\[v'"),
        (ListProjectsOperator, {"tagged": "[v"}, r"tagged contains the pattern '\[v'"),
        (RemoveProjectTagOperator, {"project_id": "p1", "tags": "['a']"}, "tags is the string"),
    ],
)
def test_a_bad_constant_fails_the_parsing_of_the_dag(
    kind: type[Any], arguments: Mapping[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=f"^Task 't': {complaint}"):
        kind(task_id="t", **arguments)


@pytest.mark.parametrize(("kind", "argument", "_"), [case for case in TEMPLATED if case[2] == "None"])
@pytest.mark.parametrize("way", ["template", "template in a list", "output of a task"])
def test_what_is_not_constant_passes_the_parsing(kind: type[Any], argument: str, _: str, way: str) -> None:
    with DAG("parsed", schedule=None):
        value: Any = "{{ params.value }}"
        if way == "template in a list":
            value = [value]
        if way == "output of a task":
            value = ListProjectTagsOperator(task_id="upstream", project_id="p1").output
        kind(task_id="t", **good_but(kind, argument), **{argument: value})


def test_a_tag_may_be_constant_where_its_prefix_is_not() -> None:
    SetProjectTagsOperator(task_id="t", project_id="p1", tags="training", within="{{ params.prefix }}")
    SetProjectTagsOperator(task_id="t", project_id="p1", tags="{{ params.tag }}", within="stage:")


def test_the_dag_of_empty_arguments_is_parsed_without_errors() -> None:
    assert len(load("tests/dags/empty_arguments.py").CASES) > len(CASES)
