"""The request that a flow yields, and the response that a client sends back.

This module reads a response: as the value that was asked for, or as the error that it stands for. It knows nothing
about sockets and never sees the API key. The requests themselves are defined in ``projects`` and ``project_tags``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

from airflow_provider_paperspace._quoting import quoted
from airflow_provider_paperspace.api.errors import ApiError, PaperspaceError, UnexpectedResponseError
from airflow_provider_paperspace.api.models import ProtectedBy, unprotected

T = TypeVar("T")

Method = Literal["GET", "POST", "DELETE"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a flow asks its client to send.

    :param target: percent-encoded path and query below the base URL; sent as is.
    :param subject: what this is about, to start a message with: ``Project 'prmximcci'``.
    :param action: what is attempted, as a message says it: ``add tag 'gpu'``.
    :param attempt: 1 for the first; from 2 on, the client waits before it sends, as the retry rules say.
    :param retry_after_s: the wait in seconds that the previous answer asked for, or None.
    :param previous_problem: why the previous attempt failed.
    :param advice_on_404: what to do about a 404, if it cannot mean that a project does not exist.
    """

    method: Method
    target: str
    subject: str
    action: str
    body: bytes | None = None
    attempt: int = 1
    retry_after_s: float | None = None
    previous_problem: str = ""
    advice_on_404: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What the service answered.

    :param headers: names in lower case.
    :param body: decoded from its transfer and content encoding.
    :param complete: False when the answer was longer than the client reads.
    :param attempts: number of times the request was sent for this answer.
    :param max_attempts: maximum number of times the client sends one request.
    :param at_s: the client's monotonic clock when the answer arrived, in seconds.
    :param retry_after_s: the wait in seconds that the service asks for, or None.
    :param protected_by: returns what protects a tag name from removal by the client; an empty string if nothing does.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    complete: bool = True
    attempts: int = 1
    max_attempts: int = 1
    at_s: float = 0.0
    retry_after_s: float | None = None
    protected_by: ProtectedBy = field(default=unprotected, repr=False, compare=False)


Flow = Generator[Request, Response, T]
"""Yields requests, is sent their responses, and returns the result of the conversation.

When no answer arrives, the client throws :class:`~.errors.TransportError` into the flow.
"""


class MalformedAnswerError(ValueError):
    """An answer does not match the API's description; the flow that asked knows which project to name."""


def parse_answer(request: Request, response: Response, parse: Callable[[bytes], T]) -> T:
    """Return what a successful answer contains.

    :param parse: reads the body; raises MalformedAnswerError.
    :raises PaperspaceError: the answer is an error, was cut off, or does not match the API's description.
    """
    if not 200 <= response.status < 300:
        raise error_of(request, response)
    if not response.complete:
        raise unexpected(request, f"the response is larger than the limit of {len(response.body):,} bytes")
    try:
        return parse(response.body)
    except MalformedAnswerError as error:
        problem = f"the response does not match the API specification: {error}"
    raise unexpected(request, problem)


def error_of(request: Request, response: Response) -> PaperspaceError:
    """Return the error that an answer stands for: a redirect or an error status."""
    if response.status < 400:
        host = _host_of(response.headers.get("location", ""))
        problem = f"the service answered {response.status}"
        problem += f", a redirect to {quoted(host)}; refusing to send the API key there" if host else ", a redirect"
        error = unexpected(request, problem, advice="Check the base URL: it must be the API itself.")
        error.is_permanent = True
        return error
    return ApiError.of(
        response.status,
        response.body,
        retry_after_s=response.retry_after_s,
        subject=request.subject,
        action=request.action,
        attempts=response.attempts,
        **({"advice": request.advice_on_404} if response.status == 404 and request.advice_on_404 else {}),
    )


def unexpected(request: Request, problem: str, *, advice: str = "") -> UnexpectedResponseError:
    """Return the error for an answer from which nothing can be concluded."""
    advice = advice or "If this persists, the API may have changed, or a proxy may be altering responses."
    return UnexpectedResponseError(problem, subject=request.subject, action=request.action, advice=advice)


def load_json(body: bytes) -> object:
    """Return the parsed body of an answer."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedAnswerError("it is not JSON") from None


def json_field(value: object, key: str, kind: type[T], owner: str) -> T:
    """Return a field of a JSON object that must be there and of this type.

    :param owner: what the object is, for the message: ``a tag``.
    """
    if type(value) is not dict:
        raise MalformedAnswerError(f"{owner} is {_json_kind(value)}, not an object")
    found = value.get(key)
    if type(found) is not kind:
        what = "missing" if key not in value else _json_kind(found)
        what = "not a whole number" if kind is int and type(found) is float else what
        raise MalformedAnswerError(f"{key!r} of {owner} is {what}")
    return found


def optional_text(value: object, key: str, owner: str) -> str | None:
    """Return a text field of a JSON object, or None if it is absent or null."""
    return None if type(value) is dict and value.get(key) is None else json_field(value, key, str, owner)


def encoded(text: str) -> str:
    """Return the text percent-encoded, slashes included."""
    return quote(text, safe="")


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _json_kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
