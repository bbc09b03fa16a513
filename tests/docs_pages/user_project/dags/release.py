from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.operators.project_tags import SetProjectTagsOperator
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor

with DAG("release", schedule=None, params={"stage": "production"}, default_args={"retries": 2}):
    wait = ProjectTagSensor(
        task_id="wait",
        project_id="mine",
        tags="approved:*",
        poke_interval=60,
        timeout=timedelta(hours=8),
        deferrable=True,
    )
    release = SetProjectTagsOperator(
        task_id="release", project_id="mine", tags="stage:{{ params.stage }}", within="stage:"
    )
    wait >> release
