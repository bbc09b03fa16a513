"""Tag the project with callbacks when a task fails or the run succeeds, without extra tasks or trigger rules."""

from __future__ import annotations

# [START howto_notifier_project_tag]
import pendulum
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.notifications.project_tags import ProjectTagNotifier

PROJECT_ID = "{{ params.project_id }}"

with DAG(
    dag_id="example_tag_on_failure",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"project_id": "prmximcci", "fail": False},
    on_success_callback=ProjectTagNotifier(project_id=PROJECT_ID, add="healthy", remove="failed"),
    default_args={
        "on_failure_callback": ProjectTagNotifier(project_id=PROJECT_ID, add="failed", remove="healthy"),
    },
    tags=["paperspace", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def train(**context: object) -> None:
        if context["params"]["fail"]:  # type: ignore[index]
            raise AirflowFailException("out of memory")

    train()
    # [END howto_notifier_project_tag]
