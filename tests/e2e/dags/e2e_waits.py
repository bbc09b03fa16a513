"""Waits whose triggerer a test kills, a lease whose run is cleared, and a run for each tag that appears."""

from __future__ import annotations

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_paperspace.operators.lease import ProjectTagLease
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger

START = pendulum.datetime(2026, 1, 1, tz="UTC")


def wait_for_go(task_id: str) -> ProjectTagSensor:
    return ProjectTagSensor(
        task_id=task_id, project_id="{{ params.project_id }}", tags="go", poke_interval=1, deferrable=True
    )


with DAG(dag_id="e2e_deferred", schedule=None, start_date=START, catchup=False, params={"project_id": ""}):
    wait_for_go("wait")

with DAG(dag_id="e2e_leased", schedule=None, start_date=START, catchup=False, params={"project_id": ""}):
    with ProjectTagLease(task_id="lease", project_id="{{ params.project_id }}", tags="in-use", exclusive=True):
        wait_for_go("work")

trigger = ProjectTagEventTrigger(project_id="e2e-watched", tags="ready:*", poke_interval=1)
watched = Asset("e2e-watched", watchers=[AssetWatcher(name="e2e-watched", trigger=trigger)])
with DAG(dag_id="e2e_watching", schedule=[watched], start_date=START, catchup=False):
    EmptyOperator(task_id="run")
