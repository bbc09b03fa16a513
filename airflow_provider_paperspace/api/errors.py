"""Everything that can go wrong with the Paperspace API, as one tree.

::

    PaperspaceError
    ├── TransportError              no answer: refused, reset, timed out, TLS
    │   └── StoppedError            not sent: the client was told to stop
    ├── UnexpectedResponseError     an answer that does not fit the API's description
    ├── TagNotFoundError            tags that had to be there are not (``names``)
    ├── ProjectNameError            no project has this name, or several have (``project_ids``)
    └── ApiError                    an error answer (``status, code, message, details``)
        ├── AuthenticationError     401
        ├── PermissionDeniedError   403
        ├── NotFoundError           404
        ├── ConflictError           409
        ├── RateLimitError          429 (``retry_after_s``)
        └── ServerError             5xx

A message opens with whom it is about, says what happened, through which connection and in how many attempts, and
ends with what to do. It never holds the API key: a runner calls :meth:`PaperspaceError.without` before it raises.
A bad argument is no member of this tree: it raises :class:`ValueError` or :class:`TypeError` before any request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from airflow_provider_paperspace.api.models import TagChange

_EXCERPT_CHARS: Final = 200


class PaperspaceError(Exception):
    """What all errors of the Paperspace API have in common.

    :param problem: what happened.
    :param subject: whom it is about: ``Project 'prmximcci'``.
    :param action: what was being done: ``add tag 'gpu'``.
    :param advice: what to do about it.
    :param attempts: how many times the request was sent.
    """

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
        """The settings' name, by default the Airflow connection id."""
        self.notes: list[str] = []
        """What was done before, and what is not known, a sentence each."""
        self.change: TagChange | None = None
        """What a change of several tags had done when it failed."""

    def __str__(self) -> str:
        head = f"{self.subject}: could not {self.action}: " if self.subject else ""
        where = [f"connection {self.connection!r}"] if self.connection else []
        where += [f"{self.attempts} attempts"] if self.attempts > 1 else []
        tail = f" ({', '.join(where)})" if where else ""
        return " ".join([f"{head}{self.problem}{tail}.", *self.notes, self.advice]).rstrip()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Executors pickle exceptions; keyword-only arguments need help with that.
        return _rebuild, (type(self), self.__dict__)

    def without(self, secret: str) -> None:
        """Blank the secret out of all that came from outside, in case a server or proxy echoed it."""
        self.__dict__.update({name: _redacted(value, secret) for name, value in self.__dict__.items()})
        self.args = (self.problem,)


class TransportError(PaperspaceError):
    """No answer came. A write may have happened all the same.

    :param at_s: the runner's monotonic clock when it gave up, in seconds.
    """

    def __init__(self, problem: str, *, at_s: float = 0.0, **about: Any) -> None:
        advice = "Check the network, the proxy settings and the connection's Host; the service may also be down."
        super().__init__(problem, **{"advice": advice, **about})
        self.at_s = at_s


class StoppedError(TransportError):
    """The client was told to stop before the work was done."""


class UnexpectedResponseError(PaperspaceError):
    """An answer that does not fit the API's description: nothing can be concluded from it."""


class TagNotFoundError(PaperspaceError):
    """Tags that had to be on the project are not.

    :param names: the missing tags' names.
    """

    def __init__(self, names: tuple[str, ...], **about: Any) -> None:
        listed = ", ".join(map(repr, names))
        super().__init__(f"not on the project: {listed}", **about)
        self.names = names


class ProjectNameError(PaperspaceError):
    """A name that stands for no project, or for several.

    :param project_ids: the projects that have the name.
    """

    def __init__(self, problem: str, project_ids: tuple[str, ...] = (), **about: Any) -> None:
        super().__init__(problem, **about)
        self.project_ids = project_ids


class ApiError(PaperspaceError):
    """An error answer.

    :param status: the HTTP status. Decide by it.
    :param code: the service's own code, an open set; empty when the answer had none.
    :param message: the service's own text, or the beginning of an answer that is no JSON.
    :param details: the service's ``details``, or the ``issues`` that older servers give in their place.
    :param retry_after_s: the wait in seconds that the service asked for, if it named one.
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
        said = " ".join(part for part in (str(status), code) if part)
        problem = f"the service answered {said}"
        problem += f", {message!r}" if message else ""
        problem += f", details {_excerpt(json.dumps(details, default=str))}" if details else ""
        super().__init__(problem, **{"advice": _advice(status), **about})
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s


class AuthenticationError(ApiError):
    """401: the API key is missing, wrong or expired."""


class PermissionDeniedError(ApiError):
    """403: the key's user may not do this."""


class NotFoundError(ApiError):
    """404: no such project for this key."""


class ConflictError(ApiError):
    """409, and the state, read again, is still not what was asked for."""


class RateLimitError(ApiError):
    """429: too many requests. ``retry_after_s`` is what the service asked for, if it named a time."""


class ServerError(ApiError):
    """5xx: the fault is on the service's side, or it rejects the request without saying so."""


_CLASS_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitError,
}

ADVICE_ON_KEY: Final = (
    "The API key is missing, wrong or expired. Make one in the Paperspace console (Team settings > API keys) "
    "and put it in the connection's Password field."
)

_ADVICE_BY_STATUS: Final = {
    401: ADVICE_ON_KEY,
    403: "The key's user may not do this. Team members can be refused on projects that they did not make: "
    "use the key of the project's owner or of a team admin.",
    404: "Check the project id (the project's address in the console ends with it) and that the key belongs to "
    "the project's team.",
    409: "Another writer, or another spelling of the same name, is in the way.",
    413: "The tag name is too long for the service.",
    429: "Spread the calls, lower the concurrency, or raise max_attempts on the connection.",
}


def api_error(status: int, body: bytes, **about: Any) -> ApiError:
    """Build the error that belongs to an error answer, JSON or not."""
    code, message, details = _read_error_body(body)
    kind = ServerError if status >= 500 else _CLASS_BY_STATUS.get(status, ApiError)
    return kind(status, code, message, details, **about)


def _advice(status: int) -> str:
    if status >= 500:
        return "The service has a fault, or rejects this request without saying why. Try again later."
    return _ADVICE_BY_STATUS.get(status, "Trying again will not help as long as the request stays the same.")


def _read_error_body(body: bytes) -> tuple[str, str, object]:
    text = body.decode("utf-8", errors="replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        # Edge errors come as HTML: the beginning tells a person enough.
        return "", _excerpt(" ".join(text.split())), None
    code, message = value.get("code"), value.get("message")
    details = value.get("details") or value.get("issues")
    return code if isinstance(code, str) else "", message if isinstance(message, str) else "", details


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT_CHARS else f"{text[:_EXCERPT_CHARS]}…"


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
