"""Tags that carry their last day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.rules.expiry import ExpiringName, has_unreadable_date, parse_expiring_name

DAY = date(2026, 12, 1)
NAMES = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")) | st.sampled_from("@-0123"), min_size=1
)
PLAIN_NAMES = NAMES.filter(lambda n: n.strip() and parse_expiring_name(n) is None and not has_unreadable_date(n))


@given(name=PLAIN_NAMES, day=st.dates())
def test_a_name_that_is_written_is_read_back(name: str, day: date) -> None:
    assert parse_expiring_name(str(ExpiringName(name, day))) == ExpiringName(name, day)


@given(name=NAMES)
def test_a_date_is_readable_or_unreadable_or_missing(name: str) -> None:
    expiring = parse_expiring_name(name)
    assert expiring is None or not has_unreadable_date(name)
    assert expiring is None or str(expiring) == name


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("gpu-demo@2026-12-01", "gpu-demo"),
        ("ada@example.org@2026-12-01", "ada@example.org"),
        ("@@2026-12-01", "@"),
        ("2026-12-01@2026-12-01", "2026-12-01"),
        ("a b @2026-12-01", "a b "),
    ],
)
def test_the_date_follows_the_last_separator(name: str, base: str) -> None:
    assert parse_expiring_name(name) == ExpiringName(base, DAY)


@pytest.mark.parametrize(
    "name",
    [
        "gpu",
        "gpu@",
        "ada@example.org",
        "model@v2",
        "m@1.2.3",
        "m@12",
        "2026-12-01",
        "gpu@2026",
    ],
)
def test_a_name_without_a_date_never_expires(name: str) -> None:
    assert parse_expiring_name(name) is None
    assert not has_unreadable_date(name)


@pytest.mark.parametrize(
    "name",
    [
        "gpu@2026-13-01",
        "gpu@2026-02-30",
        "gpu@2026-1-5",
        "gpu@2026/12/01",
        "gpu@2026.12.01",
        "gpu@01-12-2026",
        "gpu@1/12/2026",
        "gpu@20261201",
        "gpu@2026-12",
        "gpu@ 2026-12-01",
        "gpu@2026-12-01 ",
        "gpu@2026-12-01T00:00",
        "gpu@2026-12-01x",
        "@2026-12-01",
        " @2026-12-01",
    ],
)
def test_an_invalid_date_is_unreadable(name: str) -> None:
    assert parse_expiring_name(name) is None
    assert has_unreadable_date(name)


@pytest.mark.parametrize(
    ("now", "expired"),
    [
        (datetime(2026, 11, 30, 23, 59, tzinfo=UTC), False),
        (datetime(2026, 12, 1, 0, 0, tzinfo=UTC), False),
        (datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2026, 12, 2, 0, 0, tzinfo=UTC), True),
        (datetime(2026, 12, 2, 1, 0, tzinfo=timezone(timedelta(hours=5))), False),
        (datetime(2026, 12, 1, 23, 0, tzinfo=timezone(timedelta(hours=-5))), True),
    ],
)
def test_a_tag_holds_through_its_last_day_in_utc(now: datetime, expired: bool) -> None:
    assert ExpiringName("gpu", DAY).has_expired(now) is expired
