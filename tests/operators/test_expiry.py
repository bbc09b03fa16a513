"""Tags that are added with a last day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators._base import run_instant
from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator, _expiring_name
from airflow_provider_paperspace.rules.expiry import ExpiringName, has_unreadable_date, parse_expiring_name
from tests.operators.task import RUN_AT, Task, names

NAMES = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")) | st.sampled_from("@-0123"), min_size=1
)
PLAIN_NAMES = NAMES.filter(lambda n: n.strip() and parse_expiring_name(n) is None and not has_unreadable_date(n))


@pytest.mark.usefixtures("connection")
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
def test_the_last_day_becomes_part_of_the_name(
    server: LocalPaperspaceServer, expiry: dict[str, Any], name: str
) -> None:
    task = Task(AddProjectTagOperator, project_id="p1", tags=["gpu-demo"], **expiry)
    assert names(task.run()) == [name]
    assert server.paperspace.tag_names("p1") == ["gpu", name]


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"expires_on": "soon"}, "expires_on is 'soon'; it must be a date, such as 2026-12-01"),
        ({"expires_on": "20261201"}, "it must be a date"),
        ({"expires_on": 7}, "expires_on is an int"),
        ({"expires_on": datetime(2026, 12, 1)}, "no time zone"),  # noqa: DTZ001  # that is the point
        ({"expires_in": 7}, "expires_in is an int; it must be a timedelta"),
        ({"expires_in": timedelta(days=-1)}, "in the past"),
        ({"expires_on": "2026-12-01", "tags": "gpu@2026-11-30"}, "already has a date"),
    ],
)
def test_a_bad_expiry_is_refused_before_any_request(
    server: LocalPaperspaceServer, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(AirflowFailException, match=complaint):
        Task(AddProjectTagOperator, **{"project_id": "p1", "tags": "x", **arguments}).run()
    assert not server.requests


def test_a_task_takes_one_kind_of_expiry() -> None:
    with pytest.raises(ValueError, match="Task 'task': set expires_in or expires_on, not both"):
        Task(AddProjectTagOperator, project_id="p1", tags="x", expires_in=timedelta(1), expires_on="2026-12-01")


@given(name=PLAIN_NAMES, day=st.dates())
def test_a_name_with_a_last_day_is_read_back(name: str, day: date) -> None:
    assert parse_expiring_name(_expiring_name(name, day)) == ExpiringName(name, day)


@pytest.mark.parametrize("name", ["gpu@2026-12-01", "gpu@2026-13-01"])
def test_a_name_with_a_date_gets_no_second_one(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"The tag name '{name}' already has a date"):
        _expiring_name(name, date(2026, 12, 1))


def test_a_run_stands_for_the_same_instant_however_late() -> None:
    earlier, later = RUN_AT - timedelta(days=1), RUN_AT + timedelta(days=1)
    context: Any = {"data_interval_end": RUN_AT, "logical_date": earlier, "dag_run": SimpleNamespace(run_after=later)}
    assert run_instant(context) == RUN_AT
    del context["data_interval_end"]
    assert run_instant(context) == earlier
    context["logical_date"] = None
    assert run_instant(context) == later
    assert datetime.now(UTC) - run_instant({}) < timedelta(minutes=1)
