"""A lease whose workers a test kills. It runs when it is triggered."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.operators.lease import ProjectTagLease
from airflow_provider_paperspace.operators.project_tags import ListProjectTagsOperator

with (
    DAG(dag_id="leased", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False),
    ProjectTagLease(
        task_id="lease",
        tags="in-use",
        project_id="leased",
        exclusive=True,
        retries=60,
        retry_delay=timedelta(seconds=1),
    ),
):
    ListProjectTagsOperator(task_id="work", project_id="leased")
