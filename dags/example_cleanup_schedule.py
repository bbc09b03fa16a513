"""Remove stale tags from every project of the team once a day, with a limit and a report.

Tags such as ``gpu-demo@2026-12-01`` are removed after that day, ``stale:*`` at once. Tags that start with ``keep``
stay, and so does ``production``. To see only the plan, trigger the DAG with the param ``dry_run`` set to true. When the
DAG is unpaused, a run starts that removes tags; before that, use
``airflow dags test --conf '{"dry_run": true}' example_cleanup_schedule``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator

with DAG(
    dag_id="example_cleanup_schedule",
    schedule="30 3 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={"dry_run": False, "max_removals": 100},
    tags=["paperspace", "example"],
    doc_md=__doc__,
) as dag:
    # [START howto_operator_clean_up_project_tags]
    clean_up = CleanUpProjectTagsOperator(
        task_id="clean_up",
        all_projects=True,
        names=["stale:*"],
        keep=["keep*", "production"],
        max_removals="{{ params.max_removals }}",
        dry_run="{{ params.dry_run }}",
    )
    # [END howto_operator_clean_up_project_tags]

    @task
    def report(result: dict[str, Any]) -> str:
        text = f"{len(result['removed'])} of {len(result['planned'])} stale tags removed"
        text += f"; {result['projects']} projects read, {len(result['unreadable'])} tags with an unreadable date"
        print(text)
        return text

    report(clean_up.output)
