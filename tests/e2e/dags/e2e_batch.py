"""One task for many projects, whose workers a test kills. It runs when it is triggered."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator

with DAG(
    dag_id="e2e_batch",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"project_ids": [], "tags": ["batch"]},
    render_template_as_native_obj=True,
):
    AddProjectTagOperator(
        task_id="add",
        project_ids="{{ params.project_ids }}",
        tags="{{ params.tags }}",
        max_concurrency=4,
        retries=3,
        retry_delay=timedelta(seconds=1),
    )
