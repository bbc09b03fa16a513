"""Keep exactly one stage tag per project, and another tag while a run uses the project.

Setting ``stage:evaluated`` removes ``stage:training`` and touches no other tag. If a stage fails, the project returns
to its previous stage. While the stages run, the project has a tag ``in-use/...``, which is removed when they end, even
if they fail. Until then, the first task of another run fails, and each of its retries asks again.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.operators.lease import ProjectTagLease
from airflow_provider_paperspace.operators.project_tags import SetProjectTagsOperator, UndoProjectTagChangeOperator

with DAG(
    dag_id="example_stage_board",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={"project_name": "vision-training", "fail": False},
    tags=["paperspace", "example"],
    doc_md=__doc__,
) as dag:
    # [START howto_operator_set_project_tags]
    PROJECT = "{{ params.project_name }}"

    def set_stage(stage: str, **arguments: object) -> SetProjectTagsOperator:
        return SetProjectTagsOperator(
            task_id=f"set_{stage}", project_name=PROJECT, tags=f"stage:{stage}", within="stage:", **arguments
        )

    # [END howto_operator_set_project_tags]

    @task
    def train() -> str:
        return "model-42"

    @task
    def evaluate(model: str, **context: object) -> None:
        if context["params"]["fail"]:  # type: ignore[index]
            raise AirflowFailException(f"{model} is worse than the last one")

    # [START howto_operator_project_tag_lease]
    with ProjectTagLease(task_id="lease", project_name=PROJECT, tags="in-use", exclusive=True):
        training = set_stage("training")
        evaluated = evaluate(train())
        training >> evaluated >> set_stage("evaluated")
    # [END howto_operator_project_tag_lease]

    # [START howto_operator_undo_project_tag_change]
    # The undo succeeds, but the run fails: set_evaluated is a leaf task, too, and does not run after a failure.
    undo = UndoProjectTagChangeOperator(task_id="undo", change=training.output["change"], trigger_rule="one_failed")
    evaluated >> undo
    # [END howto_operator_undo_project_tag_change]
