"""The sensor in each mode. A run starts as soon as Airflow has parsed the file."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor

MODES = {
    "poke": {"mode": "poke"},
    # If it is due before the scheduler has noticed that the worker of the last poke has ended, Airflow fails it.
    "reschedule": {"mode": "reschedule", "poke_interval": 15},
    "deferred": {"deferrable": True},
}

with DAG(dag_id="waiting", schedule="@once", start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False):
    for mode, options in MODES.items():
        ProjectTagSensor(
            task_id=mode, project_id="waiting", tags=f"go:{mode}", timeout=3600, **{"poke_interval": 1, **options}
        )
