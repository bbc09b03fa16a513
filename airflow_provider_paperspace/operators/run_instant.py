"""The instant that a run stands for, which is the same however late it runs and however often it is tried."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context


def run_instant(context: Context) -> datetime:
    """Give the end of the run's data interval, or else its logical date, or when it was asked for, or now."""
    dag_run = context.get("dag_run")
    candidates = (
        context.get("data_interval_end"),
        context.get("logical_date"),
        getattr(dag_run, "run_after", None),
        datetime.now(UTC),
    )
    return next(instant for instant in candidates if instant is not None)
