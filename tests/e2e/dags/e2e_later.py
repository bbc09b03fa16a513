"""Tasks that are told to come back later, of one project and of many. They run when triggered."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator

# [START howto_retry_policy]
from airflow_provider_paperspace.retry_policy import PaperspaceRetryPolicy

with DAG(
    dag_id="e2e_later",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 3, "retry_policy": PaperspaceRetryPolicy()},
):
    # [END howto_retry_policy]
    once = {"tags": "done", "paperspace_conn_id": "one_attempt"}
    AddProjectTagOperator(task_id="one", project_id="one", **once)
    AddProjectTagOperator(task_id="many", project_ids=["busy", "other"], max_concurrency=1, **once)
    AddProjectTagOperator(task_id="soon", project_id="soon", **once)
    AddProjectTagOperator(task_id="failing", project_id="failing", retry_delay=pendulum.duration(hours=5), **once)
