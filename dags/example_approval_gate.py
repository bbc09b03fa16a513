"""Wait for an approval of the project without holding a worker, then set its stage to production.

The wait ends when the project has a tag such as ``approved:ada``, and fails after a day. Add the tag in the console, or
with any other client of the API. The approval is removed once it is used, so that it does not open the gate for the
next run as well.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, task  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.operators.project_tags import RemoveProjectTagOperator, SetProjectTagsOperator
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor

PROJECT_ID = "{{ params.project_id }}"

with DAG(
    dag_id="example_approval_gate",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"project_id": "prmximcci"},
    tags=["paperspace", "example"],
    doc_md=__doc__,
) as dag:
    # [START howto_sensor_project_tag]
    wait = ProjectTagSensor(
        task_id="wait_for_approval",
        project_id=PROJECT_ID,
        tags="approved:*",
        deferrable=True,
        poke_interval=timedelta(seconds=30),
        timeout=timedelta(days=1),
    )
    # [END howto_sensor_project_tag]

    @task
    def publish(approvals: list[dict[str, str]]) -> str:
        return " and ".join(tag["name"].removeprefix("approved:") for tag in approvals)

    release = SetProjectTagsOperator(task_id="release", project_id=PROJECT_ID, tags="stage:production", within="stage:")
    use_up = RemoveProjectTagOperator(task_id="use_up_approval", project_id=PROJECT_ID, tags=wait.output)
    publish(wait.output) >> release >> use_up
