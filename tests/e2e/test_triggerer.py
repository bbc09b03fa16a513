"""Waits and events over a killed triggerer, and what clearing and marking do."""

from __future__ import annotations

from tests.e2e.cluster import Cluster
from tests.system.real_airflow import polls


def wait_for_polls(cluster: Cluster, project_id: str) -> None:
    before = polls(cluster.paperspace, project_id)
    cluster.wait(f"two polls of {project_id}", lambda: polls(cluster.paperspace, project_id) > before + 1)


def add_tag(cluster: Cluster, project_id: str, name: str) -> None:
    cluster.paperspace.paperspace.add_tag(project_id, {"name": name})


def test_a_deferred_wait_outlives_the_triggerer(cluster: Cluster) -> None:
    cluster.paperspace.paperspace.add_project("e2e-deferred", "deferred")
    run_id = cluster.trigger("e2e_deferred", {"project_id": "e2e-deferred"})
    cluster.wait_for_state("e2e_deferred", run_id, "wait", "deferred")
    wait_for_polls(cluster, "e2e-deferred")
    cluster.kill("triggerer")
    add_tag(cluster, "e2e-deferred", "go")
    assert cluster.task_states("e2e_deferred", run_id) == {"wait": "deferred"}
    cluster.start("triggerer")
    assert cluster.wait_for_run("e2e_deferred", run_id) == "success"


def test_a_tag_that_came_without_a_triggerer_starts_a_run(cluster: Cluster) -> None:
    def extras() -> list[str]:
        query = "SELECT e.extra FROM asset_event e JOIN asset a ON a.id = e.asset_id WHERE a.name = 'e2e-watched'"
        return [extra["payload"]["tag"]["name"] for (extra,) in cluster.rows(f"{query} ORDER BY e.id")]

    # The watcher polls from the start, and until now the project did not exist.
    cluster.paperspace.paperspace.add_project("e2e-watched", "watched", ["ready:before"])
    wait_for_polls(cluster, "e2e-watched")
    add_tag(cluster, "e2e-watched", "ready:1")
    cluster.wait("the first run", lambda: list(cluster.runs("e2e_watching").values()) == ["success"])
    cluster.kill("triggerer")
    add_tag(cluster, "e2e-watched", "ready:2")
    cluster.start("triggerer")
    cluster.wait("the second run", lambda: list(cluster.runs("e2e_watching").values()) == ["success"] * 2)
    # A triggerer that dies before its event counts as delivered delivers it again.
    assert list(dict.fromkeys(extras())) == ["ready:1", "ready:2"]


def test_a_cleared_run_keeps_its_lease_and_returns_it(cluster: Cluster) -> None:
    dag_id, project_id = "e2e_leased", "e2e-leased"
    cluster.paperspace.paperspace.add_project(project_id, project_id)
    run_id = cluster.trigger(dag_id, {"project_id": project_id})
    cluster.wait_for_state(dag_id, run_id, "work", "deferred")
    (lease,) = cluster.paperspace.paperspace.tag_names(project_id)
    assert lease.startswith("in-use/")

    cluster.call(
        "POST", f"/dags/{dag_id}/clearTaskInstances", {"dag_run_id": run_id, "dry_run": False, "only_failed": False}
    )
    cluster.wait_for_state(dag_id, run_id, "work", "deferred", try_number=2)
    assert cluster.paperspace.paperspace.tag_names(project_id) == [lease], "the run took it again, as the same tag"
    add_tag(cluster, project_id, "go")
    assert cluster.wait_for_run(dag_id, run_id) == "success"
    assert cluster.paperspace.paperspace.tag_names(project_id) == ["go"]
