"""What both clients share: headers, the size limit of an answer, errors when none arrives, and retry options."""

from __future__ import annotations

import logging
import math
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from tenacity import RetryCallState, retry_if_result, stop_after_attempt, stop_before_delay

from airflow_provider_paperspace._quoting import excerpt
from airflow_provider_paperspace.api import _retries
from airflow_provider_paperspace.api._messages import Request, Response
from airflow_provider_paperspace.api.errors import (
    InvalidArgumentError,
    StoppedError,
    TransportError,
)
from airflow_provider_paperspace.api.settings import MAX_ANSWER_BYTES, USER_AGENT, ClientSettings, ca_variable

log = logging.getLogger(__name__)

COMMON_HEADERS: Final = {"User-Agent": USER_AGENT, "Accept": "application/json"}
"""The headers sent with every request, apart from ``Authorization``."""

_RATE_LIMIT_NAMES: Final = (
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "ratelimit-policy",
)

_KEPT_HEADERS: Final = frozenset(
    (
        "date",
        "location",
        "retry-after",
        *_RATE_LIMIT_NAMES,
        *(f"x-{name}" for name in _RATE_LIMIT_NAMES),
    )
)
"""The response headers that this package reads; those of the rate limit only for the probe."""


def user_ca_bundle() -> str | None:
    """Return the path of the CA file or folder that the environment sets; None to use certifi's.

    :raises InvalidArgumentError: there is nothing at that path, or a file that is not in PEM format.
    """
    variable = ca_variable(os.environ)
    if variable is None:
        return None
    path = os.environ[variable]
    if not Path(path).exists():
        raise InvalidArgumentError(
            f"{variable} points to CA certificates that do not exist: {path!r}. Correct the path, or "
            "unset the variable."
        )
    _check_format(path)
    return path


@cache
def _check_format(path: str) -> None:
    if Path(path).is_file() and b"-----BEGIN " not in Path(path).read_bytes():
        raise unreadable_ca_bundle(path)


def unreadable_ca_bundle(path: str) -> InvalidArgumentError:
    """Return the error for a CA file that is not in PEM format."""
    return InvalidArgumentError(
        f"{ca_variable(os.environ)} points to a file that is not a list of CA certificates in PEM format: {path!r}. "
        "Correct the path, or unset the variable."
    )


def content_headers(request: Request) -> dict[str, str]:
    """Return the headers that describe the body.

    They name no charset: a server that compares the type literally would ignore the body.
    """
    return {} if request.body is None else {"Content-Type": "application/json"}


class Exchange:
    """One attempt to send a request: it measures the time, collects the answer and returns the result.

    :param timeout_s: maximum seconds for this attempt, if fewer than the settings allow.
    """

    def __init__(self, settings: ClientSettings, request: Request, *, timeout_s: float = math.inf) -> None:
        self.timeout_s = min(settings.timeout_s, timeout_s)
        self._settings = settings
        self._request = request
        self._body = bytearray()
        self._complete = True
        self._started_s = time.monotonic()

    @property
    def url(self) -> str:
        """The address, fully percent-encoded."""
        return self._settings.base_url + self._request.target

    def receive(self, chunk: bytes) -> bool:
        """Take a part of the answer; return False when no more is wanted.

        :raises TimeoutError: the answer has taken longer than one attempt may.
        """
        self._body += chunk
        if len(self._body) > MAX_ANSWER_BYTES:
            del self._body[MAX_ANSWER_BYTES:]
            self._complete = False
        if time.monotonic() - self._started_s > self.timeout_s:
            raise TimeoutError
        return self._complete

    def response(self, status: int, headers: Mapping[str, str]) -> Response:
        """Return the response.

        :param headers: names in any case.
        """
        at_s = time.monotonic()
        if log.isEnabledFor(logging.DEBUG):
            request = self._request
            log.debug("%s %s: %d after %.3f s", request.method, excerpt(request.target), status, at_s - self._started_s)
        body = bytes(self._body)
        if status >= 300:
            # An error response is quoted in part: redact the key before anything is cut.
            body = body.replace(self._settings.api_key.encode(), b"***")
        kept = {lower: value for name, value in headers.items() if (lower := name.lower()) in _KEPT_HEADERS}
        retry_after_s = _retries.parse_retry_after(kept, datetime.now(UTC)) if "retry-after" in kept else None
        return Response(
            status,
            kept,
            body,
            complete=self._complete,
            max_attempts=self._settings.max_attempts,
            at_s=at_s,
            retry_after_s=retry_after_s,
            protected_by=self._settings.protected_by,
        )

    def out_of_time(self) -> TransportError:
        """Return the error for a request that is not sent because the client's time has run out."""
        return StoppedError(
            "the time limit for all requests was exceeded",
            subject=self._request.subject,
            action=self._request.action,
            at_s=self._started_s,
            advice="The service was slow, or asked for long waits. Try again later.",
        )

    def failure(self, error: Exception) -> TransportError:
        """Return the error that says why no answer arrived.

        It must be raised outside the ``except`` block: otherwise the library's own error, which contains the request
        with all its headers, would be attached as its context.
        """
        at_s, request = time.monotonic(), self._request
        problem = _problem(error, self.timeout_s, self._settings.proxy_address)
        log.debug("%s %s: %s after %.3f s", request.method, excerpt(request.target), problem, at_s - self._started_s)
        return TransportError(
            problem,
            subject=request.subject,
            action=request.action,
            at_s=at_s,
            max_attempts=self._settings.max_attempts,
        )


