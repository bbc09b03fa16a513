"""Walking the pages of a list, one page in memory at a time, and seeing when it leads nowhere."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from airflow_provider_paperspace.api import messages, models
from airflow_provider_paperspace.api.answers import Flow, read_answer, unexpected
from airflow_provider_paperspace.api.messages import Request
from airflow_provider_paperspace.api.models import Page, Project, Tag
from airflow_provider_paperspace.api.protocol import MAX_PAGE_SIZE, Order

T = TypeVar("T")

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
        page = read_answer(request, response, self._parse_page)
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
        raise unexpected(request, problem)

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


def read_tags(project_id: str, *, order: Order = "desc") -> Flow[dict[str, Tag]]:
    """Read all tags of a project, by name."""
    walk = walk_project_tags(project_id, order=order)
    tags: dict[str, Tag] = {}
    while walk.has_more:
        for tag in (yield from walk.next_page()):
            tags.setdefault(tag.name, tag)
    return tags
