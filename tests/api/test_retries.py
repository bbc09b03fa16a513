from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import Retrying

from airflow_provider_paperspace.api import messages, retries
from airflow_provider_paperspace.api.errors import TransportError
from airflow_provider_paperspace.api.messages import Request, Response

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
GET = messages.list_tags("p", after=None, order="desc", page_size=120)
POST = messages.add_tag("p", "gpu")


@pytest.mark.parametrize(
    ("method", "status", "verdict"),
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
            (method, status, verdict)
            for method in ("POST", "DELETE")
            for status, verdict in [
                (200, "ok"),
                (201, "ok"),
                (None, "read first"),
                (404, "read first"),
                (408, "read first"),
                (409, "read first"),
                (500, "read first"),
                (501, "read first"),
                (503, "read first"),
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
def test_each_answer_has_its_verdict(method: Any, status: int | None, verdict: str) -> None:
    assert retries.verdict(method, status) == verdict


@pytest.mark.parametrize(
    ("status", "may"),
    [(None, True), (408, True), (500, True), (503, True), (404, False), (409, False), (501, False)],
)
def test_a_write_is_repeated_only_after_what_may_pass(status: int | None, may: bool) -> None:
    assert retries.may_repeat(status) is may


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
        ({"retry-after": "9" * 400}, 120.0),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=30), usegmt=True)}, 30.0),
        ({"retry-after": format_datetime(NOW - timedelta(days=1), usegmt=True)}, 0.0),
        ({"retry-after": "Mon, 02 Mar 2026 12:01:00 -0000"}, 60.0),
        ({"retry-after": "Mon, 02 Mar 99999 12:01:00 GMT"}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retries.retry_after_s(headers, NOW) == seconds


def test_a_date_counts_from_the_servers_own_clock_where_it_tells_it() -> None:
    headers = {
        "retry-after": format_datetime(NOW + timedelta(hours=1, seconds=5), usegmt=True),
        "date": format_datetime(NOW + timedelta(hours=1), usegmt=True),
    }
    assert retries.retry_after_s(headers, NOW) == 5.0


@given(st.integers(1, 10_000), st.one_of(st.none(), st.floats(0, 1e12)), st.floats(0, 1))
def test_no_wait_is_longer_than_what_was_asked_nor_than_the_caps(
    failures: int, asked_s: float | None, fraction: float
) -> None:
    pause = retries.wait_s(failures, asked_s, fraction)
    assert 0 <= pause <= (30.0 if asked_s is None else min(asked_s, 120.0))


def test_the_backoff_doubles_up_to_its_cap() -> None:
    assert [retries.wait_s(failures, None, 1.0) for failures in (1, 2, 3, 4, 7, 8)] == [0.5, 1, 2, 4, 30, 30]


def test_a_message_says_when_less_is_waited_than_was_asked() -> None:
    assert retries.asked_for(3) == "the service asks for 3 s"
    assert retries.asked_for(3600) == "the service asks for 3600 s, of which at most 120 s are waited"


class Sending:
    """Answers each attempt in turn and notes what was slept."""

    def __init__(self, *answers: int | TransportError | Response) -> None:
        self.answers = list(answers)
        self.slept: list[float] = []

    def __call__(self, request: Request) -> Response:
        answer = self.answers.pop(0)
        if isinstance(answer, TransportError):
            raise answer
        return answer if isinstance(answer, Response) else Response(answer, {}, b"")

    def run(self, request: Request, max_attempts: int = 3) -> tuple[Response, int]:
        retrying = Retrying(**retries.retrying_options(request, max_attempts, self.slept.append))
        return retrying(self, request), retrying.statistics["attempt_number"]


def test_a_read_is_sent_again_until_the_service_is_back(caplog: pytest.LogCaptureFixture) -> None:
    sending = Sending(TransportError("reset"), 503, 200)
    response, attempts = sending.run(GET)
    assert (response.status, attempts, len(sending.slept)) == (200, 3, 2)
    assert "Project 'p': could not list its tags, reset; attempt 2 follows in" in caplog.text
    assert "Project 'p': could not list its tags, status 503; attempt 3 follows in" in caplog.text


def test_the_last_answer_comes_out_when_the_attempts_are_used_up() -> None:
    sending = Sending(503, 503, 502)
    assert sending.run(GET)[0].status == 502
    assert len(sending.slept) == 2


def test_the_last_error_comes_out_when_no_answer_ever_came() -> None:
    last = TransportError("reset again")
    with pytest.raises(TransportError) as caught:
        Sending(TransportError("reset"), 500, last).run(GET)
    assert caught.value is last


def test_a_write_that_got_no_answer_is_not_sent_again_blindly() -> None:
    sending = Sending(TransportError("reset"))
    with pytest.raises(TransportError, match="reset"):
        sending.run(POST)
    assert Sending(503).run(POST)[0].status == 503
    assert not sending.slept


def test_a_write_that_was_turned_away_for_the_rate_is_sent_again_after_what_was_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sending = Sending(Response(429, {}, b"", retry_after_s=3600.0), Response(429, {}, b"", retry_after_s=4.0), 200)
    assert sending.run(POST)[0].status == 200
    assert sending.slept == [120.0, 4.0]
    assert "status 429 (the service asks for 3600 s, of which at most 120 s are waited); attempt 2" in caplog.text


def test_no_attempt_begins_when_the_wait_would_pass_the_total_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_TOTAL_S", 100.0)
    sending = Sending(Response(503, {}, b"", retry_after_s=101.0))
    assert sending.run(GET)[0].status == 503
    assert not sending.slept


def test_another_kind_of_error_is_not_for_retries() -> None:
    def broken(request: Request) -> Response:
        raise KeyError(request.subject)

    with pytest.raises(KeyError):
        Retrying(**retries.retrying_options(GET, 3, lambda seconds: None))(broken, GET)


def test_a_first_write_does_not_wait_and_a_further_one_says_why_it_does(caplog: pytest.LogCaptureFixture) -> None:
    from dataclasses import replace

    assert retries.pause_before(POST) == 0.0
    again = replace(POST, attempt=2, retry_after_s=5.0, because="the service answered 503")
    assert retries.pause_before(again) == 5.0
    assert "could not add tag 'gpu', the service answered 503 (the service asks for 5 s); attempt 2" in caplog.text
