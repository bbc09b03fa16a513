"""A thousand waits in one event loop, as in a triggerer, over as many deferred ``HttpSensor``."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass

from tests.bench.report import Report
from tests.bench.server import API_KEY, BenchServer, bench_server
from tests.bench.triggerer import POKE_INTERVAL_S, WAITS

SECONDS = 120
SEED = {"projects": [{"id": f"p{i}", "tags": ["draft"]} for i in range(WAITS)]}


@dataclass(frozen=True)
class Cost:
    """What the triggers cost.

    :param cpu: share of one core.
    :param peak: bytes.
    :param growth: bytes, over the process before it loaded the triggers.
    :param late_s: how many seconds each poll started after it was due.
    """

    cpu: float
    peak: int
    growth: int
    late_s: list[float]
    requests: int


def http_connection(server: BenchServer) -> str:
    return json.dumps({"conn_type": "http", "host": server.url, "extra": {"Authorization": f"Bearer {API_KEY}"}})


def cost_of(triggers: str) -> Cost:
    with bench_server(SEED, latency_ms=20) as server:
        settings = {
            # HttpSensorTrigger logs a warning for every 404, which would count.
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW_CONN_PAPERSPACE_DEFAULT": server.connection(),
            "AIRFLOW_CONN_HTTP_DEFAULT": http_connection(server),
        }
        command = [sys.executable, "-m", "tests.bench.triggerer", triggers, str(SECONDS)]
        run = subprocess.run(  # noqa: S603
            command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **settings}
        )
        return Cost(**json.loads(run.stdout.splitlines()[-1]), requests=server.request_count())


def measure(report: Report) -> None:
    many, one, http = (cost_of(triggers) for triggers in ("many projects", "one project", "http"))
    compare(report, f"{WAITS:,} waits on {WAITS:,} projects", many, http, projects=WAITS, cpu_aim=0.8)
    late_ms = 1000 * statistics.quantiles(many.late_s, n=100)[98]
    due = "due one interval, jitter included, after the last one started"
    report.row(f"{WAITS:,} waits on {WAITS:,} projects: polls late, p99", f"{late_ms:.1f} ms", due)
    compare(report, f"{WAITS:,} waits on one project", one, http, projects=1, cpu_aim=0.1)


def compare(report: Report, name: str, ours: Cost, http: Cost, *, projects: int, cpu_aim: float) -> None:
    against = f"HttpSensor {http.cpu:.1%}"
    report.row(f"{name}: CPU", f"{ours.cpu:.1%} of a core", against, ratio=ours.cpu / http.cpu, aim=cpu_aim)
    against = f"HttpSensor {http.peak / 1e6:.0f} MB"
    report.row(f"{name}: peak memory", f"{ours.peak / 1e6:.0f} MB", against, ratio=ours.peak / http.peak, aim=1)
    against = f"HttpSensor {http.growth / 1e6:.1f} MB; libraries included"
    ratio = ours.growth / http.growth
    report.row(f"{name}: memory added", f"{ours.growth / 1e6:.1f} MB", against, ratio=ratio, aim=1)
    against = f"HttpSensor {http.requests / WAITS:.1f}; {SECONDS} s at an interval of {POKE_INTERVAL_S} s"
    aim = f"{SECONDS / POKE_INTERVAL_S:.0f}"
    report.row(f"{name}: polls per project", f"{ours.requests / projects:.1f}", against, aim=aim)
