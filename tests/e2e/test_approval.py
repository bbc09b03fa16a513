"""A clean-up that waits for an approval, answered through Airflow's API, as its UI does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.e2e.cluster import Cluster

DAG_ID = "example_cleanup_with_approval"
TASKS = ("plan", "anything_planned", "approve", "apply")
LINK = "stale:a|b`[c](https://example.com)<img>"
WATCHED = {"id": "prmximcci", "name": "vision-training", "tags": []}
SEED = {
    "projects": [
        WATCHED,
        {"id": "prspeech01", "name": "Speech | R&D", "tags": ["team:speech", "stale:2026-01", "stale:keep", LINK]},
        {"id": "prranking1", "name": "Ranking", "tags": ["production", "stale:2025-11"]},
    ]
}


@pytest.fixture
def world(cluster: Cluster) -> Iterator[LocalPaperspaceServer]:
    cluster.paperspace.reset(seed=SEED)
    yield cluster.paperspace
    cluster.paperspace.reset()


def start(cluster: Cluster) -> tuple[str, Any]:
    """Start a run, wait until somebody is asked, and return its id and what the page shows."""
    run_id = cluster.trigger(DAG_ID)
    cluster.wait("the question", lambda: cluster.task_states(DAG_ID, run_id).get("approve") == "awaiting_input")
    return run_id, cluster.call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails")


def states_at_the_end(cluster: Cluster, run_id: str) -> dict[str, str | None]:
    assert cluster.wait_for_run(DAG_ID, run_id) == "success"
    return cluster.task_states(DAG_ID, run_id)


def test_an_approved_plan_is_carried_out(cluster: Cluster, world: LocalPaperspaceServer) -> None:
    run_id, question = start(cluster)
    assert (question["subject"], question["options"]) == ("Remove these tags?", ["Approve", "Reject"])
    assert question["body"].startswith("### 3 tags to remove from 2 of 3 projects\n\n| Project | Tag | Reason |")
    assert "stale:keep" not in question["body"]
    for tag in ("stale:late", "stale:late:keep"):
        world.paperspace.add_tag("prspeech01", {"name": tag})
    world.paperspace.remove_tag("prranking1", {"name": "stale:2025-11"})
    cluster.answer(DAG_ID, run_id, "approve", "Approve")
    assert states_at_the_end(cluster, run_id) == dict.fromkeys(TASKS, "success")
    kept = {"team:speech", "stale:keep", "stale:late", "stale:late:keep"}
    assert set(world.paperspace.tag_names("prspeech01")) == kept
    assert world.paperspace.tag_names("prranking1") == ["production"]


def test_a_rejected_plan_leaves_everything(cluster: Cluster, world: LocalPaperspaceServer) -> None:
    run_id, _ = start(cluster)
    cluster.answer(DAG_ID, run_id, "approve", "Reject")
    assert states_at_the_end(cluster, run_id) == dict.fromkeys(TASKS, "success") | {"apply": "skipped"}
    assert [request for request in world.requests if request.method != "GET"] == []


def test_if_nothing_is_planned_nobody_is_asked(cluster: Cluster, world: LocalPaperspaceServer) -> None:
    ranking = {"id": "prranking1", "name": "Ranking", "tags": ["production", "stale:keep"]}
    world.reset(seed={"projects": [WATCHED, ranking]})
    states = states_at_the_end(cluster, cluster.trigger(DAG_ID))
    assert states == dict.fromkeys(TASKS, "success") | {"approve": "skipped", "apply": "skipped"}
