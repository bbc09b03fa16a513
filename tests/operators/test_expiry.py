"""Tags that are added with a last day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.utils.types import DagRunType
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators._base import run_instant, utc_now
from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator, _expiring_name
from airflow_provider_paperspace.rules.expiry import ExpiringName, has_unreadable_date, parse_expiring_name
from tests.operators.task import RUN_AT, Task, names, rendered, writes

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
        ({"expires_in": timedelta(minutes=1)}, "gpu-demo@2026-11-24"),
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
        ({"expires_in": timedelta(days=-1)}, "expires_in is -1 day, 0:00:00; it must be longer than 0"),
        ({"expires_in": timedelta.max}, "ends after the year 9999"),
        ({"expires_on": "2026-12-01", "tags": "gpu@2026-11-30"}, "already has a date"),
        ({"expires_on": "2026-11-23"}, "expires_on ends on 2026-11-23, which is in the past"),
    ],
)
def test_a_bad_expiry_is_refused_before_any_request(
    server: LocalPaperspaceServer, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{complaint}"):
        Task(AddProjectTagOperator, **{"project_id": "p1", "tags": "x", **arguments}).run()
    if "expires_on" in arguments:
        task = rendered(AddProjectTagOperator, "expires_on", 1, project_id="p1", tags="x")
        task.operator.expires_on, task.operator.tags = arguments["expires_on"], arguments.get("tags", "x")
        with pytest.raises(AirflowFailException, match=f"^Task 'task': .*{complaint}"):
            task.run()
    assert not server.requests


def test_a_task_takes_one_kind_of_expiry() -> None:
    with pytest.raises(ValueError, match="Task 'task': set expires_in or expires_on, not both"):
        Task(AddProjectTagOperator, project_id="p1", tags="x", expires_in=timedelta(1), expires_on="2026-12-01")


@given(name=PLAIN_NAMES, day=st.dates())
def test_a_name_with_a_last_day_is_read_back(name: str, day: date) -> None:
    assert parse_expiring_name(str(_expiring_name(name, day))) == ExpiringName(name, day)


@pytest.mark.parametrize("name", ["gpu@2026-12-01", "gpu@2026-13-01"])
def test_a_name_with_a_date_gets_no_second_one(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"The tag name '{name}' already has a date"):
        _expiring_name(name, date(2026, 12, 1))


END, DUE, LOGICAL = RUN_AT, RUN_AT + timedelta(days=1), RUN_AT - timedelta(days=31)
TYPES = {
    "scheduled": "scheduled",
    "backfill": "backfill",
    "manual": "manual",
    "asset_triggered": "asset_triggered",
    "dataset_triggered": "dataset_triggered",
    "operator_triggered": "operator_triggered",
}


@pytest.mark.parametrize(
    ("run_type", "interval_end", "run_after", "logical_date", "instant"),
    [
        *[(kind, END, DUE, LOGICAL, END) for kind in ("scheduled", "backfill", None)],
        *[(kind, END, None, LOGICAL, END) for kind in ("scheduled", "backfill", None)],
        *[(kind, None, DUE, None, DUE) for kind in (*TYPES, None)],
        *[(kind, None, None, LOGICAL, LOGICAL) for kind in (*TYPES, None)],
        *[(kind, END, DUE, LOGICAL, DUE) for kind in list(TYPES)[2:]],
        *[(kind, END, DUE, None, DUE) for kind in list(TYPES)[2:]],
        *[(kind, END, None, LOGICAL, LOGICAL) for kind in list(TYPES)[2:]],
        *[(kind, END, None, None, END) for kind in list(TYPES)[2:]],
    ],
)
def test_a_run_stands_for_one_instant_by_its_type(
    run_type: Any, interval_end: Any, run_after: Any, logical_date: Any, instant: datetime
) -> None:
    context: Any = {
        "dag_run": SimpleNamespace(run_type=run_type, run_after=run_after),
        "data_interval_end": interval_end,
        "logical_date": logical_date,
    }
    assert run_instant(context) == instant
    if isinstance(run_type, str) and run_type in {kind.value for kind in DagRunType}:
        context["dag_run"].run_type = DagRunType(run_type)
        assert run_instant(context) == instant, "the run's type is an enum's member"


def test_a_run_of_nothing_stands_for_now() -> None:
    assert run_instant({}) == RUN_AT + timedelta(hours=2)


def test_the_clock_of_the_operators_is_the_real_one() -> None:
    before = datetime.now(UTC)
    assert before <= utc_now() <= datetime.now(UTC)


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("run_type", list(TYPES)[2:])
@pytest.mark.parametrize("logical_date", [None, RUN_AT])
def test_a_manual_run_of_a_monthly_dag_expires_in_the_future(run_type: str, logical_date: datetime | None) -> None:
    run = {"run_type": run_type, "run_after": RUN_AT}
    task = Task(
        AddProjectTagOperator,
        at=datetime(2026, 11, 1, tzinfo=UTC),  # the end of the last month's interval
        dag_run=run,
        project_id="p1",
        tags="demo",
        expires_in=timedelta(days=7),
    )
    task.context["logical_date"] = logical_date
    assert names(task.run()) == ["demo@2026-12-01"]


@pytest.mark.usefixtures("connection")
def test_a_run_whose_expiry_is_over_writes_nothing(server: LocalPaperspaceServer) -> None:
    task = Task(
        AddProjectTagOperator,
        at=datetime(2026, 11, 1, tzinfo=UTC),
        project_id="p1",
        tags="demo",
        expires_in=timedelta(days=7),
    )
    with pytest.raises(AirflowFailException, match="Task 'task': expires_in ends on 2026-11-08, which is in the past"):
        task.run()
    assert not server.requests


@pytest.mark.usefixtures("connection")
def test_an_expiry_of_today_is_written(server: LocalPaperspaceServer) -> None:
    assert names(Task(AddProjectTagOperator, project_id="p1", tags="x", expires_on="2026-11-24").run()) == [
        "x@2026-11-24"
    ]


def on_p1(server: LocalPaperspaceServer, *tags: str) -> None:
    server.reset(seed={"projects": [{"id": "p1", "tags": list(tags)}, {"id": "p2", "tags": list(tags)}]})


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(
    ("there", "renew", "left"),
    [
        ([], True, ["gpu@2026-12-08"]),
        (["gpu@2026-12-01"], True, ["gpu@2026-12-08"]),
        (["gpu@2026-12-01"], False, ["gpu@2026-12-01", "gpu@2026-12-08"]),
        (["gpu@2025-01-01", "gpu@2026-12-07"], True, ["gpu@2026-12-08"]),
        (["gpu@2026-12-08"], True, ["gpu@2026-12-08"]),
        (["gpu@2026-12-09"], True, ["gpu@2026-12-09", "gpu@2026-12-08"]),
        (["gpu", "cpu@2026-12-01", "gpu@soon", "GPU@2026-12-01"], True, None),
        (["a@gpu@2026-12-01", "gpu@2026-13-01"], True, None),
    ],
)
def test_a_renewal_replaces_earlier_marks_of_the_name_alone(
    server: LocalPaperspaceServer, there: list[str], renew: bool, left: list[str] | None
) -> None:
    on_p1(server, *there)
    task = Task(AddProjectTagOperator, project_id="p1", tags="gpu", expires_on="2026-12-08", renew=renew)
    assert names(task.run()) == ["gpu@2026-12-08"]
    assert server.paperspace.tag_names("p1") == (left or [*there, "gpu@2026-12-08"])


@pytest.mark.usefixtures("connection")
def test_a_renewal_adds_before_it_removes_on_each_project(server: LocalPaperspaceServer) -> None:
    on_p1(server, "gpu@2026-12-01")
    arguments = {"project_ids": ["p1", "p2"], "tags": "gpu", "expires_on": "2026-12-08", "renew": True}
    task = Task(AddProjectTagOperator, **arguments, max_concurrency=1)
    task.run()
    assert [write.split("?")[0] for write in writes(server)] == [
        f"{method} /projects/{id_}/tags" for id_ in ("p1", "p2") for method in ("POST", "DELETE")
    ]
    assert task.pushed["change"]["p2"]["removed"] == ["gpu@2026-12-01"], "an undo brings it back"
    server.app.requests.clear()
    Task(AddProjectTagOperator, **arguments).run()
    assert not writes(server), "a second renewal changes nothing"


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(
    ("there", "renew", "line"),
    [
        ("gpu@2026-12-01", False, "'gpu@2026-12-01'. To replace earlier ones, set renew=True"),
        ("gpu@2026-12-09", True, "'gpu@2026-12-09'"),
    ],
)
def test_marks_that_stay_are_logged(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, there: str, renew: bool, line: str
) -> None:
    on_p1(server, there)
    Task(AddProjectTagOperator, project_id="p1", tags="gpu", expires_on="2026-12-08", renew=renew).run()
    logged = [record.getMessage() for record in caplog.records]
    assert f"Project 'p1': tags that differ only in their last day stay: {line}" in logged


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"renew": True}, "renew needs expires_in or expires_on"), ({"renew": None}, "renew is None; it must be True or")],
)
def test_a_renewal_without_a_day_is_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^Task 'task': {complaint}"):
        Task(AddProjectTagOperator, project_id="p1", tags="gpu", **arguments)
