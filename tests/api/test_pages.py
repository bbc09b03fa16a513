"""Lists, read page by page: no item is lost or repeated, and no list goes on forever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api import _pages
from airflow_provider_paperspace.api._messages import Flow, MalformedAnswerError, Request, json_field
from airflow_provider_paperspace.api._pages import MAX_EMPTY_PAGES, Page, Pager, page_query, parse_page
from airflow_provider_paperspace.api.errors import UnexpectedResponseError
from tests.conversation import converse, page, tag


def parse_name(value: object) -> str:
    return json_field(value, "name", str, "a tag")


def pager() -> Pager[str]:
    def request_page(after: str | None) -> Request:
        return Request("GET", f"/tags?{page_query(after, 'desc', 120)}", "Project 'p'", "list its tags")

    return Pager(request_page, parse_name, lambda name: name)


def read_all() -> Flow[list[str]]:
    pages = pager()
    names: list[str] = []
    while pages.has_more:
        names += yield from pages.next_page()
    return names


def test_each_page_is_asked_for_by_its_cursor() -> None:
    names, requests = converse(read_all(), page("c", "b", next_page="1"), page("a", next_page="2"), page())
    assert names == ["c", "b", "a"]
    assert [request.target.partition("after=")[2] for request in requests] == ["", "1", "2"]


def test_a_query_has_a_page_size_and_an_encoded_cursor() -> None:
    assert page_query(None, "desc", 120) == "limit=120&orderBy=dtCreated&order=desc"
    assert page_query("a+/=&", "asc", 5) == "limit=5&orderBy=dtCreated&order=asc&after=a%2B%2F%3D%26"


@pytest.mark.parametrize(
    ("cursors", "complaint"),
    [
        ([None], "sent no cursor"),
        ([""], "sent an empty cursor ''"),
        (["\ud800"], "sent a cursor that is not valid Unicode"),
        (["x", "x"], "the cursor 'x' a second time: the pages would repeat forever"),
        (["x", "y", "x"], "the cursor 'x' a second time: the pages would repeat forever"),
    ],
)
def test_a_cursor_that_leads_nowhere_is_an_error(cursors: list[str | None], complaint: str) -> None:
    pages = [page(f"tag-{i}", next_page=cursor, has_more=True) for i, cursor in enumerate(cursors)]
    with pytest.raises(UnexpectedResponseError, match=complaint) as caught:
        converse(read_all(), *pages)
    assert "Project 'p'" in str(caught.value)


def test_a_few_empty_pages_are_skipped() -> None:
    empty = [page(next_page=str(i)) for i in range(MAX_EMPTY_PAGES - 1)]
    names, _ = converse(read_all(), *empty, page("a", next_page="x"), page("b"))
    assert names == ["a", "b"]


def test_an_item_ends_a_row_of_empty_pages() -> None:
    empty = [page(next_page=str(i)) for i in range(MAX_EMPTY_PAGES - 1)]
    more = [page(next_page=f"more-{i}") for i in range(MAX_EMPTY_PAGES - 1)]
    names, _ = converse(read_all(), *empty, page("a", next_page="x"), *more, page("b"))
    assert names == ["a", "b"]


def test_ten_empty_pages_in_a_row_are_an_error() -> None:
    empty = [page(next_page=str(i)) for i in range(MAX_EMPTY_PAGES)]
    with pytest.raises(UnexpectedResponseError, match="10 empty pages in a row; the next cursor is '9'"):
        converse(read_all(), *empty)


def test_too_many_pages_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pages, "MAX_PAGES", 20)
    endless = [page(f"tag-{i}", next_page=str(i)) for i in range(20)]
    with pytest.raises(UnexpectedResponseError, match="20 pages and has more; the next cursor is '19'"):
        converse(read_all(), *endless)


def test_the_last_600_keys_are_remembered_in_flat_memory() -> None:
    pages = pager()
    seen: list[str] = []
    for number in range(40):
        names = [f"tag-{number}-{i}" for i in range(120)]
        again = seen[-600:]
        items, _ = converse(pages.next_new_items(), page(*again, *names, next_page=str(number)))
        assert items == names
        seen += names
        assert len(pages._recent | pages._less_recent) < 2 * 720


def test_new_items_drop_what_repeats_within_a_page() -> None:
    items, _ = converse(pager().next_new_items(), page("a", "b", "a"))
    assert items == ["a", "b"]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=40), st.integers(1, 7))
def test_each_name_is_new_once_however_pages_are_cut(names: list[str], size: int) -> None:
    cuts = [names[i : i + size] for i in range(0, len(names), size)] or [[]]
    pages, read = pager(), []
    for i, cut in enumerate(cuts):
        next_page = str(i) if i < len(cuts) - 1 else None
        items, _ = converse(pages.next_new_items(), page(*cut, next_page=next_page))
        read += items
    assert read == list(dict.fromkeys(names))
    assert not pages.has_more


@pytest.mark.parametrize("last", [{"nextPage": None}, {}])
def test_the_last_page_has_no_cursor(last: dict[str, Any]) -> None:
    body = json.dumps({"hasMore": False, "items": [tag("a")], **last}).encode()
    assert parse_page(body, parse_name) == Page(["a"], has_more=False, next_page=None)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hasMore": "yes"}, "'hasMore' of a page is a string"),
        ({"hasMore": None}, "'hasMore' of a page is null"),
        ({"items": {}}, "'items' of a page is an object"),
        ({"items": [{}]}, "'name' of a tag is missing"),
        ({"nextPage": 7}, "'nextPage' of a page is a number"),
    ],
)
def test_a_malformed_page_names_its_wrong_field(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(MalformedAnswerError, match=complaint):
        parse_page(json.dumps({"hasMore": False, "items": [], **change}).encode(), parse_name)
