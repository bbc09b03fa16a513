"""Everything that can go wrong with the Paperspace API, as one tree.

::

    PaperspaceError
    ├── InvalidArgumentError        an argument or setting that cannot be used; also a ValueError
    ├── TransportError              no answer: refused, reset, timed out, TLS
    │   └── StoppedError            not sent: the client was stopped, or its time ran out
    ├── UnexpectedResponseError     an answer that does not match the API's description
    ├── TagNotFoundError            required tags are missing (``names``)
    ├── ProtectedTagError           tags that the settings protect from removal (``names``)
    ├── ConcurrentWriteError        another writer changed the same tags (``names``)
    ├── ProjectNameError            no project has this name, or several do (``project_ids``)
    └── ApiError                    an error response (``status, code, message, details, retry_after_s``)
        ├── AuthenticationError     401
        ├── PermissionDeniedError   403
        ├── NotFoundError           404
        ├── ConflictError           409
        ├── RateLimitError          429
        └── ServerError             5xx

A message names what it is about, says what happened, over which connection and in how many attempts, and ends with
what to do. It never contains the API key: a client calls :meth:`PaperspaceError.redact` before it raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_provider_paperspace._quoting import excerpt, printable, quoted, quoted_list

_MAX_DETAILS_CHARS: Final = 2_000
_MAX_DETAILS_NESTED: Final = 100

MAX_RETRY_AFTER_S: Final = 120.0
"""The longest ``Retry-After`` that a client waits for. If the service asks for more, the error is raised at once."""

_PERMANENT_STATUSES: Final = frozenset({400, 401, 403, 404, 405, 412, 413, 422})


class PaperspaceError(Exception):
    """Base class of all errors of the Paperspace API.

    :param problem: what happened.
    :param subject: what it is about: ``Project 'prmximcci'``.
    :param action: what was attempted: ``add tag 'gpu'``.
    :param advice: what to do about it.
    :param attempts: number of times the request was sent.
    """

    is_permanent: bool = False
    """Whether the same call would fail again in the same way."""

    retry_after_s: float | None = None
    """The wait in seconds that the service asked for, or None."""

    def __init__(
        self, problem: str, *, subject: str = "", action: str = "", advice: str = "", attempts: int = 1
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.subject = subject
        self.action = action
        self.advice = advice
        self.attempts = attempts
        self.connection = ""
        """Name of the settings that were used: the Airflow connection id, or empty."""
        self.notes: list[str] = []
        """Sentences about what was done before the error, and what remains unknown."""
        self.is_outcome_unknown = False
        """Whether a write was sent, and the tags could not be read again to see if it took effect."""

    def __str__(self) -> str:
        head = f"{self.subject}: could not {self.action}: " if self.subject else ""
        connection = f"connection {self.connection!r}"
        where = [connection] if self.connection and connection not in self.problem else []
        where += [f"{self.attempts} attempts"] if self.attempts > 1 else []
        tail = f" ({', '.join(where)})" if where else ""
        return " ".join([f"{head}{self.problem}{tail}.", *self.notes, self.advice]).rstrip()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Executors pickle exceptions, and pickle cannot pass keyword-only arguments.
        return _rebuild, (type(self), self.__dict__)

    @property
    def is_for_later(self) -> bool:
        """Whether the service asked for a longer wait than a client accepts, so the caller should try again later."""
        return not self.is_permanent and is_too_long(self.retry_after_s)

    def redact(self, secret: str) -> None:
        """Replace the secret in every attribute, in case a server or proxy echoed it."""
        self.__dict__.update({name: _redacted(value, secret) for name, value in self.__dict__.items()})
        self.args = (self.problem,)


class InvalidArgumentError(PaperspaceError, ValueError):
    """An argument or setting cannot be used. Raised before anything is written.

    :param problem: the whole message, in sentences.
    """

    is_permanent = True

    def __str__(self) -> str:
        return self.problem


class TransportError(PaperspaceError):
    """No answer arrived. A write may have taken effect nevertheless.

    :param at_s: the client's monotonic clock when it gave up, in seconds.
    :param max_attempts: maximum number of times the client sends one request.
    """

    def __init__(self, problem: str, *, at_s: float = 0.0, max_attempts: int = 1, **about: Any) -> None:
        advice = "Check the network, the proxy settings and the base URL; the service may also be down."
        super().__init__(problem, **{"advice": advice, **about})
        self.at_s = at_s
        self.max_attempts = max_attempts


class StoppedError(TransportError):
    """The client was stopped, or its time ran out, before the work was done."""


class UnexpectedResponseError(PaperspaceError):
    """An answer that does not match the API's description, or a redirect."""


class TagNotFoundError(PaperspaceError):
    """Tags that must be on the project are missing.

    :param names: names of the missing tags.
    """

    is_permanent = True

    def __init__(self, names: tuple[str, ...], **about: Any) -> None:
        super().__init__(f"not on the project: {quoted_list(names)}", **about)
        self.names = names


class ProtectedTagError(PaperspaceError):
    """The change would remove tags that the client's settings protect.

    Raised before a protected tag is removed; usually before anything is written.

    :param reasons: what protects each tag, by name.
    """

    is_permanent = True

    def __init__(self, reasons: Mapping[str, str], **about: Any) -> None:
        names_by_reason: dict[str, list[str]] = {}
        for name, reason in reasons.items():
            names_by_reason.setdefault(reason, []).append(name)
        problem = "; ".join(
            f"{quoted_list(names)} {'is' if len(names) == 1 else 'are'} {reason}"
            for reason, names in names_by_reason.items()
        )
        super().__init__(problem, **about)
        self.names = tuple(reasons)


