"""Workers that are killed or stopped while their tasks write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import WORKERS, Cluster
from tests.processes import process_of_task

DAG_ID = "e2e_batch"
COUNT = 300


@pytest.fixture(autouse=True)
def slow_answers(cluster: Cluster) -> Iterator[None]:
    """Let each answer take long enough for a test to come between two of them."""
    cluster.paperspace.app.latency_s = 0.1
    yield
    cluster.paperspace.app.latency_s = 0.0


@pytest.fixture
def project_ids(cluster: Cluster, request: pytest.FixtureRequest) -> list[str]:
    test = "".join(filter(str.isalnum, request.node.name))
    ids = [f"{test}-{number:03}" for number in range(COUNT)]
    for project_id in ids:
        cluster.paperspace.paperspace.add_project(project_id, project_id, ["gpu"])
    return ids


def writes(cluster: Cluster, project_ids: list[str]) -> Counter[str]:
    """Return how many writes each project has seen."""
    ids = (r.target.split("/")[2] for r in cluster.paperspace.requests if r.method != "GET")
    return Counter(id_ for id_ in ids if id_ in set(project_ids))


def wait_for_writes(cluster: Cluster, project_ids: list[str], count: int) -> None:
    cluster.wait(f"{count} writes", lambda: sum(writes(cluster, project_ids).values()) >= count)


def all_tagged(cluster: Cluster, project_ids: list[str]) -> bool:
    return all(cluster.paperspace.paperspace.tag_names(id_) == ["gpu", "batch"] for id_ in project_ids)


def tries(cluster: Cluster, run_id: str) -> int:
    ((number,),) = cluster.rows("SELECT try_number FROM task_instance WHERE run_id = %s", run_id)
    return int(number)


def kept(cluster: Cluster, run_id: str) -> Any:
    """Return what the task keeps for its next try, or None."""
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/add/state-store"
    entries = cluster.call("GET", path)["task_state_store"]
    return {entry["key"]: entry["value"] for entry in entries}.get("paperspace_change")


def test_a_batch_outlives_both_of_its_workers(cluster: Cluster, project_ids: list[str]) -> None:
    run_id = cluster.trigger(DAG_ID, {"project_ids": project_ids})
    wait_for_writes(cluster, project_ids, COUNT // 2)
    for worker in WORKERS:
        cluster.kill(worker)
    assert not all_tagged(cluster, project_ids), "the test came too late"
    assert kept(cluster, run_id)["open"], "the killed try could not close its entry"
    start_workers(cluster)
    assert cluster.wait_for_run(DAG_ID, run_id) == "success"
    assert tries(cluster, run_id) == 2
    assert all_tagged(cluster, project_ids)
    assert writes(cluster, project_ids) == dict.fromkeys(project_ids, 1), "nothing was written twice"
    change = cluster.xcom(DAG_ID, run_id, "add", "change")
    assert set(change) == set(project_ids)
    assert {record["complete"] for record in change.values()} == {False}, "what the killed try wrote is not in it"
    assert kept(cluster, run_id) is None


def test_a_worker_that_is_stopped_lets_its_task_end(cluster: Cluster, project_ids: list[str]) -> None:
    run_id = cluster.trigger(DAG_ID, {"project_ids": project_ids})
    wait_for_writes(cluster, project_ids, COUNT // 4)
    stop_workers(cluster)
    start_workers(cluster)
    assert cluster.task_states(DAG_ID, run_id) == {"add": "success"}
    assert_all_is_recorded(cluster, run_id, project_ids)
    assert tries(cluster, run_id) == 1


def test_a_task_that_is_stopped_hands_on_its_record(cluster: Cluster, project_ids: list[str]) -> None:
    """Where a service manager stops all processes of a service."""
    run_id = cluster.trigger(DAG_ID, {"project_ids": project_ids})
    wait_for_writes(cluster, project_ids, COUNT // 4)
    stop_workers(cluster, with_children=True)
    entry, written = kept(cluster, run_id), writes(cluster, project_ids)
    start_workers(cluster)
    assert not entry["open"]
    assert len(written) < COUNT, "it did not run to its end"
    assert set(written) <= set(entry["records"]), "each write that arrived is in the record"
    records = entry["records"].values()
    assert {name for record in records for name in (*record["added"], *record["unsettled"])} == {"batch"}
    assert cluster.wait_for_run(DAG_ID, run_id) == "success"
    assert_all_is_recorded(cluster, run_id, project_ids)
    assert tries(cluster, run_id) == 2


def stop_workers(cluster: Cluster, *, with_children: bool = False) -> None:
    for worker in WORKERS:
        cluster.ask_to_stop(worker, with_children=with_children)
    for worker in WORKERS:
        cluster.wait_for_end(worker)


def start_workers(cluster: Cluster) -> None:
    for worker in WORKERS:
        cluster.start(worker)


def assert_all_is_recorded(cluster: Cluster, run_id: str, project_ids: list[str]) -> None:
    """Each write that arrived is in the record, and none arrived twice."""
    assert all_tagged(cluster, project_ids)
    assert writes(cluster, project_ids) == dict.fromkeys(project_ids, 1)
    change = cluster.xcom(DAG_ID, run_id, "add", "change")
    # A task that is stopped waits for its answers for two seconds only; without an answer, a write is unsettled.
    recorded = {id_: (record["complete"], record["added"] + record["unsettled"]) for id_, record in change.items()}
    assert recorded == dict.fromkeys(project_ids, (True, ["batch"]))


def test_a_task_that_is_set_to_failed_writes_no_more(cluster: Cluster, project_ids: list[str]) -> None:
    run_id = cluster.trigger(DAG_ID, {"project_ids": project_ids})
    wait_for_writes(cluster, project_ids, COUNT // 4)
    cluster.call("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/add", {"new_state": "failed"})
    assert cluster.wait_for_run(DAG_ID, run_id) == "failed"
    ids = {ti_id for (ti_id,) in cluster.rows("SELECT id::text FROM task_instance WHERE run_id = %s", run_id)}
    cluster.wait("the end of its process", lambda: process_of_task(ids) is None)
    written = writes(cluster, project_ids)
    assert len(written) < COUNT, "it did not run to its end"
    assert set(written.values()) == {1}
    tagged = {id_ for id_ in project_ids if "batch" in cluster.paperspace.paperspace.tag_names(id_)}
    assert tagged == set(written)
    assert cluster.task_states(DAG_ID, run_id) == {"add": "failed"}