def pause_before(request: Request) -> float:
    """Return the seconds to wait before a flow sends a request again; 0 before a first attempt."""
    if request.attempt == 1:
        return 0.0
    failures = request.attempt - 1
    pause = _retries.wait_s(failures, request.retry_after_s, random.random())  # noqa: S311  # jitter, not a secret
    _log_retry(request, request.previous_problem, failures, pause, request.retry_after_s)
    return pause


def should_retry(request: Request, outcome: Response | TransportError) -> bool:
    """Return whether the client itself retries a request after this answer, or after no answer."""
    if isinstance(outcome, Response):
        return _retries.verdict(request.method, outcome.status, outcome.retry_after_s) == "retry"
    return not isinstance(outcome, StoppedError) and _retries.verdict(request.method, None) == "retry"


def retry_options(
    request: Request,
    max_attempts: int,
    sleep: Callable[[float], Any],
    *,
    on_429: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Return the arguments for tenacity's ``Retrying`` and ``AsyncRetrying``, to send one request.

    The function that they retry returns a Response, or a TransportError when no answer arrived. After the last attempt,
    its result is returned; tenacity's own error is not raised.

    :param on_429: called after a 429 with the number of seconds for which all requests of the client must pause.
    """

    def wait(state: RetryCallState) -> float:
        seconds = _retries.wait_s(state.attempt_number, _retry_after_s(state), random.random())  # noqa: S311  # jitter
        if on_429 is not None and _is_429(state):
            on_429(seconds)
        return seconds

    def log_retry(state: RetryCallState) -> None:
        if on_429 is None or not _is_429(state):  # the rate limiter logs its own line
            outcome = _outcome(state)
            problem = f"status {outcome.status}" if isinstance(outcome, Response) else outcome.problem
            _log_retry(request, problem, state.attempt_number, state.upcoming_sleep, _retry_after_s(state))

    return {
        "sleep": sleep,
        "stop": stop_after_attempt(max_attempts) | stop_before_delay(_retries.MAX_TOTAL_S),
        "retry": retry_if_result(lambda outcome: should_retry(request, outcome)),
        "wait": wait,
        "before_sleep": log_retry,
        "retry_error_callback": _outcome,
    }


def settled(outcome: Response | TransportError, attempts: int) -> Response:
    """Return the answer with its number of attempts, or raise the error with it."""
    if isinstance(outcome, TransportError):
        outcome.attempts = attempts
        raise outcome
    return outcome if attempts == 1 else replace(outcome, attempts=attempts)


def _outcome(state: RetryCallState) -> Response | TransportError:
    assert state.outcome is not None
    outcome: Response | TransportError = state.outcome.result()
    return outcome


def _is_429(state: RetryCallState) -> bool:
    outcome = _outcome(state)
    return isinstance(outcome, Response) and outcome.status == 429


def _retry_after_s(state: RetryCallState) -> float | None:
    outcome = _outcome(state)
    return outcome.retry_after_s if isinstance(outcome, Response) else None


def _log_retry(request: Request, problem: str, failures: int, pause: float, retry_after_s: float | None) -> None:
    asked = f" (Retry-After: {retry_after_s:.0f} s)" if retry_after_s is not None else ""
    log.info(
        "%s: could not %s: %s%s; attempt %d in %.1f s",
        request.subject,
        request.action,
        problem,
        asked,
        failures + 1,
        pause,
    )


def _problem(error: Exception, timeout_s: float, proxy: str) -> str:
    """Return why no answer arrived.

    :param proxy: host and port of the proxy in the settings; empty if they have none.
    """
    through = f" through the proxy {proxy}" if proxy else ""
    causes = _causes(error)
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    # In urllib3, the error for a refused connection is a subclass of the timeout error.
    if any("Timeout" in kind for kind in kinds) and "NewConnectionError" not in kinds:
        return f"timed out after {round(timeout_s, 2):g} s{through}"
    system = next((cause for cause in reversed(causes) if isinstance(cause, OSError) and cause.strerror), None)
    reason = f": {system.strerror}" if system is not None else ""
    if any("SSL" in kind or "Certificate" in kind for kind in kinds):
        return f"the TLS connection{through} failed{reason}"
    # With a proxy, a DNS error is about the proxy's own name: it is the proxy that resolves the service's name.
    if any("Proxy" in kind for kind in kinds) or (proxy and "ClientConnectorDNSError" in kinds):
        status = next((status for cause in causes if (status := _proxy_status(cause))), None)
        name = f" {proxy}" if proxy else ""
        return f"the proxy{name} did not open a connection{f' (it answered {status})' if status else reason}"
    return f"the connection{through} failed or was closed ({type(error).__name__}{reason})"


def _proxy_status(cause: BaseException) -> str:
    """Return the status with which a proxy refused: aiohttp has it as a number, http.client in a sentence."""
    match = re.match(r"Tunnel connection failed: (\d{3})", str(cause))
    return match.group(1) if match else str(getattr(cause, "status", None) or "")


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and its causes, which requests keeps in ``args`` and ``reason``."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        cause = queue.pop(0)
        if isinstance(cause, BaseException) and not any(cause is known for known in found):
            found.append(cause)
            queue += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *_flat(cause.args)]
    return found


def _flat(args: Iterable[object]) -> list[object]:
    return [item for arg in args for item in (arg if isinstance(arg, (tuple, list)) else (arg,))]
