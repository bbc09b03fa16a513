"""What an answer means: the value that was asked for, or the error that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar
from urllib.parse import urlsplit

from airflow_provider_paperspace.api import retries
from airflow_provider_paperspace.api.errors import PaperspaceError, UnexpectedResponseError, api_error
from airflow_provider_paperspace.api.messages import Request, Response

T = TypeVar("T")
Flow = Generator[Request, Response, T]
"""Yields requests, is sent their responses, and returns what the conversation came to."""


def read_answer(request: Request, response: Response, parse: Callable[[bytes], T]) -> T:
    """Read an answer that must be a success.

    :raises PaperspaceError: it is none, was cut off or does not fit the API's description.
    """
    if not 200 <= response.status < 300:
        raise error_of(request, response)
    if not response.complete:
        raise unexpected(request, f"the answer was cut off after {len(response.body):,} bytes")
    try:
        return parse(response.body)
    except ValueError as error:
        problem = f"the answer does not fit the API's description, {error}"
    raise unexpected(request, problem)


def error_of(request: Request, response: Response) -> PaperspaceError:
    """Build the error that an answer stands for: a redirect or a refusal."""
    if response.status < 400:
        host = _host_of(response.headers.get("location", ""))
        where = f" to {host!r}" if host else ""
        problem = f"the service answered {response.status} and sends us on{where}, where the key must not go"
        return unexpected(request, problem, advice="Check the connection's Host: it must be the API itself.")
    error = api_error(
        response.status,
        response.body,
        retry_after_s=response.retry_after_s,
        subject=request.subject,
        action=request.action,
        attempts=response.attempts,
    )
    if response.retry_after_s is not None:
        error.notes.append(f"With its last answer, {retries.asked_for(response.retry_after_s)}.")
    return error


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def unexpected(request: Request, problem: str, *, advice: str = "") -> UnexpectedResponseError:
    """Build the error for an answer that makes no sense."""
    advice = advice or "Nothing can be concluded from it. If it stays so, the API has changed or a proxy interferes."
    return UnexpectedResponseError(problem, subject=request.subject, action=request.action, advice=advice)
