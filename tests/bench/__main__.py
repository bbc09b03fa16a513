"""Run every benchmark: ``make bench``."""

from __future__ import annotations

import os
import tempfile

with tempfile.TemporaryDirectory(prefix="airflow-home-") as home:
    # Airflow reads its settings when it is imported.
    os.environ["AIRFLOW_HOME"] = home
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
    # It warns when an operator is run without a task around it, in the middle of the table.
    os.environ["AIRFLOW__LOGGING__NAMESPACE_LEVELS"] = "airflow.task.operators=ERROR"

    from tests.bench import imports, listing, many_projects, mapped_tasks, waiting
    from tests.bench.report import Report

    report = Report()
    listing.measure(report)
    listing.measure_memory(report)
    many_projects.measure(report)
    many_projects.measure_requests(report)
    many_projects.measure_memory(report)
    many_projects.measure_pace(report)
    mapped_tasks.measure(report)
    imports.measure(report)
    waiting.measure(report)
