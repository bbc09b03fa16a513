"""What an import of the operators adds to a DAG file, over what other providers add."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from tests.bench.report import Report

SCRIPT = """
import json, sys, time
from airflow.sdk import DAG; DAG
before = set(sys.modules); started_s = time.perf_counter()
import {module}
took_ms = (time.perf_counter() - started_s) * 1000
print(json.dumps([took_ms, sorted({{"requests", "httpx", "aiohttp", "tenacity"}} & (set(sys.modules) - before))]))
"""
MODULES = {
    "operators.project_tags": "airflow_provider_paperspace.operators.project_tags",
    "http": "airflow.providers.http.operators.http",
    "dbt-cloud": "airflow.providers.dbt.cloud.operators.dbt",
}
ROUNDS = 5


def added(module: str) -> tuple[float, list[str]]:
    """Return the milliseconds that an import takes, and the HTTP libraries that it loads."""
    command = [sys.executable, "-c", SCRIPT.format(module=module)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    took_ms, loaded = json.loads(run.stdout.splitlines()[-1])
    return took_ms, loaded


def measure(report: Report) -> None:
    runs = {name: [] for name in MODULES}  # type: dict[str, list[float]]
    libraries: dict[str, list[str]] = {}
    for _ in range(ROUNDS):
        for name, module in MODULES.items():
            took_ms, libraries[name] = added(module)
            runs[name].append(took_ms)
    medians = {name: statistics.median(times) for name, times in runs.items()}
    others = ", ".join(f"{name} {medians[name]:.0f} ms" for name in ("http", "dbt-cloud"))
    report.row("import the operators", f"{medians['operators.project_tags']:.1f} ms", others, aim="25 ms")
    ours = libraries["operators.project_tags"]
    report.row(
        "HTTP libraries that they load", ", ".join(ours) or "none", f"http {', '.join(libraries['http'])}", aim="none"
    )
