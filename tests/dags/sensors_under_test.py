"""The sensor in each of its modes: poke, reschedule, and deferred."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor

WAYS = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferred": {"deferrable": True},
}

with DAG(
    dag_id="sensors_under_test", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False
) as dag:
    for way, options in WAYS.items():
        ProjectTagSensor(task_id=way, project_id="p1", tags=f"go:{way}", poke_interval=1, timeout=120, **options)
