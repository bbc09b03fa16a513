"""A task that fails once midway, is retried, and is undone."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator, UndoProjectTagChangeOperator

with DAG(dag_id="tried_again", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False) as dag:
    added = AddProjectTagOperator(
        task_id="added", project_id="p1", tags=["x", "y", "gpu"], retries=1, retry_delay=timedelta(0)
    )
    UndoProjectTagChangeOperator(task_id="undone", change=added.output["change"])
