"""A run each time a tag appears, on five projects."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset

try:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import AssetWatcher
except ImportError:
    AssetWatcher = None  # type: ignore[assignment,misc]

if AssetWatcher is not None:
    from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger

    for number in range(5):
        trigger = ProjectTagEventTrigger(project_id=f"driven-{number}", tags="ready:*", poke_interval=0.1)
        ready = Asset(f"ready-{number}", watchers=[AssetWatcher(name=f"ready-{number}", trigger=trigger)])
        with DAG(
            dag_id=f"driven-{number}",
            schedule=[ready],
            start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
            catchup=False,
        ):
            EmptyOperator(task_id="run")
