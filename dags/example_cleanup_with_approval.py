"""Plan a clean-up, let somebody approve the plan in Airflow's UI, then carry it out: on Airflow 3.1 or later.

The approval waits on the *Required Actions* page and holds no worker. *Reject* leaves every tag in place, and if there
is nothing to remove, nobody is asked. Without Airflow 3.1 and the standard provider, this file contains no DAG.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import (  # on Airflow 3: airflow.sdk
    DAG,
    AirflowOptionalProviderFeatureException,
    task,
)

from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except (ImportError, AirflowOptionalProviderFeatureException):
    ApprovalOperator = None  # type: ignore[assignment,misc]

if ApprovalOperator is not None:
    with DAG(
        dag_id="example_cleanup_with_approval",
        schedule="30 3 * * 1",
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
        tags=["paperspace", "example"],
        doc_md=__doc__,
    ) as dag:
        # [START howto_operator_clean_up_with_approval]
        plan = CleanUpProjectTagsOperator(
            task_id="plan", all_projects=True, names="stale:*", keep="*keep*", dry_run=True
        )

        @task.short_circuit
        def anything_planned(plan: dict[str, Any]) -> bool:
            return bool(plan["planned"])

        approve = ApprovalOperator(
            task_id="approve",
            subject="Remove these tags?",
            body="{{ ti.xcom_pull(task_ids='plan')['markdown'] }}",
        )
        apply = CleanUpProjectTagsOperator(task_id="apply", plan=plan.output)
        anything_planned(plan.output) >> approve >> apply
        # [END howto_operator_clean_up_with_approval]
