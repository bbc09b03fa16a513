"""Run every benchmark: ``make bench``."""

from __future__ import annotations

import os
import tempfile

with tempfile.TemporaryDirectory(prefix="airflow-home-") as home:
    # Airflow reads its settings when it is imported.
    os.environ["AIRFLOW_HOME"] = home
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"

    from tests.bench import imports, listing
    from tests.bench.report import Report

    report = Report()
    listing.measure(report)
    listing.measure_memory(report)
    imports.measure(report)
