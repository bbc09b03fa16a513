"""Tag a Paperspace project at each stage of a pipeline: training, evaluated, production, or failed.

The tag moves with the work, so everyone who opens the project sees its stage. Every write is safe to repeat: if a task
is retried, or cleared with its downstream tasks, the tags end up the same.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, chain, task  # on Airflow 3: airflow.sdk

from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
)

PROJECT_ID = "{{ params.project_id }}"
# Not {{ ds }}: a run that was triggered by an event, or without a logical date, has none.
RELEASED = "released:{{ dag_run.run_after | default(dag_run.logical_date, true) | ds }}"

with DAG(
    dag_id="example_pipeline_stages",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={"project_id": "prmximcci", "fail": False},
    tags=["paperspace", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def train() -> str:
        return "model-42"

    @task
    def evaluate(model: str, **context: object) -> float:
        if context["params"]["fail"]:  # type: ignore[index]
            raise AirflowFailException("the model is worse than the last one")
        print(f"{model} is better than the last one")
        return 0.97

    @task
    def publish(score: float) -> None:
        print(f"published with a score of {score}")

    model = train()
    score = evaluate(model)
    published = publish(score)

    # [START howto_operator_project_tags]
    clear_failed = RemoveProjectTagOperator(task_id="clear_failed", project_id=PROJECT_ID, tags="stage:failed")
    tag_training = AddProjectTagOperator(task_id="tag_training", project_id=PROJECT_ID, tags="stage:training")

    tag_evaluated = AddProjectTagOperator(task_id="tag_evaluated", project_id=PROJECT_ID, tags="stage:evaluated")
    untag_training = RemoveProjectTagOperator(task_id="untag_training", project_id=PROJECT_ID, tags=tag_training.output)

    tag_production = AddProjectTagOperator(
        task_id="tag_production", project_id=PROJECT_ID, tags=["production", RELEASED]
    )
    untag_evaluated = RemoveProjectTagOperator(
        task_id="untag_evaluated", project_id=PROJECT_ID, tags=tag_evaluated.output
    )

    list_tags = ListProjectTagsOperator(task_id="list_tags", project_id=PROJECT_ID)

    chain(clear_failed, tag_training, model, score, tag_evaluated, untag_training, published)
    chain(published, tag_production, untag_evaluated, list_tags)
    # [END howto_operator_project_tags]

    # [START howto_operator_project_tags_on_failure]
    tag_failed = AddProjectTagOperator(
        task_id="tag_failed", project_id=PROJECT_ID, tags="stage:failed", trigger_rule="one_failed"
    )
    untag_running = RemoveProjectTagOperator(
        task_id="untag_running", project_id=PROJECT_ID, tags=["stage:training", "stage:evaluated"]
    )

    # Airflow takes the state of a run from its leaf tasks. This branch succeeds, but list_tags, the leaf task of the
    # other one, does not run after a failure. So the run fails.
    [model, score, published] >> tag_failed >> untag_running
    # [END howto_operator_project_tags_on_failure]
