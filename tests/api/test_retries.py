"""The retry rules, as tables: what is sent again, and after how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api._retries import backoff_s, may_resend, parse_retry_after, verdict, wait_s

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        ("GET", 200, "ok"),
        ("GET", None, "retry"),
        ("GET", 408, "retry"),
        ("GET", 429, "retry"),
        ("GET", 500, "retry"),
        ("GET", 502, "retry"),
        ("GET", 503, "retry"),
        ("GET", 504, "retry"),
        ("GET", 501, "raise"),
        ("GET", 302, "raise"),
        ("GET", 400, "raise"),
        ("GET", 401, "raise"),
        ("GET", 403, "raise"),
        ("GET", 404, "raise"),
        ("GET", 409, "raise"),
        ("GET", 413, "raise"),
        *[
            (method, status, expected)
            for method in ("POST", "DELETE")
            for status, expected in [
                (200, "ok"),
                (201, "ok"),
                (None, "read first"),
                (404, "read first"),
                (408, "read first"),
                (409, "read first"),
                (500, "read first"),
                (501, "read first"),
                (502, "read first"),
                (503, "read first"),
                (504, "read first"),
                (429, "retry"),
                (302, "raise"),
                (400, "raise"),
                (401, "raise"),
                (403, "raise"),
                (405, "raise"),
                (413, "raise"),
                (422, "raise"),
            ]
        ],
    ],
)
def test_each_answer_has_its_verdict(method: str, status: int | None, expected: str) -> None:
    assert verdict(method, status) == expected


@pytest.mark.parametrize(
    ("method", "status", "retry_after_s", "expected"),
    [
        *[("GET", status, 120.0, "retry") for status in (408, 429, 500, 502, 503, 504)],
        *[("GET", status, 121.0, "raise") for status in (408, 429, 500, 502, 503, 504)],
        ("GET", 200, 121.0, "ok"),
        ("GET", 404, 121.0, "raise"),
        *[
            (method, status, seconds, expected)
            for method in ("POST", "DELETE")
            for status, seconds, expected in [
                (429, 120.0, "retry"),
                (429, 121.0, "raise"),
                (503, 121.0, "read first"),
                (404, 121.0, "read first"),
            ]
        ],
    ],
)
def test_no_client_sits_out_a_long_wait(method: str, status: int, retry_after_s: float, expected: str) -> None:
    assert verdict(method, status, retry_after_s) == expected


@pytest.mark.parametrize(
    ("status", "may"),
    [
        (None, True),
        (408, True),
        (500, True),
        (502, True),
        (503, True),
        (504, True),
        (404, False),
        (409, False),
        (501, False),
    ],
)
def test_a_write_is_resent_only_after_a_transient_answer(status: int | None, may: bool) -> None:
    assert may_resend(status) is may


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "86401"}, 86_400.0),
        ({"retry-after": "9" * 400}, 86_400.0),
        ({"retry-after": "Mon, 02 Mar 9999 12:01:00 GMT"}, 86_400.0),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=30), usegmt=True)}, 30.0),
        ({"retry-after": format_datetime(NOW - timedelta(days=1), usegmt=True)}, 0.0),
        ({"retry-after": "Mon, 02 Mar 2026 12:01:00 -0000"}, 60.0),
        ({"retry-after": "Mon, 02 Mar 99999 12:01:00 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(headers, NOW) == seconds


def test_a_date_counts_from_the_clock_of_the_server() -> None:
    headers = {
        "retry-after": format_datetime(NOW + timedelta(hours=1, seconds=5), usegmt=True),
        "date": format_datetime(NOW + timedelta(hours=1), usegmt=True),
    }
    assert parse_retry_after(headers, NOW) == 5.0


@given(st.integers(1, 10_000), st.one_of(st.none(), st.floats(0, 1e12)), st.floats(0, 1))
def test_no_wait_exceeds_the_caps(failures: int, retry_after_s: float | None, fraction: float) -> None:
    pause = wait_s(failures, retry_after_s, fraction)
    assert 0 <= pause <= (30.0 if retry_after_s is None else min(retry_after_s, 120.0))


def test_the_backoff_doubles_up_to_its_cap() -> None:
    assert [wait_s(failures, None, 1.0) for failures in (1, 2, 3, 4, 7, 8)] == [0.5, 1, 2, 4, 30, 30]
    assert [backoff_s(failures, 0.5) for failures in (1, 2, 8)] == [0.25, 0.5, 15]
