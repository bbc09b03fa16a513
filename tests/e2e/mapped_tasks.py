"""What one of many mapped tasks costs, over one that does nothing and over one that posts blindly.

``make bench-mapped`` prints the figures.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
from dataclasses import dataclass

from tests.e2e.cluster import WORKERS, Cluster

DAG_ID = "e2e_mapped_tasks"
KINDS = ("nothing", "add", "post")


@dataclass(frozen=True)
class Cost:
    """Medians, in seconds.

    :param task_s: from the start of the task to its end, as Airflow shows it.
    :param worker_s: how long the task has occupied the worker, with what comes before and after it.
    """

    task_s: float
    worker_s: float


def measure(cluster: Cluster) -> dict[str, Cost]:
    """Run the mapped tasks, and return what one of each kind costs."""
    world = cluster.paperspace.paperspace
    for project_id in (f"{kind}-{number}" for kind in ("mapped", "posted") for number in range(cluster.mapped_tasks)):
        world.add_project(project_id, project_id, ["gpu"])
    run_id = cluster.trigger(DAG_ID)
    assert cluster.wait_for_run(DAG_ID, run_id, timeout_s=1800) == "success"
    assert set(world.tag_names("mapped-7")) == set(world.tag_names("posted-7")) == {"gpu", "x"}

    seconds = "extract(epoch FROM end_date - start_date)::float"
    rows = cluster.rows(f"SELECT task_id, id::text, {seconds} FROM task_instance WHERE run_id = %s", run_id)  # noqa: S608
    ids = {ti_id for _, ti_id, _ in rows}
    # A task is a success before its worker has done with it.
    cluster.wait("the last line of Celery", lambda: ids <= set(_seconds_of_workers(cluster)))
    worker_s = _seconds_of_workers(cluster)
    costs = {}
    for kind in KINDS:
        of_kind = [(ti_id, task_s) for task_id, ti_id, task_s in rows if task_id == kind]
        assert len(of_kind) == cluster.mapped_tasks
        costs[kind] = Cost(
            statistics.median(task_s for _, task_s in of_kind),
            statistics.median(worker_s[ti_id] for ti_id, _ in of_kind),
        )
    return costs


def _seconds_of_workers(cluster: Cluster) -> dict[str, float]:
    """Return how long each task instance has occupied a worker, which Celery logs."""
    output = "".join(map(cluster.output, WORKERS))
    messages = dict(
        re.findall(r"\[([0-9a-f-]{36})\] Executing workload.*?TaskInstanceDTO\(id=UUID\('([0-9a-f-]{36})'", output)
    )
    seconds = re.findall(r"Task execute_workload\[([0-9a-f-]{36})\] succeeded in ([\d.]+)s", output)
    return {messages[message]: float(took) for message, took in seconds}


def rates(costs: dict[str, Cost], other: str) -> tuple[float, float]:
    """Return how many tags are added in the time of one task of another kind: by the task, and by the worker."""
    ours, theirs = costs["add"], costs[other]
    return theirs.task_s / ours.task_s, theirs.worker_s / ours.worker_s


def report(costs: dict[str, Cost]) -> str:
    """Return the figures as a table."""
    lines = ["Mapped tasks of three kinds, side by side: medians", f"{'':10}{'task':>10}{'worker':>10}"]
    lines += [f"{kind:10}{cost.task_s * 1e3:>7.0f} ms{cost.worker_s * 1e3:>7.0f} ms" for kind, cost in costs.items()]
    for other, aim in (("nothing", 0.95), ("post", 1.2)):
        by_task, by_worker = rates(costs, other)
        lines.append(f"rate of add over {other}: {by_task:.2f} by the task, {by_worker:.2f} by the worker; aim {aim}")
    return "\n".join(lines)


if __name__ == "__main__":
    # What is measured must not be compiled again and again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with Cluster(mapped_tasks=int(sys.argv[1]) if sys.argv[1:] else 200) as cluster:
        print(report(measure(cluster)))
