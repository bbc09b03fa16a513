"""Tasks that share the rate limit of a connection by a pool."""

from __future__ import annotations

# [START howto_pool]
from airflow.providers.common.compat.sdk import DAG  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator, ListProjectTagsOperator

with DAG("shared_rate_limit", schedule=None, default_args={"pool": "paperspace", "retries": 3}) as dag:
    tag_all = AddProjectTagOperator(
        task_id="tag_all", project_ids=["p1", "p2", "p3"], tags="reviewed", max_concurrency=4, pool_slots=2
    )
    list_one = ListProjectTagsOperator(task_id="list_one", project_id="p1")
    # [END howto_pool]
