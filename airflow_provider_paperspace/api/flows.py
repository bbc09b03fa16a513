"""One generator per operation: what is asked of the service, in which order, and what the answers mean.

A flow yields a :class:`Request` and is sent the :class:`Response`; when no answer came, the runner throws
:class:`TransportError` into it. It does no I/O, knows no clock and is the same for both clients.

What a second add or remove of a tag answers is not published. So a write *converges*: read once, write only what
differs, and after an answer that leaves the outcome open, read again and decide from the state. ``add`` ends with
the tag there, ``remove`` with it gone, and running either twice is the same as once.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

from airflow_provider_paperspace.api import messages, models, retries
from airflow_provider_paperspace.api.errors import (
    PaperspaceError,
    TagNotFoundError,
    TransportError,
    UnexpectedResponseError,
    api_error,
)
from airflow_provider_paperspace.api.messages import Request, Response
from airflow_provider_paperspace.api.models import Page, Project, Session, Tag, TagChange
from airflow_provider_paperspace.api.protocol import MAX_PAGE_SIZE, Order

T = TypeVar("T")
Flow = Generator[Request, Response, T]

MAX_EMPTY_PAGES: Final = 10
"""A filter behind the paging may empty a page or two; so many in a row mean that no end will come."""

MAX_PAGES: Final = 10_000
"""1.2 million items at the full page size, and no team has that many."""

REMEMBERED: Final = 5 * MAX_PAGE_SIZE
"""So many keys at least are remembered while a list is iterated, to give an item once that comes again."""


class Walk(Generic[T]):
    """A walk over the pages of a list, one page in memory at a time."""

    def __init__(
        self,
        request_page: Callable[[str | None], Request],
        parse_page: Callable[[bytes], Page[T]],
        key: Callable[[T], str],
    ) -> None:
        self._request_page = request_page
        self._parse_page = parse_page
        self._key = key
        self._cursor: str | None = None
        # Eight bytes a cursor: the list may have thousands of pages, and memory is to stay flat.
        self._cursor_hashes = array("q")
        self._recent: set[str] = set()
        self._less_recent: set[str] = set()
        self._pages = 0
        self._empty_pages = 0
        self.has_more = True

    def next_page(self) -> Flow[list[T]]:
        """Read the next page and give its items, which may be none, and may have come before.

        :raises UnexpectedResponseError: the answer is malformed, or leads nowhere or round in circles.
        """
        request = self._request_page(self._cursor)
        response = yield request
        page = _read(request, response, self._parse_page)
        self._pages += 1
        self._empty_pages = 0 if page.items else self._empty_pages + 1
        self.has_more = page.has_more
        if page.has_more:
            self._cursor = self._checked_cursor(page, request)
        return page.items

    def next_new_items(self) -> Flow[list[T]]:
        """Read the next page and give those of its items that did not come before.

        The list is ordered by creation, so when others are added or removed during the walk, an item comes again next
        to where it was. The last 600 keys at least are remembered for that, and memory stays flat.
        """
        items = yield from self.next_page()
        new = {key: item for item in items if not self._came_before(key := self._key(item))}
        self._recent.update(new)
        if len(self._recent) >= REMEMBERED:
            self._less_recent, self._recent = self._recent, set()
        return list(new.values())

    def _checked_cursor(self, page: Page[T], request: Request) -> str:
        cursor = page.next_page
        if cursor is None:
            problem = "the service says that more pages follow and gives no cursor"
        elif not cursor:
            problem = "the service says that more pages follow and gives an empty cursor ''"
        elif not messages.is_sendable(cursor):
            problem = "the service says that more pages follow and gives a cursor that is no valid Unicode"
        elif hash(cursor) in self._cursor_hashes:
            problem = f"the service gave the cursor {cursor!r} a second time: the pages would go round in circles"
        elif self._empty_pages >= MAX_EMPTY_PAGES:
            problem = f"the service gave {MAX_EMPTY_PAGES} empty pages in a row, the next at cursor {cursor!r}"
        elif self._pages >= MAX_PAGES:
            problem = f"the service gave {MAX_PAGES} pages and has more, the next at cursor {cursor!r}"
        else:
            self._cursor_hashes.append(hash(cursor))
            return cursor
        raise _unexpected(request, problem)

    def _came_before(self, key: str) -> bool:
        return key in self._recent or key in self._less_recent


def walk_project_tags(project_id: str, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> Walk[Tag]:
    """Walk a project's tags.

    :raises ValueError: an argument could not be sent.
    """
    project_id = messages.check_project_id(project_id)
    order, page_size = messages.check_order(order), messages.check_page_size(page_size)
    return Walk(
        lambda after: messages.list_tags(project_id, after=after, order=order, page_size=page_size),
        models.parse_tag_page,
        lambda tag: tag.name,
    )


def walk_projects(*, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> Walk[Project]:
    """Walk the team's projects.

    :raises ValueError: an argument could not be sent.
    """
    order, page_size = messages.check_order(order), messages.check_page_size(page_size)
    return Walk(
        lambda after: messages.list_projects(after=after, order=order, page_size=page_size),
        models.parse_project_page,
        lambda project: project.id,
    )


def list_project_tags(project_id: str, *, order: Order = "desc") -> Flow[list[Tag]]:
    """Read all tags of a project."""
    tags = yield from _read_tags(project_id, order=order)
    return list(tags.values())


def read_project(project_id: str) -> Flow[Project]:
    """Read one project."""
    request = messages.read_project(messages.check_project_id(project_id))
    response = yield request
    return _read(request, response, models.parse_project)


def read_session() -> Flow[Session | None]:
    """Read who the key belongs to; None when the service does not accept the key."""
    request = messages.read_session()
    response = yield request
    return _read(request, response, models.parse_session)


def add_project_tags(project_id: str, names: str | Iterable[str], *, max_attempts: int) -> Flow[TagChange]:
    """Put tags on a project: the pages of one read, and a POST for each that is missing.

    :param max_attempts: how often one tag is written at most.
    :return: ``added`` and ``unchanged``, which together are all that was asked for.
    """
    project_id, asked = messages.check_project_id(project_id), messages.check_tag_names(names)
    there = yield from _read_tags(project_id)
    added: dict[str, Tag] = {}
    unchanged: dict[str, Tag] = {}
    with _telling_what_was_done("added", added):
        for name in asked:
            if name in there:
                unchanged[name] = there[name]
                continue
            written = yield from _write(messages.add_tag(project_id, name), project_id, name, max_attempts)
            there = there if written.seen is None else written.seen
            (added if written.ours else unchanged)[name] = written.tag or there[name]
    return TagChange(added=tuple(added.values()), unchanged=tuple(unchanged.values()))


def remove_project_tags(
    project_id: str, names: str | Iterable[str], *, missing_ok: bool = True, max_attempts: int
) -> Flow[TagChange]:
    """Take tags off a project: the pages of one read, and a DELETE for each that is there.

    :param missing_ok: whether a tag that is not there is well. If not, nothing at all is removed.
    :param max_attempts: how often one tag is written at most.
    :return: ``removed`` and ``absent``, which together are all that was asked for.
    :raises TagNotFoundError: ``missing_ok`` is False and a tag is not there.
    """
    project_id, asked = messages.check_project_id(project_id), messages.check_tag_names(names)
    there = yield from _read_tags(project_id)
    missing = tuple(name for name in asked if name not in there)
    if missing and not missing_ok:
        raise TagNotFoundError(
            missing,
            subject=messages.project_subject(project_id),
            action="remove tags",
            advice="Nothing was removed. Leave these names out, or allow them to be missing (missing_ok=True).",
        )
    removed: dict[str, Tag] = {}
    with _telling_what_was_done("removed", removed):
        for name in asked:
            if name not in there:
                continue
            tag = there[name]
            written = yield from _write(messages.remove_tag(project_id, name), project_id, name, max_attempts)
            there = there if written.seen is None else written.seen
            if written.ours:
                removed[name] = tag
    return TagChange(removed=tuple(removed.values()), absent=tuple(name for name in asked if name not in removed))


@dataclass(frozen=True, slots=True)
class _Written:
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


def _write(request: Request, project_id: str, name: str, max_attempts: int) -> Flow[_Written]:
    """Send a write until the state is as asked, and read the state again whenever the answer leaves it open."""
    wanted = request.method == "POST"
    perhaps_ours = False
    began_at_s: float | None = None
    attempts_before = 0
    seen: dict[str, Tag] | None = None
    while True:
        answer = yield from _write_once(request, name)
        if isinstance(answer, Tag):
            return _Written(ours=True, tag=answer, seen=seen)
        perhaps_ours = perhaps_ours or answer.may_repeat
        attempts_before = answer.error.attempts = answer.error.attempts + attempts_before
        with _telling_what_is_unknown(request):
            seen = yield from _read_tags(project_id)
        if (name in seen) == wanted:
            return _Written(ours=perhaps_ours, seen=seen)
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
            tag = _read(request, response, models.parse_tag)
        except UnexpectedResponseError as error:
            # Success without a tag to read is no better than no answer.
            return _Unsettled(error, may_repeat=True, at_s=response.at_s)
        if tag.name == name:
            return tag
        other = _unexpected(request, f"the service answered with the tag {tag.name!r} in its place")
        return _Unsettled(other, may_repeat=False, at_s=response.at_s)
    if verdict == "read first":
        may_repeat = retries.may_repeat(response.status)
        return _Unsettled(_error(request, response), may_repeat, response.at_s, response.retry_after_s)
    raise _error(request, response)


def _read_tags(project_id: str, *, order: Order = "desc") -> Flow[dict[str, Tag]]:
    walk = walk_project_tags(project_id, order=order)
    tags: dict[str, Tag] = {}
    while walk.has_more:
        for tag in (yield from walk.next_page()):
            tags.setdefault(tag.name, tag)
    return tags


def _read(request: Request, response: Response, parse: Callable[[bytes], T]) -> T:
    if not 200 <= response.status < 300:
        raise _error(request, response)
    if not response.complete:
        raise _unexpected(request, f"the answer was cut off after {len(response.body):,} bytes")
    try:
        return parse(response.body)
    except ValueError as error:
        problem = f"the answer does not fit the API's description, {error}"
    raise _unexpected(request, problem)


def _error(request: Request, response: Response) -> PaperspaceError:
    if response.status < 400:
        host = _host_of(response.headers.get("location", ""))
        where = f" to {host!r}" if host else ""
        problem = f"the service answered {response.status} and sends us on{where}, where the key must not go"
        return _unexpected(request, problem, advice="Check the connection's Host: it must be the API itself.")
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


def _unexpected(request: Request, problem: str, *, advice: str = "") -> UnexpectedResponseError:
    advice = advice or "Nothing can be concluded from it. If it stays so, the API has changed or a proxy interferes."
    return UnexpectedResponseError(problem, subject=request.subject, action=request.action, advice=advice)


@contextmanager
def _telling_what_was_done(verb: str, done: Mapping[str, Tag]) -> Iterator[None]:
    try:
        yield
    except PaperspaceError as error:
        if done:
            error.notes.append(f"Before that, {', '.join(map(repr, done))} {verb} well.")
        raise


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
