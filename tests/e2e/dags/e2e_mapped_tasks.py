"""As many mapped tasks that do nothing, that add a tag, and that post it blindly, side by side in one run.

Airflow starts tasks of equal priority in the order of their map indexes, so the three kinds take turns.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pendulum
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import DAG, BaseOperator

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator


class NothingOperator(BaseOperator):
    def __init__(self, *, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> None:
        """Do nothing."""


NUMBERS = range(int(os.environ["E2E_MAPPED_TASKS"]))

with DAG(dag_id="e2e_mapped_tasks", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False):
    NothingOperator.partial(task_id="nothing").expand(number=list(NUMBERS))
    AddProjectTagOperator.partial(task_id="add", tags="x").expand(project_id=[f"mapped-{n}" for n in NUMBERS])
    HttpOperator.partial(
        task_id="post", method="POST", data=json.dumps({"name": "x"}), headers={"Content-Type": "application/json"}
    ).expand(endpoint=[f"projects/posted-{number}/tags" for number in NUMBERS])
