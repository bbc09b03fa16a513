"""The whole retry policy: what is tried again, after how long, and when it ends.

====================================  ==============  ==================
answer                                GET             POST, DELETE
====================================  ==============  ==================
2xx                                   ok              ok
429                                   retry           retry (it was not applied)
408, 500, 502, 503, 504, no answer    retry           read first
404, 409, other 5xx                   raise           read first
3xx, other 4xx                        raise           raise
====================================  ==============  ==================

*Retry* is tenacity's, within one request. *Read first* is a flow's: the write may have happened, so it reads the
state, and writes again only if the state is not as asked and :func:`may_repeat` agrees.

The wait is the ``Retry-After`` that the service sends, up to 120 s, or else exponential backoff with full jitter:
a random time between 0 and ``min(30, 0.5 * 2 ** n)`` seconds after the n-th failure, counted from 0. No attempt
begins later than 600 s after the first.

Everything here is a pure function of its arguments, but for the random numbers that :func:`pause_before` and
:func:`retrying_options` draw. Who sleeps is the runner's business.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

from tenacity import RetryCallState, stop_after_attempt, stop_before_delay

from airflow_provider_paperspace.api.errors import StoppedError, TransportError
from airflow_provider_paperspace.api.messages import Method, Request, Response

log = logging.getLogger(__name__)

Verdict = Literal["ok", "retry", "read first", "raise"]

BACKOFF_INITIAL_S: Final = 0.5
BACKOFF_CAP_S: Final = 30.0
RETRY_AFTER_CAP_S: Final = 120.0
MAX_TOTAL_S: Final = 600.0

_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_READ_FIRST: Final = frozenset({404, 408, 409})


def verdict(method: Method, status: int | None) -> Verdict:
    """Say what to do about an answer.

    :param status: the HTTP status; None when no answer came.
    """
    if status is not None and 200 <= status < 300:
        return "ok"
    if method == "GET":
        return "retry" if status is None or status in _PASSING else "raise"
    if status == 429:
        return "retry"
    if status is None or status >= 500 or status in _READ_FIRST:
        return "read first"
    return "raise"


def may_repeat(status: int | None) -> bool:
    """Say whether a write may be sent again after this answer, the state having been read and found unlike.

    :param status: the HTTP status; None when no answer came, or none that could be read.
    """
    return status is None or status in _PASSING


def backoff_s(failures: int, fraction: float) -> float:
    """Give the seconds to wait after so many failures (from 1 up), for a random fraction within 0 and 1."""
    # The exponent is bounded before it is used: 2.0 ** 2000 is an OverflowError.
    return fraction * min(BACKOFF_CAP_S, BACKOFF_INITIAL_S * 2.0 ** min(failures - 1, 30))


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read ``Retry-After`` as seconds from the answer on; None when it is absent or makes no sense.

    :param headers: names in lower case.
    :param now: for an HTTP date, where the answer has no readable ``Date`` of its own to count from.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) < 10 else RETRY_AFTER_CAP_S
    until = _http_date(value)
    if until is None:
        return None
    return max(0.0, (until - (_http_date(headers.get("date", "")) or now)).total_seconds())


def wait_s(failures: int, asked_s: float | None, fraction: float) -> float:
    """Give the seconds to wait before the next attempt.

    :param failures: how many attempts have failed, from 1 up.
    :param asked_s: what ``Retry-After`` asked for; it is honoured up to 120 s.
    :param fraction: a random number within 0 and 1, for the jitter.
    """
    return backoff_s(failures, fraction) if asked_s is None else min(asked_s, RETRY_AFTER_CAP_S)


def asked_for(asked_s: float) -> str:
    """Say in a message what ``Retry-After`` asked for, and that it was more than is waited."""
    cap = f", of which at most {RETRY_AFTER_CAP_S:.0f} s are waited" if asked_s > RETRY_AFTER_CAP_S else ""
    return f"the service asks for {asked_s:.0f} s{cap}"


def pause_before(request: Request) -> float:
    """Give the seconds to wait before a write is sent once more; 0 before a first attempt."""
    if request.attempt == 1:
        return 0.0
    failures = request.attempt - 1
    pause = wait_s(failures, request.retry_after_s, _fraction())
    _announce(request, request.because, failures, pause, request.retry_after_s)
    return pause


def retrying_options(
    request: Request,
    max_attempts: int,
    sleep: Callable[[float], Any],
    *,
    pause_all: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Give the arguments for tenacity's ``Retrying`` and ``AsyncRetrying`` alike, to send this one request.

    :param pause_all: takes over the wait after a 429, for all requests of a client; it says so itself.

    The call that they retry gives a :class:`Response` or raises :class:`TransportError`. When the attempts are used
    up, the last answer or error comes out as it is, rather than tenacity's own.
    """

    def calls_for_a_retry(state: RetryCallState) -> bool:
        failure = _failure(state)
        if isinstance(failure, Response):
            return verdict(request.method, failure.status) == "retry"
        lost = isinstance(failure, TransportError) and not isinstance(failure, StoppedError)
        return lost and verdict(request.method, None) == "retry"

    def wait(state: RetryCallState) -> float:
        seconds = wait_s(state.attempt_number, _asked_s(state), _fraction())
        if pause_all is not None and _is_too_many(state):
            pause_all(seconds)
            return 0.0
        return seconds

    def announce(state: RetryCallState) -> None:
        if pause_all is not None and _is_too_many(state):
            return
        failure = _failure(state)
        what = f"status {failure.status}" if isinstance(failure, Response) else str(getattr(failure, "problem", ""))
        _announce(request, what, state.attempt_number, state.upcoming_sleep, _asked_s(state))

    return {
        "sleep": sleep,
        "stop": stop_after_attempt(max_attempts) | stop_before_delay(MAX_TOTAL_S),
        "retry": calls_for_a_retry,
        "wait": wait,
        "before_sleep": announce,
        "retry_error_callback": _give_the_last_answer,
    }


def _fraction() -> float:
    return random.random()  # noqa: S311  # jitter, no secret


def _give_the_last_answer(state: RetryCallState) -> Any:
    assert state.outcome is not None
    return state.outcome.result()


def _failure(state: RetryCallState) -> Response | BaseException | None:
    assert state.outcome is not None
    if state.outcome.failed:
        return state.outcome.exception()
    response: Response = state.outcome.result()
    return response


def _is_too_many(state: RetryCallState) -> bool:
    failure = _failure(state)
    return isinstance(failure, Response) and failure.status == 429


def _asked_s(state: RetryCallState) -> float | None:
    failure = _failure(state)
    return failure.retry_after_s if isinstance(failure, Response) else None


def _announce(request: Request, what: str, failures: int, pause: float, asked_s: float | None) -> None:
    log.info(
        "%s: could not %s, %s%s; attempt %d follows in %.1f s",
        *(request.subject, request.action, what),
        f" ({asked_for(asked_s)})" if asked_s is not None else "",
        *(failures + 1, pause),
    )


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
