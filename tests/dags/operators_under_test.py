"""Every way to pass arguments: templates, XCom, and mapping over projects, tags and both."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
)

with DAG(
    dag_id="operators_under_test",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"project": "p1", "tag": "templated", "conn": "paperspace_default"},
) as dag:

    @task
    def projects() -> list[str]:
        return ["p1", "p2"]

    templated = AddProjectTagOperator(
        task_id="templated",
        project_id="{{ params.project }}",
        tags=["{{ params.tag }}", "day:{{ dag_run.run_after | default(dag_run.logical_date, true) | ds }}"],
        paperspace_conn_id="{{ params.conn }}",
    )
    over_projects = AddProjectTagOperator.partial(task_id="over_projects", tags="everywhere").expand(
        project_id=projects()
    )
    over_tags = AddProjectTagOperator.partial(task_id="over_tags", project_id="p2").expand(
        tags=["one", ["two", "three"], [{"id": 4, "name": "four", "dtCreated": "2026-03-02T09:15:00.000Z"}]]
    )
    listed = ListProjectTagsOperator(task_id="listed", project_id="p1", order="asc")
    copied = AddProjectTagOperator(task_id="copied", project_id="p2", tags=listed.output)
    list_both = ListProjectTagsOperator.partial(task_id="list_both").expand(project_id=["p1", "p2"])

    @task
    def pair(lists: Any) -> list[dict[str, Any]]:
        return [{"project_id": f"p{i}", "tags": tags} for i, tags in enumerate(lists, 1)]

    emptied = RemoveProjectTagOperator.partial(task_id="emptied").expand_kwargs(pair(list_both.output))

    templated >> over_projects >> over_tags >> listed >> copied >> list_both
