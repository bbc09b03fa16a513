"""Many projects in one task, over one mapped task instance per project, in runs of ``dag.test()``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.many_projects import IDS, LATENCY_MS, seed
from tests.bench.report import Report
from tests.bench.server import API_KEY, BenchServer, bench_server

DAGS = Path(__file__).parent / "dags"
AGAINST = {"mapped": "AddProjectTagOperator", "http": "HttpOperator (POST only, no read)"}


def environment(server: BenchServer) -> dict[str, str]:
    bundle = {
        "name": "bench",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(DAGS)},
    }
    http = {"conn_type": "http", "host": server.url, "extra": {"Authorization": f"Bearer {API_KEY}"}}
    return {
        **os.environ,
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Airflow 3 runs a DAG only from a configured bundle.
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW_CONN_PAPERSPACE_DEFAULT": server.connection(),
        "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps(http),
    }


def seconds_per_project(kind: str, project_ids: Sequence[str], *, tasks: int, requests: int) -> float:
    with bench_server(seed(project_ids), latency_ms=LATENCY_MS) as server:
        env = environment(server) | {"BENCH_KIND": kind, "BENCH_PROJECT_IDS": ",".join(project_ids)}
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=env, check=True, capture_output=True)
        command = [sys.executable, str(DAGS / "mapped_tasks.py")]
        run = subprocess.run(command, env=env, capture_output=True, text=True)  # noqa: S603
        assert run.returncode == 0, run.stdout + run.stderr
        result = json.loads(run.stdout.splitlines()[-1])
        assert (result["state"], result["tasks"], server.request_count()) == ("success", tasks, requests), run.stdout
    seconds: float = result["seconds"]
    return seconds / len(project_ids)


def measure(report: Report) -> None:
    ours = seconds_per_project("one_task", IDS, tasks=1, requests=2 * len(IDS))
    for kind, requests in (("mapped", 2), ("http", 1)):
        theirs = seconds_per_project(kind, IDS, tasks=len(IDS), requests=requests * len(IDS))
        against = f"{theirs * 1e3:.0f} ms, over {len(IDS):,} mapped {AGAINST[kind]}, one by one"
        report.row(
            f"time per project, {len(IDS):,} in one task",
            f"{ours * 1e3:.1f} ms",
            against,
            ratio=ours / theirs,
            aim="< 1",
        )
