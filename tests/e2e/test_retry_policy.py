"""A task is retried when Paperspace asks for it, and not after the task's own delay."""

from __future__ import annotations

from tests.e2e.cluster import Cluster

DAG_ID = "e2e_later"
HOUR_S = 3600


def test_a_task_comes_back_when_the_service_asks(cluster: Cluster) -> None:
    server, world = cluster.paperspace, cluster.paperspace.paperspace
    for project_id in ("one", "busy", "other", "soon", "failing"):
        world.add_project(project_id, project_id, [])
    server.fault("429", path="/one/", times=0, retry_after=HOUR_S)
    server.fault("429", path="/busy/", times=0, retry_after=2 * HOUR_S)
    server.fault("429", path="/soon/", retry_after=2)
    server.fault("500", path="/failing/", times=0)
    run_id = cluster.trigger(DAG_ID)

    waits = {"one": "up_for_retry", "many": "up_for_retry", "failing": "up_for_retry", "soon": "success"}
    cluster.wait("the tasks", lambda: cluster.task_states(DAG_ID, run_id) == waits)
    query = "SELECT task_id, retry_delay_override, retry_reason, try_number FROM task_instance WHERE run_id = %s"
    decided = {row[0]: row[1:] for row in cluster.rows(query, run_id)}
    assert decided["one"][:2] == (HOUR_S, "Paperspace asked for a wait of 3600 s")
    assert decided["many"][:2] == (2 * HOUR_S, "Paperspace asked for a wait of 7200 s"), "the wait of a project"
    assert decided["failing"][:2] == (None, None), "left to the task's own delay"
    assert decided["soon"][2] == 2, "Airflow waited two seconds, not its five minutes"
    assert len([request for request in server.requests if "/one/" in request.target]) == 1, "the hour is not over"
    assert world.tag_names("soon") == ["done"]
    assert world.tag_names("other") == [], "the batch did not start it"
    server.app.faults = []
    cluster.call("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}", {"state": "failed"})
