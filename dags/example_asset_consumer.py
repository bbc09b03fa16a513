"""Start a run when the tags of a project change, read what changed from the asset events, and list the tags.

A task such as the one in ``example_asset_producer`` announces its changes. On Airflow 3, a watcher also announces
approvals that somebody adds or removes in the console.
"""

from __future__ import annotations

# [START howto_project_asset_schedule]
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.assets import project_asset
from airflow_provider_paperspace.operators.project_tags import ListProjectTagsOperator

try:
    from airflow.sdk import AssetWatcher
except ImportError:  # Airflow 2
    watchers = []
else:
    from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger

    # Watch only tags that no task changes: the watcher would announce a task's change a second time.
    approvals = ProjectTagEventTrigger(project_id="prmximcci", tags="approved:*", fire_on="both", poke_interval=30)
    watchers = [AssetWatcher(name="approvals", trigger=approvals)]

project = project_asset("prmximcci", watchers=watchers)

with DAG(
    dag_id="example_asset_consumer",
    schedule=[project],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["paperspace", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def report(triggering_asset_events: Any = None, triggering_dataset_events: Any = None) -> list[str]:
        """Return a line for each change: several events close together may start a single run."""
        if triggering_asset_events is not None:
            events = triggering_asset_events.get(project, [])
        else:  # Airflow 2
            events = triggering_dataset_events.get(project.uri, [])
        lines = []
        for event in events:
            if event.extra.get("from_trigger"):
                seen = event.extra["payload"]
                lines.append(f"{seen['tag']['name']} {seen['event']}")
            else:
                change = event.extra
                lines.append(f"{change['task_id']} added {change['added']} and removed {change['removed']}")
        return lines

    report() >> ListProjectTagsOperator(task_id="list_tags", project_id="prmximcci")
# [END howto_project_asset_schedule]
