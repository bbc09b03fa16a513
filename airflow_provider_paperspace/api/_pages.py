"""Reads a list page by page, with one page in memory at a time, and detects a list that never ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from airflow_provider_paperspace._quoting import quoted
from airflow_provider_paperspace.api._checks import is_sendable
from airflow_provider_paperspace.api._messages import (
    Flow,
    Request,
    encoded,
    json_field,
    load_json,
    optional_text,
    parse_answer,
    unexpected,
)
from airflow_provider_paperspace.api.models import ProtectedBy, unprotected
from airflow_provider_paperspace.protocol import MAX_PAGE_SIZE, Order

T = TypeVar("T")

MAX_EMPTY_PAGES: Final = 10
"""The service may filter every item out of a page or two. This many empty pages in a row mean that the list never
ends."""

MAX_PAGES: Final = 10_000
"""1.2 million items at the full page size; no team has that many."""

REMEMBERED_KEYS: Final = 5 * MAX_PAGE_SIZE
"""Minimum number of keys that are remembered while a list is iterated, to drop items that appear again."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    :param next_page: the cursor of the next page; None when the service sent none.
    """

    items: list[T]
    has_more: bool
    next_page: str | None


class Pager(Generic[T]):
    """Reads the pages of a list in turn.

    :param request_page: returns the request for the page at a cursor, None for the first.
    :param parse_item: reads one item from its parsed JSON.
    :param key: returns the string that identifies an item.
    """

    def __init__(
        self,
        request_page: Callable[[str | None], Request],
        parse_item: Callable[[object], T],
        key: Callable[[T], str],
    ) -> None:
        self._request_page = request_page
        self._parse_item = parse_item
        self._key = key
        self._cursor: str | None = None
        # Hashes rather than cursors: the list may have thousands of pages, and memory use must stay small.
        self._cursor_hashes: set[int] = set()
        self._recent: set[str] = set()
        self._less_recent: set[str] = set()
        self._empty_pages = 0
        self._pages = 0
        self.has_more = True
        self.protected_by: ProtectedBy = unprotected
        """Returns what protects a tag name from removal by the client that requested the pages."""

    def next_page(self) -> Flow[list[T]]:
        """Read the next page and return its items; there may be none, and some may have appeared before.

        :raises UnexpectedResponseError: the response is malformed, its cursor is missing or invalid, or the list never
            ends.
        """
        request = self._request_page(self._cursor)
        response = yield request
        self.protected_by = response.protected_by
        page = parse_answer(request, response, lambda body: parse_page(body, self._parse_item))
        self._pages += 1
        self._empty_pages = 0 if page.items else self._empty_pages + 1
        self.has_more = page.has_more
        if page.has_more:
            self._cursor = self._check_cursor(page, request)
        return page.items

    def next_new_items(self) -> Flow[list[T]]:
        """Read the next page and return its items, without those that appeared before.

        If others add or remove items in the meantime, an item may appear again, close to where it was before. To detect
        this, only the most recent keys are remembered (at least 600), so memory use does not grow with the list.
        """
        items = yield from self.next_page()
        new = {
            key: item for item in items if (key := self._key(item)) not in self._recent and key not in self._less_recent
        }
        self._recent.update(new)
        if len(self._recent) >= REMEMBERED_KEYS:
            self._less_recent, self._recent = self._recent, set()
        return list(new.values())

    def _check_cursor(self, page: Page[T], request: Request) -> str:
        cursor = page.next_page
        if cursor is None:
            problem = "the service said that more pages follow but sent no cursor"
        elif not cursor:
            problem = "the service said that more pages follow but sent an empty cursor ''"
        elif not is_sendable(cursor):
            problem = "the service said that more pages follow but sent a cursor that is not valid Unicode"
        elif hash(cursor) in self._cursor_hashes:
            problem = f"the service sent the cursor {quoted(cursor)} a second time: the pages would repeat forever"
        elif self._empty_pages >= MAX_EMPTY_PAGES:
            problem = f"the service sent {MAX_EMPTY_PAGES} empty pages in a row; the next cursor is {quoted(cursor)}"
        elif self._pages >= MAX_PAGES:
            problem = f"the service sent {MAX_PAGES} pages and has more; the next cursor is {quoted(cursor)}"
        else:
            self._cursor_hashes.add(hash(cursor))
            return cursor
        raise unexpected(request, problem)


def page_query(after: str | None, order: Order, page_size: int) -> str:
    """Return the query that asks for a page."""
    query = f"limit={page_size}&orderBy=dtCreated&order={order}"
    return query if after is None else f"{query}&after={encoded(after)}"


def parse_page(body: bytes, parse_item: Callable[[object], T]) -> Page[T]:
    """Return one page of a list."""
    value = load_json(body)
    items = json_field(value, "items", list, "a page")
    has_more = json_field(value, "hasMore", bool, "a page")
    return Page([parse_item(item) for item in items], has_more, optional_text(value, "nextPage", "a page"))
