"""What both clients do around a socket: the headers, the limit on an answer, the words for a lost one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from airflow_provider_paperspace.api import retries
from airflow_provider_paperspace.api.errors import TransportError
from airflow_provider_paperspace.api.messages import Request, Response
from airflow_provider_paperspace.api.settings import MAX_ANSWER_BYTES, USER_AGENT, ClientSettings

log = logging.getLogger(__name__)

_FOLDED_HEADERS = ("content-type", "date", "location", "retry-after")


class Exchange:
    """One request on its way: times it, collects its answer and tells what became of it.

    :param settings: whose service is asked.
    """

    def __init__(self, settings: ClientSettings, request: Request) -> None:
        self._settings = settings
        self._request = request
        self._body = bytearray()
        self._complete = True
        self._began_s = time.monotonic()

    @property
    def url(self) -> str:
        """The address, percent-encoded to the end."""
        return self._settings.base_url + self._request.target

    def read(self, chunk: bytes) -> bool:
        """Take a part of the answer; False when no more is wanted.

        :raises TimeoutError: the answer has taken longer than one attempt may.
        """
        self._body += chunk
        if len(self._body) > MAX_ANSWER_BYTES:
            del self._body[MAX_ANSWER_BYTES:]
            self._complete = False
        if time.monotonic() - self._began_s > self._settings.timeout_s:
            raise TimeoutError
        return self._complete

    def answered(self, status: int, headers: Mapping[str, str]) -> Response:
        """Give what was answered."""
        at_s = time.monotonic()
        log.debug("%s %s: %d after %.3f s", self._request.method, self._request.target, status, at_s - self._began_s)
        body = bytes(self._body)
        if status >= 300:
            # An error answer is quoted, in part: blank the key before anything is cut.
            body = body.replace(self._settings.api_key.encode(), b"***")
        folded = {name: headers[name] for name in _FOLDED_HEADERS if name in headers}
        retry_after_s = retries.retry_after_s(folded, datetime.now(UTC)) if "retry-after" in folded else None
        return Response(status, folded, body, complete=self._complete, at_s=at_s, retry_after_s=retry_after_s)

    def failed(self, error: Exception) -> TransportError:
        """Give the error that says why no answer came.

        Raise it outside the ``except`` block: the library's own error holds the request with all its headers, and
        would ride along as the context.
        """
        at_s = time.monotonic()
        problem = _problem(error, self._settings.timeout_s)
        log.debug("%s %s: %s after %.3f s", self._request.method, self._request.target, problem, at_s - self._began_s)
        return TransportError(problem, subject=self._request.subject, action=self._request.action, at_s=at_s)


def common_headers() -> dict[str, str]:
    """Give the headers of every request, but for the one with the key."""
    return {"User-Agent": USER_AGENT, "Accept": "application/json"}


def content_headers(request: Request) -> dict[str, str]:
    """Give the headers that tell of a body: with a charset, the server family would ignore the body."""
    return {} if request.body is None else {"Content-Type": "application/json"}


def _problem(error: Exception, timeout_s: float) -> str:
    kinds = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    # urllib3 derives the error of a refused connection from that of one that timed out.
    if any("Timeout" in kind for kind in kinds) and "NewConnectionError" not in kinds:
        return f"no answer within {timeout_s:g} s"
    system = next((cause for cause in reversed(_causes(error)) if isinstance(cause, OSError) and cause.strerror), None)
    reason = f": {system.strerror}" if system is not None else ""
    if any("SSL" in kind for kind in kinds):
        return f"the TLS connection failed{reason}"
    if any("Proxy" in kind for kind in kinds):
        return f"the proxy let no connection through{reason}"
    return f"the connection failed or broke off ({type(error).__name__}{reason})"


def _causes(error: BaseException) -> list[BaseException]:
    """List the error and what lies below it: requests keeps its causes in args and in ``reason``."""
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
