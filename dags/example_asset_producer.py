"""Set the stage of a project, and announce the change: DAGs that are scheduled on the project's asset start.

Nothing is announced if the project already has this stage. ``example_asset_consumer`` is scheduled on the asset.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, AssetAlias  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.operators.project_tags import SetProjectTagsOperator

with DAG(
    dag_id="example_asset_producer",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={"project_id": "prmximcci", "stage": "evaluated"},
    tags=["paperspace", "example"],
    doc_md=__doc__,
) as dag:
    # [START howto_project_asset_outlet]
    set_stage = SetProjectTagsOperator(
        task_id="set_stage",
        project_id="{{ params.project_id }}",
        tags="stage:{{ params.stage }}",
        within="stage:",
        outlets=[AssetAlias("paperspace-project-tags")],
    )
    # [END howto_project_asset_outlet]
