"""A task that adds many tags to one project, for a test that stops it midway. It runs when it is triggered."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator

with DAG(dag_id="stopped", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False):
    AddProjectTagOperator(task_id="add", project_id="stopped", tags=[f"t{number}" for number in range(200)])
