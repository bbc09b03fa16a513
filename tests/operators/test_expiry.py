"""Tags that are written to expire."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator
from airflow_provider_paperspace.operators.run_instant import run_instant
from tests.operators.task import RUN_AT, Task, names

pytestmark = pytest.mark.usefixtures("connection")


@pytest.mark.parametrize(
    ("expiry", "name"),
    [
        ({"expires_in": timedelta(days=7)}, "gpu-demo@2026-12-01"),
        ({"expires_in": timedelta(hours=9)}, "gpu-demo@2026-11-25"),
        ({"expires_in": timedelta(0)}, "gpu-demo@2026-11-24"),
        ({"expires_on": date(2026, 12, 1)}, "gpu-demo@2026-12-01"),
        ({"expires_on": " 2026-12-01 "}, "gpu-demo@2026-12-01"),
        ({"expires_on": datetime.fromisoformat("2026-12-01T23:30:00-05:00")}, "gpu-demo@2026-12-02"),
        ({}, "gpu-demo"),
    ],
)
def test_the_last_day_is_written_into_the_name(
    server: LocalPaperspaceServer, expiry: dict[str, Any], name: str
) -> None:
    task = Task(AddProjectTagOperator, project_id="p1", tags=["gpu-demo"], **expiry)
    assert names(task.run()) == [name]
    assert server.paperspace.tag_names("p1") == ["gpu", name]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"expires_on": "soon"}, "expires_on is 'soon', and must be a date such as 2026-12-01"),
        ({"expires_on": "20261201"}, "and must be a date"),
        ({"expires_on": 7}, "expires_on is a int"),
        ({"expires_on": datetime(2026, 12, 1)}, "no time zone"),  # noqa: DTZ001  # that is the point
        ({"expires_in": 7}, "expires_in is a int, and must be a timedelta"),
        ({"expires_in": timedelta(days=-1)}, "in the past"),
        ({"expires_on": "2026-12-01", "tags": "gpu@2026-11-30"}, "carries a date already"),
    ],
)
def test_an_expiry_that_makes_no_sense_is_refused(
    server: LocalPaperspaceServer, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(AirflowFailException, match=complaint):
        Task(AddProjectTagOperator, **{"project_id": "p1", "tags": "x", **arguments}).run()
    assert not server.requests


def test_one_expiry_is_enough() -> None:
    with pytest.raises(ValueError, match="expires_in or expires_on, not both"):
        Task(AddProjectTagOperator, project_id="p1", tags="x", expires_in=timedelta(1), expires_on="2026-12-01")


def test_a_run_stands_for_an_instant_however_late_it_runs() -> None:
    earlier, later = RUN_AT - timedelta(days=1), RUN_AT + timedelta(days=1)
    context: Any = {"data_interval_end": RUN_AT, "logical_date": earlier, "dag_run": SimpleNamespace(run_after=later)}
    assert run_instant(context) == RUN_AT
    del context["data_interval_end"]
    assert run_instant(context) == earlier
    context["logical_date"] = None
    assert run_instant(context) == later
    assert datetime.now(UTC) - run_instant({}) < timedelta(minutes=1)
