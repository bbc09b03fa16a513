"""A clean-up that somebody approves in Airflow's UI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.e2e.browser.airflow_ui import AirflowUi
    from tests.e2e.cluster import Cluster

DAG_ID = "example_cleanup_with_approval"
STALE = {"prspeech01": ["stale:2026-01"], "prranking1": ["stale:2025-11", "stale:2025-12"]}


@pytest.fixture
def run_id(cluster: Cluster) -> Iterator[str]:
    """A run that waits for its answer. The DAG runs once at a time, so it ends with the test."""
    run_id = cluster.trigger(DAG_ID)
    yield run_id
    if cluster.runs(DAG_ID)[run_id] == "running":
        cluster.call("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}", {"state": "failed"})


def test_a_plan_is_carried_out_after_a_click(ui: AirflowUi, cluster: Cluster, run_id: str) -> None:
    world = cluster.paperspace.paperspace
    cluster.wait_for_state(DAG_ID, run_id, "approve", "awaiting_input")
    before = {project_id: set(world.tag_names(project_id)) for project_id in world.projects}
    ui.open_task(DAG_ID, run_id, "approve", "required_actions")
    expect(ui.page.get_by_role("heading", name="3 tags to remove from 2 of 5 projects")).to_be_visible()
    for names in STALE.values():
        for name in names:
            expect(ui.page.get_by_role("row").filter(has_text=name)).to_contain_text("matches 'stale:*'")
    expect(ui.page.get_by_role("link", name="ranking").first).to_have_attribute(
        "href", "https://console.paperspace.com/acme/projects/prranking1"
    )
    approve = ui.page.get_by_role("button", name="Approve", exact=True)
    with ui.sized(1280, 700):
        ui.picture("approval", start=ui.page.get_by_role("heading", name="approve", exact=True), end=approve)
    assert before == {project_id: set(world.tag_names(project_id)) for project_id in world.projects}
    approve.click()
    assert cluster.wait_for_run(DAG_ID, run_id) == "success"
    assert set(cluster.task_states(DAG_ID, run_id).values()) == {"success"}
    for project_id in world.projects:
        assert set(world.tag_names(project_id)) == before[project_id] - set(STALE.get(project_id, []))
    expect(ui.page.get_by_test_id(f"grid-{run_id}-apply")).to_be_visible()
    ui.open_task(DAG_ID, run_id, "apply")
    expect(ui.page.get_by_test_id("virtualized-list")).to_contain_text("3 of 3 planned tags removed")
