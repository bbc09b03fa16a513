"""Two DAGs whose first task fails: the run of one is green nevertheless, the run of the other is not."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator, ListProjectTagsOperator


@task
def train() -> None:
    raise AirflowFailException("out of memory")


with DAG(dag_id="green_failure", schedule=None) as green:
    # [START howto_green_failure]
    tag = AddProjectTagOperator(task_id="tag_failed", project_id="p1", tags="failed", trigger_rule="one_failed")
    train() >> tag
    # [END howto_green_failure]

with DAG(dag_id="red_failure", schedule=None) as red:
    tag = AddProjectTagOperator(task_id="tag_failed", project_id="p1", tags="failed", trigger_rule="one_failed")
    # [START howto_red_failure]
    train() >> [tag, ListProjectTagsOperator(task_id="list_tags", project_id="p1")]
    # [END howto_red_failure]
