"""Clean up in three tasks: plan, approve, apply the plan."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator

with DAG(
    dag_id="plan_approve_apply",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"approved": True},
) as dag:
    # [START howto_operator_clean_up_plan]
    plan = CleanUpProjectTagsOperator(task_id="plan", all_projects=True, names="stale:*", dry_run=True)

    @task.short_circuit
    def approve(plan: dict[str, Any], **context: Any) -> bool:
        return bool(plan["planned"]) and bool(context["params"]["approved"])

    apply = CleanUpProjectTagsOperator(task_id="apply", plan=plan.output, keep="stale:keep-*")
    approve(plan.output) >> apply
    # [END howto_operator_clean_up_plan]
