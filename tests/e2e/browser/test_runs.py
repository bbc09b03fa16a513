"""Runs of the example DAGs in Airflow's UI: grid, log, XCom, and the button to the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, expect

if TYPE_CHECKING:
    from tests.e2e.browser.airflow_ui import AirflowUi
    from tests.e2e.cluster import Cluster

STAGES = "example_pipeline_stages"
# Airflow warns of values in a connection that are too short to mask, such as the team 'acme'.
AT_INFO = "?log_level=info"
PLANS = "example_cleanup_schedule"


@pytest.fixture(scope="module")
def started(cluster: Cluster) -> dict[str, str]:
    """Start all runs of this module side by side, and return their ids."""
    return {
        "good": cluster.trigger(STAGES, {"project_id": "prgood0001"}),
        "failed": cluster.trigger(STAGES, {"project_id": "prfails001", "fail": True}),
        "plan": cluster.trigger(PLANS, {"dry_run": True}),
    }


@pytest.fixture(scope="module")
def good(cluster: Cluster, started: dict[str, str]) -> str:
    assert cluster.wait_for_run(STAGES, started["good"]) == "success"
    return started["good"]


@pytest.fixture(scope="module")
def failed(cluster: Cluster, started: dict[str, str]) -> str:
    assert cluster.wait_for_run(STAGES, started["failed"]) == "failed"
    return started["failed"]


@pytest.fixture(scope="module")
def missing(cluster: Cluster) -> str:
    """A run with a project that does not exist. It starts late, because the pictures are of the other two."""
    run_id = cluster.trigger(STAGES, {"project_id": "prmissing1"})
    assert cluster.wait_for_run(STAGES, run_id) == "failed"
    return run_id


def assert_it_fits(text: Locator, log: Locator) -> None:
    """Airflow does not wrap the lines of a log."""
    expect(text).to_be_visible()
    (line, window) = (element.evaluate("element => element.getBoundingClientRect().right") for element in (text, log))
    assert line <= window, f"{text.inner_text()!r} ends {line - window:.0f} pixels right of the window"


def log_of(ui: AirflowUi) -> Locator:
    return ui.page.get_by_test_id("virtualized-list")


def last_row(ui: AirflowUi) -> Locator:
    return ui.page.get_by_test_id("task-list_tags")


def start_of(ui: AirflowUi, task_id: str) -> Locator:
    return ui.page.get_by_role("heading", name=task_id, exact=True)


def test_the_grid_shows_how_far_each_run_came(ui: AirflowUi, good: str, failed: str) -> None:
    ui.open(f"/dags/{STAGES}")
    expected = {
        (good, "tag_production"): "Success",
        (good, "tag_failed"): "Skipped",
        (failed, "evaluate"): "Failed",
        (failed, "tag_production"): "Upstream Failed",
        (failed, "untag_running"): "Success",
    }
    for (run_id, task_id), state in expected.items():
        ui.move_mouse_away()
        ui.page.get_by_test_id(f"grid-{run_id}-{task_id}").hover()
        expect(ui.page.get_by_role("tooltip").filter(has_text=task_id)).to_contain_text(f"State: {state}")
    ui.open_task(STAGES, failed, "tag_failed", AT_INFO)
    expect(log_of(ui)).to_contain_text("Project 'prfails001': added 'stage:failed'")
    ui.picture("grid-stages", end=last_row(ui))


def test_the_log_of_a_change_fits_into_the_window(ui: AirflowUi, good: str) -> None:
    ui.open_task(STAGES, good, "tag_production", AT_INFO)
    expect(log_of(ui)).to_contain_text("Project 'prgood0001': added 'production', 'released:")
    assert log_of(ui).evaluate("log => log.scrollWidth <= log.clientWidth")
    ui.picture("overview", end=last_row(ui))


def test_the_log_of_a_plan_fits_into_the_window(ui: AirflowUi, cluster: Cluster, started: dict[str, str]) -> None:
    run_id = started["plan"]
    cluster.wait("the plan", lambda: cluster.task_states(PLANS, run_id).get("clean_up") == "success")
    ui.open_task(PLANS, run_id, "clean_up", AT_INFO)
    expect(log_of(ui)).to_contain_text("matches 'stale:*'")
    assert log_of(ui).evaluate("log => log.scrollWidth <= log.clientWidth")
    with ui.sized(1160, 900):
        ui.picture("task-log", start=start_of(ui, "clean_up"), end=log_of(ui))


def test_the_log_of_an_error_fits_into_the_window(ui: AirflowUi, missing: str) -> None:
    """The exception below it, with its stack, does not: that is Airflow's way."""
    ui.open_task(STAGES, missing, "clear_failed")
    said = log_of(ui).locator("code").filter(has_text="Project 'prmissing1': could not list its tags").first
    expect(said).to_contain_text("the key belongs to the project's team.")
    assert_it_fits(said, log_of(ui))


def test_the_xcom_tab_shows_the_tags(ui: AirflowUi, good: str, cluster: Cluster) -> None:
    ui.open_task(STAGES, good, "list_tags", "xcom")
    row = ui.page.get_by_role("row").filter(has_text="return_value")
    expect(row).to_be_visible()
    ui.page.get_by_role("button", name="Expand all extra JSON").click()
    names = cluster.paperspace.paperspace.tag_names("prgood0001")
    assert len(names) == 2
    for name in names:
        expect(row).to_contain_text(f'"{name}"')
    with ui.sized(1160, 800):
        expect(row.locator(".mtk5")).to_have_count(4)  # the editor colors its strings bit by bit
        ui.picture("xcom-tags", start=start_of(ui, "list_tags"), end=row)


def test_the_button_leads_to_the_project_in_the_console(ui: AirflowUi, good: str) -> None:
    ui.open_task(STAGES, good, "tag_production", "details")
    button = ui.page.get_by_role("link", name="Paperspace project")
    expect(button).to_have_attribute("href", "https://console.paperspace.com/acme/projects/prgood0001")
    expect(button).to_have_attribute("target", "_blank")
    with ui.sized(1160, 900):
        last = ui.page.get_by_role("row").filter(has_text="Duration")
        ui.picture("project-button", start=start_of(ui, "tag_production"), end=last, margin=0)


def test_a_task_that_failed_has_its_button_too(ui: AirflowUi, missing: str) -> None:
    ui.open_task(STAGES, missing, "clear_failed", "details")
    button = ui.page.get_by_role("link", name="Paperspace project")
    expect(button).to_have_attribute("href", "https://console.paperspace.com/acme/projects/prmissing1")
