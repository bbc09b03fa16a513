"""The lease of a tag: what is returned, and what stays."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.lease import ProjectTagLease, ReturnProjectTagOperator
from airflow_provider_paperspace.operators.project_tags import ListProjectTagsOperator
from tests.operators.task import Task, names

pytestmark = pytest.mark.usefixtures("connection")


def test_a_return_leaves_tags_that_were_there_before(server: LocalPaperspaceServer) -> None:
    server.paperspace.add_tag("p1", {"name": "in-use"})
    task = Task(ReturnProjectTagOperator, project_id="p1", tags=["in-use", "gpu"], before=[{"id": 1, "name": "gpu"}])
    assert names(task.run()) == ["in-use"]
    assert server.paperspace.tag_names("p1") == ["gpu"]


def test_a_return_removes_a_tag_with_the_run_id(server: LocalPaperspaceServer) -> None:
    server.paperspace.add_tag("p1", {"name": "in-use:run"})
    task = Task(ReturnProjectTagOperator, project_id="p1", tags="in-use:run", before=["gpu", "in-use:run"])
    assert names(task.run()) == ["in-use:run"]


def test_a_lease_encloses_the_tasks_of_its_block() -> None:
    with DAG("leased", schedule=None) as dag:
        with ProjectTagLease(task_id="gpu", project_id="p1", tags="in-use", retries=3):
            ListProjectTagsOperator(task_id="work", project_id="p1")
    assert {id_: task.downstream_task_ids for id_, task in dag.task_dict.items()} == {
        "gpu_look": {"gpu_take", "work", "gpu_return"},
        "gpu_take": {"work", "gpu_return"},
        "work": {"gpu_return"},
        "gpu_return": set(),
    }
    assert [id_ for id_, task in dag.task_dict.items() if task.is_setup] == ["gpu_look", "gpu_take"]
    assert [id_ for id_, task in dag.task_dict.items() if task.is_teardown] == ["gpu_return"]
    assert {task.retries for id_, task in dag.task_dict.items() if id_ != "work"} == {3}


def test_a_lease_is_for_one_project() -> None:
    with pytest.raises(ValueError, match="A lease is for one project"):
        ProjectTagLease(task_id="lease", tags="x", project_ids=["p1"])
