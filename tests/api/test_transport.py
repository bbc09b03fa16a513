"""What both clients do around a socket: retries, waits, limits on an answer, and words for a lost one."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tenacity import Retrying

from airflow_provider_paperspace.api import _retries, _transport
from airflow_provider_paperspace.api._messages import Request, Response
from airflow_provider_paperspace.api._transport import (
    Exchange,
    content_headers,
    pause_before,
    retry_options,
    settled,
    should_retry,
)
from airflow_provider_paperspace.api.errors import StoppedError, TransportError
from airflow_provider_paperspace.api.settings import MAX_ANSWER_BYTES, ClientSettings
from tests.secret_watch import API_KEY

GET = Request("GET", "/projects/p/tags", "Project 'p'", "list its tags")
POST = Request("POST", "/projects/p/tags", "Project 'p'", "add tag 'gpu'", b'{"name": "gpu"}')
SETTINGS = ClientSettings(api_key=API_KEY, base_url="https://api.paperspace.com/v1", timeout_s=5, max_attempts=4)


class Sending:
    """Answers each attempt in turn and records what was slept."""

    def __init__(self, *answers: int | TransportError | Response) -> None:
        self.answers = list(answers)
        self.slept: list[float] = []

    def __call__(self) -> Response | TransportError:
        answer = self.answers.pop(0)
        if isinstance(answer, StoppedError):
            raise answer
        return Response(answer, {}, b"") if isinstance(answer, int) else answer

    def run(self, request: Request, max_attempts: int = 3, on_429: Callable[[float], None] | None = None) -> Response:
        retrying = Retrying(**retry_options(request, max_attempts, self.slept.append, on_429=on_429))
        outcome = retrying(self)
        assert not self.answers
        return settled(outcome, retrying.statistics["attempt_number"])


class TestRetries:
    def test_a_read_is_sent_until_the_service_is_back(self, caplog: pytest.LogCaptureFixture) -> None:
        sending = Sending(TransportError("reset"), 503, 200)
        with caplog.at_level(logging.INFO):
            response = sending.run(GET)
        assert (response.status, response.attempts, len(sending.slept)) == (200, 3, 2)
        assert "Project 'p': could not list its tags: reset; attempt 2 in" in caplog.text
        assert "Project 'p': could not list its tags: status 503; attempt 3 in" in caplog.text

    def test_the_last_answer_comes_out(self) -> None:
        sending = Sending(503, 503, 502)
        assert sending.run(GET).status == 502
        assert len(sending.slept) == 2

    def test_the_last_error_comes_out(self) -> None:
        last = TransportError("reset again")
        with pytest.raises(TransportError) as caught:
            Sending(TransportError("reset"), 500, last).run(GET)
        assert caught.value is last
        assert last.attempts == 3

    def test_one_attempt_means_no_retry(self) -> None:
        sending = Sending(503)
        assert sending.run(GET, max_attempts=1).status == 503
        assert not sending.slept

    def test_a_write_without_an_answer_is_not_sent_again(self) -> None:
        sending = Sending(TransportError("reset"))
        with pytest.raises(TransportError, match="reset"):
            sending.run(POST)
        assert not sending.slept
        sending = Sending(503)
        assert sending.run(POST).status == 503
        assert not sending.slept

    def test_a_write_is_sent_again_after_a_429(self, caplog: pytest.LogCaptureFixture) -> None:
        sending = Sending(Response(429, {}, b"", retry_after_s=120.0), Response(429, {}, b"", retry_after_s=4.0), 200)
        with caplog.at_level(logging.INFO):
            assert sending.run(POST).status == 200
        assert sending.slept == [120.0, 4.0]
        assert "status 429 (Retry-After: 120 s); attempt 2 in 120.0 s" in caplog.text

    @pytest.mark.parametrize("request_", [GET, POST])
    @pytest.mark.parametrize("before", [[], [Response(429, {}, b"", retry_after_s=4.0)]])
    def test_a_long_wait_is_not_slept(self, request_: Request, before: list[Response]) -> None:
        pauses: list[float] = []
        sending = Sending(*before, Response(429, {}, b"", retry_after_s=121.0))
        response = sending.run(request_, on_429=pauses.append)
        assert (response.status, response.retry_after_s) == (429, 121.0)
        assert sending.slept == pauses == [4.0] * len(before), "nor does it hold the other requests"

    def test_a_shared_pause_takes_over_after_a_429(self, caplog: pytest.LogCaptureFixture) -> None:
        pauses: list[float] = []
        sending = Sending(Response(429, {}, b"", retry_after_s=4.0), 503, 200)
        with caplog.at_level(logging.INFO):
            assert sending.run(GET, on_429=pauses.append).status == 200
        assert pauses == [4.0]
        assert sending.slept[0] == 4.0
        assert "429" not in caplog.text, "the rate limiter logs it"
        assert "status 503; attempt 3 in" in caplog.text

    def test_a_stop_is_not_retried(self) -> None:
        sending = Sending(StoppedError("the client was stopped"))
        with pytest.raises(StoppedError):
            sending.run(GET)
        assert not sending.slept

    def test_no_attempt_starts_after_the_total_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_retries, "MAX_TOTAL_S", 100.0)
        sending = Sending(Response(503, {}, b"", retry_after_s=101.0))
        assert sending.run(GET).status == 503
        assert not sending.slept

    def test_any_other_error_is_not_retried(self) -> None:
        calls = 0

        def broken() -> Response:
            nonlocal calls
            calls += 1
            raise KeyError

        with pytest.raises(KeyError):
            Retrying(**retry_options(GET, 3, lambda seconds: None))(broken)
        assert calls == 1


@pytest.mark.parametrize(
    ("request_", "outcome", "expected"),
    [
        (GET, Response(200, {}, b""), False),
        (GET, Response(503, {}, b""), True),
        (GET, Response(404, {}, b""), False),
        (GET, TransportError("reset"), True),
        (GET, StoppedError("the client was stopped"), False),
        (POST, Response(503, {}, b""), False),
        (POST, Response(429, {}, b""), True),
        (GET, Response(503, {}, b"", retry_after_s=120.0), True),
        (GET, Response(503, {}, b"", retry_after_s=121.0), False),
        (POST, Response(429, {}, b"", retry_after_s=121.0), False),
        (POST, TransportError("reset"), False),
    ],
)
def test_the_client_retries_what_the_rules_say(
    request_: Request, outcome: Response | TransportError, expected: bool
) -> None:
    assert should_retry(request_, outcome) is expected


def test_an_outcome_is_settled_with_its_attempts() -> None:
    response, error = Response(200, {}, b""), TransportError("reset")
    assert settled(response, 1) is response
    assert settled(response, 3) == replace(response, attempts=3)
    with pytest.raises(TransportError, match="2 attempts") as caught:
        settled(error, 2)
    assert caught.value is error


class TestPauseBefore:
    def test_a_first_write_does_not_wait(self) -> None:
        assert pause_before(POST) == 0.0

    def test_a_second_write_waits_and_says_why(self, caplog: pytest.LogCaptureFixture) -> None:
        again = replace(POST, attempt=2, retry_after_s=5.0, previous_problem="the service answered 503")
        with caplog.at_level(logging.INFO):
            assert pause_before(again) == 5.0
        assert caplog.messages == [
            "Project 'p': could not add tag 'gpu': the service answered 503 (Retry-After: 5 s); attempt 2 in 5.0 s"
        ]

    def test_a_second_write_backs_off_without_a_retry_after(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("random.random", lambda: 1.0)
        assert [pause_before(replace(POST, attempt=attempt)) for attempt in (2, 3, 4)] == [0.5, 1.0, 2.0]


class TestExchange:
    def test_the_url_is_the_base_url_and_the_target(self) -> None:
        assert Exchange(SETTINGS, GET).url == "https://api.paperspace.com/v1/projects/p/tags"

    def test_only_a_body_has_a_content_type(self) -> None:
        assert content_headers(POST) == {"Content-Type": "application/json"}
        assert content_headers(GET) == {}

    def test_an_answer_is_collected_chunk_by_chunk(self) -> None:
        exchange = Exchange(SETTINGS, GET)
        assert exchange.receive(b"ab")
        assert exchange.receive(b"c")
        response = exchange.response(200, {"Location": "/v1", "content-type": "application/json"})
        assert (response.status, response.body, response.complete) == (200, b"abc", True)
        assert response.headers == {"location": "/v1"}
        assert (response.attempts, response.max_attempts, response.retry_after_s) == (1, 4, None)

    def test_an_answer_is_cut_off_at_ten_megabytes(self) -> None:
        exchange = Exchange(SETTINGS, GET)
        assert exchange.receive(b"x" * MAX_ANSWER_BYTES)
        assert not exchange.receive(b"y" * MAX_ANSWER_BYTES)
        response = exchange.response(200, {})
        assert response.body == b"x" * MAX_ANSWER_BYTES
        assert not response.complete

    def test_an_answer_is_cut_off_after_the_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now_s = 100.0
        monkeypatch.setattr(_transport.time, "monotonic", lambda: now_s)
        exchange = Exchange(SETTINGS, GET)
        now_s = 105.0
        assert exchange.receive(b"a")
        now_s = 105.1
        with pytest.raises(TimeoutError):
            exchange.receive(b"a")

    def test_an_answer_has_the_time_and_the_retry_after(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_transport.time, "monotonic", lambda: 100.0)
        response = Exchange(SETTINGS, GET).response(429, {"retry-after": "7"})
        assert (response.at_s, response.retry_after_s) == (100.0, 7.0)
        assert Exchange(SETTINGS, GET).response(429, {"retry-after": "soon"}).retry_after_s is None

    def test_a_key_that_is_echoed_in_an_error_is_redacted(self) -> None:
        exchange = Exchange(SETTINGS, GET)
        exchange.receive(f"no such key: {API_KEY}".encode())
        assert exchange.response(401, {}).body == b"no such key: ***"

    def test_a_failure_has_the_time_and_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_transport.time, "monotonic", lambda: 100.0)
        error = Exchange(SETTINGS, GET).failure(OSError())
        assert (error.at_s, error.max_attempts) == (100.0, 4)
        assert str(error).startswith("Project 'p': could not list its tags: the connection failed or was closed")

    def test_each_attempt_is_logged_at_debug_without_headers(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(_transport.time, "monotonic", lambda: 100.0)
        with caplog.at_level(logging.DEBUG):
            Exchange(SETTINGS, GET).response(200, {"location": "x"})
            Exchange(SETTINGS, GET).failure(TimeoutError())
        assert caplog.messages == [
            "GET /projects/p/tags: 200 after 0.000 s",
            "GET /projects/p/tags: timed out after 5 s after 0.000 s",
        ]


class ProxyFailedError(Exception):
    pass


class CertificateError(Exception):
    pass


class NewConnectionError(TimeoutError):
    """As urllib3 derives it: a refused connection from one that timed out."""


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def with_reason(error: Any, reason: Exception) -> Exception:
    error.reason = reason
    failed: Exception = error
    return failed


REFUSED = ConnectionRefusedError(111, "Connection refused")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (TimeoutError(), "timed out after 5 s"),
        (raised_from(ValueError("x"), TimeoutError()), "timed out after 5 s"),
        (NewConnectionError("refused"), "the connection failed or was closed (NewConnectionError)"),
        (ssl.SSLError(1, "bad record"), "the TLS connection failed: bad record"),
        (raised_from(ValueError("x"), CertificateError("x")), "the TLS connection failed"),
        (ProxyFailedError("x"), "the proxy did not open a connection"),
        (with_reason(ProxyFailedError("x"), REFUSED), "the proxy did not open a connection: Connection refused"),
        (REFUSED, "the connection failed or was closed (ConnectionRefusedError: Connection refused)"),
        (ValueError(("x", REFUSED)), "the connection failed or was closed (ValueError: Connection refused)"),
        (ValueError("x"), "the connection failed or was closed (ValueError)"),
        (OSError(), "the connection failed or was closed (OSError)"),
    ],
)
def test_a_failure_is_put_in_words(error: Exception, problem: str) -> None:
    assert Exchange(SETTINGS, GET).failure(error).problem == problem


def test_a_failure_does_not_quote_the_library() -> None:
    error = raised_from(ValueError(f"Authorization: Bearer {API_KEY}"), socket.gaierror(-2, "Name not known"))
    assert "Bearer" not in Exchange(SETTINGS, GET).failure(error).problem


def test_a_cause_that_leads_back_is_walked_once() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert Exchange(SETTINGS, GET).failure(first).problem == "the connection failed or was closed (ValueError)"
