"""The asset of a project in Airflow's UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from airflow_provider_paperspace.assets import project_asset

if TYPE_CHECKING:
    from tests.e2e.browser.airflow_ui import AirflowUi
    from tests.e2e.cluster import Cluster

PRODUCER, CONSUMER = "example_asset_producer", "example_asset_consumer"


def test_the_asset_graph_leads_from_the_change_to_the_run(ui: AirflowUi, cluster: Cluster) -> None:
    uri = project_asset("prmximcci").uri
    before = set(cluster.runs(CONSUMER))
    assert cluster.wait_for_run(PRODUCER, cluster.trigger(PRODUCER, {"stage": "evaluated"})) == "success"
    cluster.wait("the consumer", lambda: set(cluster.runs(CONSUMER)) - before)
    (run_id,) = set(cluster.runs(CONSUMER)) - before
    assert cluster.wait_for_run(CONSUMER, run_id) == "success"
    ui.open("/assets")
    ui.page.get_by_role("link", name=uri, exact=True).click()
    graph = ui.page.locator(".react-flow")
    for node in (PRODUCER, "paperspace-project-tags", uri, CONSUMER):
        expect(graph.get_by_text(node, exact=True)).to_be_visible()
    expect(ui.page.locator(f'a[href$="{run_id}"]')).to_have_text(CONSUMER)
    expect(ui.page.get_by_role("link", name=PRODUCER).first).to_be_visible()
    with ui.sized(1500, 640):
        ui.page.get_by_role("button", name="Fit View").click()
        ui.picture("asset-graph")
