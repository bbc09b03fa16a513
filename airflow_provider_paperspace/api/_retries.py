"""The retry rules: what is sent again, how long to wait before it, and when to give up.

===========================================  ==============  ==================
answer                                       GET             POST, DELETE
===========================================  ==============  ==================
2xx                                          ok              ok
429                                          retry           retry (it was not applied)
429 with a ``Retry-After`` above 120 s       raise           raise
408, 500, 502, 503, 504, no answer           retry           read first
the same with a ``Retry-After`` above 120 s  raise           read first, then raise
404, 409, other 5xx                          raise           read first
3xx, other 4xx                               raise           raise
===========================================  ==============  ==================

*Retry*: the client sends the same request again. *Read first*: the write may have taken effect, so the flow reads the
tags, and sends the write again only if they still differ and ``may_resend`` allows it.

The wait is the ``Retry-After`` that the service sends, or else exponential backoff with full jitter: a random time
between 0 and ``min(30, 0.5 * 2 ** n)`` seconds after failure n, counted from 0. After about 600 s a
client gives up, however many attempts are left.

A client does not wait for a ``Retry-After`` above 120 s: it raises the error at once, with the wait in
``retry_after_s``. A wait of more than a day counts as a day.

Everything here is a pure function of its arguments. It knows methods, statuses and seconds, not requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from airflow_provider_paperspace.api.errors import MAX_RETRY_AFTER_S, is_too_long

Verdict = Literal["ok", "retry", "read first", "raise"]

INITIAL_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0
MAX_TOTAL_S: Final = 600.0
RETRY_AFTER_CAP_S: Final = 86_400.0

_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})
_READ_FIRST: Final = frozenset({404, 408, 409})


def verdict(method: str, status: int | None, retry_after_s: float | None = None) -> Verdict:
    """Return what to do about an answer.

    :param method: ``GET``, ``POST`` or ``DELETE``.
    :param status: the HTTP status; None when no answer arrived.
    :param retry_after_s: what ``Retry-After`` asked for, or None.
    """
    rule = _verdict(method, status)
    return "raise" if rule == "retry" and is_too_long(retry_after_s) else rule


def _verdict(method: str, status: int | None) -> Verdict:
    if status is not None and 200 <= status < 300:
        return "ok"
    if method == "GET":
        return "retry" if status is None or status in _TRANSIENT else "raise"
    if status == 429:
        return "retry"
    if status is None or status >= 500 or status in _READ_FIRST:
        return "read first"
    return "raise"


def may_resend(status: int | None) -> bool:
    """Return whether a write may be sent again after this answer, once a read showed that it had no effect.

    :param status: the HTTP status; None when no answer arrived, or none that could be read.
    """
    return status is None or status in _TRANSIENT


def wait_s(failures: int, retry_after_s: float | None, fraction: float) -> float:
    """Return the seconds to wait before the next attempt.

    :param failures: number of failed attempts, from 1.
    :param retry_after_s: what ``Retry-After`` asked for; honoured up to 120 s.
    :param fraction: a random number between 0 and 1, for the jitter.
    """
    return backoff_s(failures, fraction) if retry_after_s is None else min(retry_after_s, MAX_RETRY_AFTER_S)


def backoff_s(failures: int, fraction: float) -> float:
    """Return the backoff in seconds after this many failures (from 1), for a random fraction between 0 and 1."""
    # The exponent is bounded before it is used: 2.0 ** 2000 is an OverflowError.
    return fraction * min(MAX_BACKOFF_S, INITIAL_BACKOFF_S * 2.0 ** min(failures - 1, 30))


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return ``Retry-After`` as seconds after the answer, at most a day; None if it is absent or malformed.

    :param headers: names in lower case.
    :param now: the current time, used for an HTTP date if the answer has no readable ``Date`` header.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_CAP_S)
    until = _parse_http_date(value)
    if until is None:
        return None
    left_s = (until - (_parse_http_date(headers.get("date", "")) or now)).total_seconds()
    return min(max(0.0, left_s), RETRY_AFTER_CAP_S)


def _parse_http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
