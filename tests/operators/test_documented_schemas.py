"""What the reference says of the change record and of the clean-up report, key by key, is what the tasks push."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators._records import ChangeRecord, parse_records
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator, Exemption, Removal, Report
from airflow_provider_paperspace.operators.project_tags import SetProjectTagsOperator
from airflow_provider_paperspace.rules.clean_up import RulesJson
from airflow_provider_paperspace.rules.patterns import NameJson
from tests.operators.task import Task
from tests.test_docs import table, text_of

RECORD, REPORT = "docs/reference/change-record.md", "docs/reference/clean-up-report.md"
PROJECT = {"id": "prmximcci", "name": "vision-training"}
TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float | None: "number or null",
    list[str]: "list of strings",
    list[str | NameJson]: "list",
    dict[str, str]: "object",
    list[Removal]: "list of [removals](#removals)",
    list[Exemption]: "list of [exemptions](#exemptions)",
    RulesJson: "object",
}


def example_on(page: str) -> dict[str, Any]:
    example: dict[str, Any] = json.loads(text_of(page).partition("```json\n")[2].partition("```")[0])
    return example


@pytest.mark.parametrize(
    ("page", "first_column", "schema"),
    [
        (RECORD, "key", ChangeRecord),
        (REPORT, "key", Report),
        (REPORT, "rule", RulesJson),
        (REPORT, "key of a removal", Removal),
        (REPORT, "key of an exemption", Exemption),
    ],
)
def test_the_page_lists_each_key_and_its_type(page: str, first_column: str, schema: type) -> None:
    rows = {key.strip("`"): type_ for key, type_, _ in table(page, f"{first_column} | type")}
    assert list(rows.items()) == [(key, TYPES[type_]) for key, type_ in get_type_hints(schema).items()]


def test_the_example_of_a_record_is_what_a_task_pushes(connection: str, server: LocalPaperspaceServer) -> None:
    example = example_on(RECORD)
    server.reset(seed={"projects": [{**PROJECT, "tags": ["gpu", "stage:training"]}]})
    task = Task(SetProjectTagsOperator, project_id=PROJECT["id"], tags="stage:evaluated", within="stage:")
    pushed = task.run()
    of_the_run = ("dag_id", "run_id", "task_id")
    assert {**pushed, **{key: example[key] for key in of_the_run}} == example
    assert task.pushed["change"] == pushed
    assert parse_records(example) == [example]


def test_the_example_of_a_report_is_what_a_task_returns(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json(protected_tags="gpu-demo*"))
    tags = ["gpu", "stale:a", "prod", "gpu-demo@2026-11-20", "gpu@2026-13-01"]
    server.reset(seed={"projects": [{**PROJECT, "tags": tags}]})
    task = Task(CleanUpProjectTagsOperator, all_projects=True, names="stale:*", keep="prod*")
    report, example = task.run(), example_on(REPORT)
    assert report.pop("markdown").startswith(example.pop("markdown").removesuffix("…"))
    assert report == example
