"""Tag many projects, in one task or in one mapped task per project, and print how long the tasks took."""

from __future__ import annotations

import json
import os

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.providers.http.operators.http import HttpOperator

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator

KIND = os.environ["BENCH_KIND"]
PROJECT_IDS = os.environ["BENCH_PROJECT_IDS"].split(",")

with DAG(KIND, schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False) as dag:
    if KIND == "one_task":
        AddProjectTagOperator(task_id="add", tags="x", project_ids=PROJECT_IDS)
    elif KIND == "mapped":
        AddProjectTagOperator.partial(task_id="add", tags="x").expand(project_id=PROJECT_IDS)
    else:
        HttpOperator.partial(
            task_id="add",
            method="POST",
            data=json.dumps({"name": "x"}),
            headers={"Content-Type": "application/json"},
        ).expand(endpoint=[f"projects/{project_id}/tags" for project_id in PROJECT_IDS])

if __name__ == "__main__":
    run = dag.test()
    tasks = run.get_task_instances()
    # Without what dag.test() does before and after, which is the same for one task and many.
    took = max(task.end_date for task in tasks) - min(task.start_date for task in tasks)
    print(json.dumps({"state": run.state, "tasks": len(tasks), "seconds": took.total_seconds()}))