class ConcurrentWriteError(PaperspaceError):
    """Another writer changed the tags while they were being set, or holds a lease. A retry can succeed.

    :param names: names of the tags that are in the way, or that are missing again.
    """

    def __init__(self, problem: str, names: tuple[str, ...], **about: Any) -> None:
        super().__init__(problem, **about)
        self.names = names


class ProjectNameError(PaperspaceError):
    """No project has this name, or several do.

    :param project_ids: ids of the projects that have the name.
    """

    is_permanent = True

    def __init__(self, problem: str, project_ids: tuple[str, ...] = (), **about: Any) -> None:
        super().__init__(problem, **about)
        self.project_ids = project_ids


class ApiError(PaperspaceError):
    """The service sent an error response.

    :param status: the HTTP status. Use it, rather than ``code``, to tell errors apart.
    :param code: the service's error code, an open set; empty when the answer had none.
    :param message: the service's own text, or an answer that is not JSON. Like the code, it is escaped and truncated.
    :param details: the service's ``details``, or the ``issues`` of older servers; their beginning as text if they are
        long.
    :param retry_after_s: the wait in seconds that the service asked for, or None.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: object = None,
        *,
        retry_after_s: float | None = None,
        **about: Any,
    ) -> None:
        problem = f"the service answered {status}"
        problem += f" {printable(code)}" if code else ""
        problem += f", {quoted(message)}" if message else ""
        problem += f", details {excerpt(json.dumps(details, default=str))}" if details else ""
        super().__init__(problem, **{"advice": _advice_on(status), **about})
        self.status = status
        self.code = printable(code)
        self.message = printable(message)
        self.details = _shortened(details)
        self.retry_after_s = retry_after_s
        self.is_permanent = status in _PERMANENT_STATUSES

    @classmethod
    def of(cls, status: int, body: bytes, **about: Any) -> ApiError:
        """Return the error for an error response, whether its body is JSON or not.

        :param about: ``retry_after_s`` and the arguments of :class:`PaperspaceError`.
        """
        code, message, details = _parse_error_body(body)
        kind = ServerError if status >= 500 else _CLASS_BY_STATUS.get(status, ApiError)
        error = kind(status, code, message, details, **about)
        if error.retry_after_s is not None:
            error.notes.append(f"The service asked the client to wait {wait_text(error.retry_after_s)}.")
        if error.is_for_later:
            error.advice = "Try again then; before that, the service would refuse the request again."
        return error


class AuthenticationError(ApiError):
    """401: the API key is missing, wrong or expired."""


class PermissionDeniedError(ApiError):
    """403: the key's user may not do this."""


class NotFoundError(ApiError):
    """404: no such project for this key."""


class ConflictError(ApiError):
    """409, and a second read showed that the tags still differ from what was asked for."""


class RateLimitError(ApiError):
    """429: too many requests. ``retry_after_s`` is the wait that the service asked for, or None."""


class ServerError(ApiError):
    """5xx: the service failed, or rejected the request without saying so."""


_CLASS_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitError,
}

_ADVICE_BY_STATUS: Final = {
    401: "The API key is missing, wrong or expired. Create a new one in the Paperspace console "
    "(Team settings > API keys).",
    403: "The key's user is not allowed to do this. Team members may have no access to projects that they did not "
    "create: use the API key of the project's owner or of a team admin.",
    404: "Check the project id (the last part of the project's address in the console), and that the key belongs to "
    "the project's team.",
    408: "The service timed out. Try again later.",
    409: "Another writer changed the tag at the same time, or the project already has this tag in another spelling. "
    "Check the project's tags.",
    413: "The tag name is too long for the service.",
    429: "Spread the requests over time, lower max_concurrency, or raise max_attempts on the connection.",
}


def is_too_long(retry_after_s: float | None) -> bool:
    """Return whether a ``Retry-After`` is longer than a client waits."""
    return retry_after_s is not None and retry_after_s > MAX_RETRY_AFTER_S


def wait_text(seconds: float) -> str:
    """Return how long to wait from now on, for messages: ``3600 s, until 2026-11-24 15:30:00 UTC``."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return f"{seconds:.0f} s, until {until:%Y-%m-%d %H:%M:%S} UTC"


def _advice_on(status: int) -> str:
    if status >= 500:
        return "The service failed, or rejected this request without saying why. Try again later."
    if status in _PERMANENT_STATUSES:
        return _ADVICE_BY_STATUS.get(status, "The same request will fail again; change it first.")
    return _ADVICE_BY_STATUS.get(status, "Check the request, or try again later.")


def _parse_error_body(body: bytes) -> tuple[str, str, object]:
    text = body.decode("utf-8", errors="replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        # Edge servers answer with HTML; the first part is enough for a human reader.
        return "", excerpt(" ".join(text.split())), None
    code, message = value.get("code"), value.get("message")
    details = value.get("details") or value.get("issues")
    return code if isinstance(code, str) else "", message if isinstance(message, str) else "", details


def _shortened(details: object) -> object:
    """Return the details, or truncated text if they are too long, or nested too deeply to walk."""
    text = json.dumps(details, default=str)
    is_small = len(text) <= _MAX_DETAILS_CHARS and text.count("[") + text.count("{") <= _MAX_DETAILS_NESTED
    return details if is_small else excerpt(text)


def _redacted(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return value.replace(secret, "***")
    if isinstance(value, Mapping):
        return {_redacted(key, secret): _redacted(item, secret) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_redacted(item, secret) for item in value)
    return value


def _rebuild(kind: type[PaperspaceError], state: dict[str, Any]) -> PaperspaceError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (error.problem,)
    return error
