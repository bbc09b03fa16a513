"""Remove stale tags from several projects every night: list, choose, remove, with one mapped task per project."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.operators.project_tags import ListProjectTagsOperator, RemoveProjectTagOperator

with DAG(
    dag_id="example_tag_cleanup",
    schedule="30 3 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={"project_ids": ["prmximcci", "prspeech01", "prranking1"], "stale_prefix": "stale:"},
    tags=["paperspace", "example"],
    doc_md=__doc__,
) as dag:
    # [START howto_operator_project_tags_mapped]
    @task
    def projects(**context: Any) -> list[str]:
        return list(context["params"]["project_ids"])

    @task
    def choose(project_ids: Sequence[str], tags: Sequence[Any], **context: Any) -> list[dict[str, Any]]:
        """Pair each project with its stale tags, and leave out projects without any."""
        prefix = context["params"]["stale_prefix"]
        stale = [[tag for tag in of_project if tag["name"].startswith(prefix)] for of_project in tags]
        return [{"project_id": id_, "tags": of_id} for id_, of_id in zip(project_ids, stale, strict=True) if of_id]

    project_ids = projects()
    list_tags = ListProjectTagsOperator.partial(task_id="list_tags").expand(project_id=project_ids)
    chosen = choose(project_ids, list_tags.output)
    RemoveProjectTagOperator.partial(task_id="remove_stale_tags").expand_kwargs(chosen)
    # [END howto_operator_project_tags_mapped]
