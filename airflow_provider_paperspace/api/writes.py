"""One write, sent until the state is as asked: an answer that leaves it open is settled by reading the tags again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from airflow_provider_paperspace.api import models, retries
from airflow_provider_paperspace.api.answers import Flow, error_of, read_answer, unexpected
from airflow_provider_paperspace.api.errors import PaperspaceError, TransportError, UnexpectedResponseError
from airflow_provider_paperspace.api.messages import Request
from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.api.walks import read_tags


@dataclass(frozen=True, slots=True)
class Written:
    """How a write ended well.

    :param ours: whether this write did it, as far as can be known: it was answered with success, or an answer that
        may have been one was lost.
    :param tag: the tag of the answer, where there was one to read.
    :param seen: the project's tags, where they had to be read again.
    """

    ours: bool
    tag: Tag | None = None
    seen: dict[str, Tag] | None = None


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """An answer to a write that leaves open whether it took effect.

    :param error: what to raise when the state, read again, is not as asked.
    :param may_repeat: whether the write may then be sent again instead.
    """

    error: PaperspaceError
    may_repeat: bool
    at_s: float
    retry_after_s: float | None = None


def write(request: Request, project_id: str, name: str, max_attempts: int) -> Flow[Written]:
    """Send a write until the state is as asked, and read the state again whenever the answer leaves it open."""
    wanted = request.method == "POST"
    perhaps_ours = False
    began_at_s: float | None = None
    attempts_before = 0
    seen: dict[str, Tag] | None = None
    while True:
        answer = yield from _write_once(request, name)
        if isinstance(answer, Tag):
            return Written(ours=True, tag=answer, seen=seen)
        perhaps_ours = perhaps_ours or answer.may_repeat
        attempts_before = answer.error.attempts = answer.error.attempts + attempts_before
        with _telling_what_is_unknown(request):
            seen = yield from read_tags(project_id)
        if (name in seen) == wanted:
            return Written(ours=perhaps_ours, seen=seen)
        began_at_s = answer.at_s if began_at_s is None else began_at_s
        in_time = answer.at_s - began_at_s < retries.MAX_TOTAL_S
        if not (answer.may_repeat and in_time and request.attempt < max_attempts):
            _tell_near_names(answer.error, name, seen)
            raise answer.error
        request = replace(
            request,
            attempt=request.attempt + 1,
            retry_after_s=answer.retry_after_s,
            because=answer.error.problem,
        )


def _write_once(request: Request, name: str) -> Flow[Tag | _Unsettled]:
    """Send a write once.

    :raises PaperspaceError: it was refused beyond doubt.
    """
    try:
        response = yield request
    except TransportError as error:
        return _Unsettled(error, may_repeat=True, at_s=error.at_s)
    verdict = retries.verdict(request.method, response.status)
    if verdict == "ok":
        try:
            tag = read_answer(request, response, models.parse_tag)
        except UnexpectedResponseError as error:
            # Success without a tag to read is no better than no answer.
            return _Unsettled(error, may_repeat=True, at_s=response.at_s)
        if tag.name == name:
            return tag
        other = unexpected(request, f"the service answered with the tag {tag.name!r} in its place")
        return _Unsettled(other, may_repeat=False, at_s=response.at_s)
    if verdict == "read first":
        may_repeat = retries.may_repeat(response.status)
        return _Unsettled(error_of(request, response), may_repeat, response.at_s, response.retry_after_s)
    raise error_of(request, response)


@contextmanager
def _telling_what_is_unknown(request: Request) -> Iterator[None]:
    try:
        yield
    except PaperspaceError as error:
        error.notes.append(f"This was to see whether the attempt to {request.action} took effect: that is not known.")
        raise


def _tell_near_names(error: PaperspaceError, name: str, seen: Iterable[str]) -> None:
    near = [other for other in seen if other.strip().casefold() == name.strip().casefold() and other != name]
    if near:
        error.notes.append(f"The project has {', '.join(map(repr, near))}, which the service may hold for the same.")
