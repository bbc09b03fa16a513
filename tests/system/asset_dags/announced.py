"""Tasks with outlets, one after the other; their consumers; and an asset with a watcher."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias, task

from airflow_provider_paperspace.assets import project_asset
from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator, SetProjectTagsOperator

START = pendulum.datetime(2026, 1, 1, tz="UTC")
ALIAS = AssetAlias("changed-projects")

with DAG(dag_id="announced", schedule=None, start_date=START, catchup=False):
    outlets = {"project_id": "plain", "outlets": [project_asset("plain"), Asset("board")]}
    (
        AddProjectTagOperator(task_id="add", tags="a", **outlets)
        >> AddProjectTagOperator(task_id="add_again", tags="a", **outlets)
        >> SetProjectTagsOperator(task_id="dry", tags="stage:b", within="stage:", dry_run=True, **outlets)
        >> AddProjectTagOperator(task_id="many", project_ids=["has-it", "odd id/ä"], tags="a", outlets=[ALIAS])
        >> AddProjectTagOperator(task_id="fails", project_ids=["has-it", "missing"], tags="b", outlets=[ALIAS])
    )


def consumer(name: str, asset: Any) -> None:
    with DAG(dag_id=f"consumer-{name}", schedule=[asset], start_date=START, catchup=False):

        @task
        def run() -> None:
            """Run, and nothing more."""

        run()


consumer("plain", project_asset("plain"))
consumer("odd", project_asset("odd id/ä"))
consumer("alias", ALIAS)

try:
    from airflow.sdk import AssetWatcher
except ImportError:
    pass
else:
    from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger

    trigger = ProjectTagEventTrigger(project_id="watched", tags="*", poke_interval=0.2)
    watched = project_asset("watched", watchers=[AssetWatcher(name="all", trigger=trigger)])
    consumer("watched", watched)

    with DAG(dag_id="watched-producer", schedule=None, start_date=START, catchup=False):
        AddProjectTagOperator(task_id="add", project_id="watched", tags="by-task", outlets=[watched])
