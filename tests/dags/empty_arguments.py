"""Every operator with every argument, empty, by XCom, by ``expand`` and by ``expand_kwargs``: one run for all."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from tests.operators.empty_arguments import EMPTY_FORMS, GOOD, arguments_of, good_but

EXPANDED = ["None", "[]", "''"]
EXPANDED_AS_KWARGS = ["' '", "'None'", "{}"]

CASES: dict[tuple[str, int], tuple[type[Any], str, str]] = {}
"""Operator, argument and form, by task id and map index."""

FAILURES: list[str] = []
"""Why tasks failed. Airflow 2 calls no callback if a mapped task cannot be made."""


def note_failure(context: Any) -> None:
    FAILURES.append(str(context["exception"]))


with DAG(
    dag_id="empty_arguments",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"on_failure_callback": note_failure, "retries": 2},
) as dag:

    @task
    def nothing() -> None:
        """Return what a task returns that found nothing."""

    @task
    def values() -> list[Any]:
        return [EMPTY_FORMS[form] for form in EXPANDED]

    @task
    def kwargs(cases: list[Any]) -> list[dict[str, Any]]:
        return cases

    none, expanded = nothing(), values()

    for kind in GOOD:
        all_kwargs = []
        kwargs_id = f"kwargs.{kind.__name__}"
        for argument in arguments_of(kind):
            name = f"{kind.__name__}.{argument}"
            good = good_but(kind, argument)
            kind.partial(task_id=f"expand.{name}", **good).expand(**{argument: expanded})
            CASES |= {(f"expand.{name}", index): (kind, argument, form) for index, form in enumerate(EXPANDED)}
            for form in EXPANDED_AS_KWARGS:
                CASES[kwargs_id, len(all_kwargs)] = kind, argument, form
                all_kwargs.append({**good, argument: EMPTY_FORMS[form]})
            if argument.replace("dry_run", "is_dry_run") in kind.template_fields:
                kind(task_id=f"xcom.{name}", **good, **{argument: none})
                CASES[f"xcom.{name}", -1] = kind, argument, "None"
        cases = kwargs.override(task_id=f"cases.{kind.__name__}")(all_kwargs)
        kind.partial(task_id=kwargs_id).expand_kwargs(cases)
