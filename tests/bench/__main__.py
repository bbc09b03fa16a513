"""Run the benchmarks: ``make bench``, or ``python -m tests.bench NAME...`` for some of them."""

from __future__ import annotations

import os
import sys
import tempfile

# What is measured must not be compiled again and again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

with tempfile.TemporaryDirectory(prefix="airflow-home-") as home:
    # Airflow reads its settings when it is imported.
    os.environ["AIRFLOW_HOME"] = home
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
    # It warns in the middle of the table when an operator runs without a task around it.
    os.environ["AIRFLOW__LOGGING__NAMESPACE_LEVELS"] = "airflow.task.operators=ERROR"

    from tests.bench import async_client, imports, listing, many_projects, mapped_tasks, waiting
    from tests.bench.report import Report

    benchmarks = {
        "listing": [listing.measure, listing.measure_memory],
        "async_client": [async_client.measure],
        "many_projects": [
            many_projects.measure,
            many_projects.measure_requests,
            many_projects.measure_memory,
            many_projects.measure_rate_limit,
        ],
        "mapped_tasks": [mapped_tasks.measure],
        "imports": [imports.measure],
        "waiting": [waiting.measure],
    }
    report = Report()
    for name in sys.argv[1:] or benchmarks:
        for measure in benchmarks[name]:
            measure(report)
