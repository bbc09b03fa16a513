"""Start a run when a project gets the tag ``ready``: event-driven scheduling, on Airflow 3.0 or later.

The triggerer polls the project. Each time the tag appears, one run starts, within one poll interval. On Airflow 2
this file contains no DAG.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, task  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.operators.project_tags import RemoveProjectTagOperator

try:
    from airflow.sdk import AssetWatcher
except ImportError:
    AssetWatcher = None  # type: ignore[assignment,misc]

if AssetWatcher is not None:
    # [START howto_trigger_project_tag_event]
    from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger

    trigger = ProjectTagEventTrigger(project_id="prmximcci", tags="ready", poke_interval=30)
    ready = Asset("paperspace-project-ready", watchers=[AssetWatcher(name="ready", trigger=trigger)])

    with DAG(
        dag_id="example_tag_driven",
        schedule=[ready],
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        tags=["paperspace", "example"],
        doc_md=__doc__,
    ) as dag:

        @task
        def train(triggering_asset_events: Any = None) -> list[str]:
            """Return the tags that started this run: several events close together may start a single run."""
            events = [event for of_asset in (triggering_asset_events or {}).values() for event in of_asset]
            return [event.extra["payload"]["tag"]["name"] for event in events]

        untag = RemoveProjectTagOperator(task_id="untag", project_id="prmximcci", tags="ready")
        train() >> untag
    # [END howto_trigger_project_tag_event]
