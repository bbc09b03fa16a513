"""Callbacks of a task and of a run. A run starts as soon as Airflow has parsed the file."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_paperspace.notifications.project_tags import ProjectTagNotifier

with DAG(
    dag_id="notified",
    schedule="@once",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    on_failure_callback=ProjectTagNotifier(project_name="notified", add="run-failed", remove="fresh"),
):

    @task(on_failure_callback=ProjectTagNotifier(project_id="notified", add="task-failed:{{ ti.task_id }}"))
    def fail() -> None:
        raise AirflowFailException

    fail()
