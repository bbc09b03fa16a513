"""The clock of the operators stands still: two hours after their run was due."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.operators.task import RUN_AT

NOW = RUN_AT + timedelta(hours=2)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("_base", "project_tags", "clean_up"):
        monkeypatch.setattr(f"airflow_provider_paperspace.operators.{module}.utc_now", lambda: NOW)
