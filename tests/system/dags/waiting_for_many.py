"""One deferred wait for two projects. It runs when it is triggered."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor

with DAG(dag_id="waiting_for_many", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False):
    ProjectTagSensor(
        task_id="wait", project_ids=["many-1", "many-2"], tags="go", poke_interval=1, timeout=3600, deferrable=True
    )
