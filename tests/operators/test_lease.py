"""The lease of a tag: what is returned, and what stays."""

from __future__ import annotations

import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.project_tag_lease import ReturnProjectTagOperator
from airflow_provider_paperspace.operators.project_tags import ProjectTagLease
from tests.operators.task import Task, names

pytestmark = pytest.mark.usefixtures("connection")


def test_what_was_there_before_stays(server: LocalPaperspaceServer) -> None:
    server.paperspace.add_tag("p1", {"name": "in-use"})
    task = Task(ReturnProjectTagOperator, project_id="p1", tags=["in-use", "gpu"], before=[{"id": 1, "name": "gpu"}])
    assert names(task.run()) == ["in-use"]
    assert server.paperspace.tag_names("p1") == ["gpu"]


def test_what_carries_the_runs_id_is_returned_even_if_the_look_had_found_it(
    server: LocalPaperspaceServer,
) -> None:
    server.paperspace.add_tag("p1", {"name": "in-use:run"})
    task = Task(ReturnProjectTagOperator, project_id="p1", tags="in-use:run", before=["gpu", "in-use:run"])
    assert names(task.run()) == ["in-use:run"]


def test_a_lease_is_for_one_project() -> None:
    with pytest.raises(ValueError, match="A lease is for one project"):
        ProjectTagLease(task_id="lease", tags="x", project_ids=["p1"])
