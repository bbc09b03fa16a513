from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api import models
from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange
from tests.conversation import tag


def test_a_tag_is_read_and_given_back_under_the_apis_own_keys() -> None:
    read = models.parse_tag(json.dumps({**tag("gpu", 7), "colour": "new field"}).encode())
    assert read == Tag(7, "gpu", "2026-03-02T09:15:00.000Z")
    assert read.as_json() == tag("gpu", 7)


def test_a_number_with_an_empty_fraction_is_a_whole_number() -> None:
    assert models.parse_tag(json.dumps({**tag("gpu"), "id": 7.0}).encode()).id == 7


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"name": "a", "dtCreated": "d"}, "'id' of a tag is missing"),
        ({**tag("a"), "id": "7"}, "'id' of a tag is text"),
        ({**tag("a"), "id": True}, "'id' of a tag is true or false"),
        ({**tag("a"), "id": 7.5}, "'id' of a tag is a number"),
        ({**tag("a"), "name": None}, "'name' of a tag is null"),
        ({**tag("a"), "name": ["a"]}, "'name' of a tag is a list"),
        ({**tag("a"), "dtCreated": 0}, "'dtCreated' of a tag is a number"),
        ([], "a tag is a list, not an object"),
        ("gpu", "a tag is text, not an object"),
        (None, "a tag is null, not an object"),
    ],
)
def test_a_malformed_tag_is_refused_with_the_field_that_is_wrong(value: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        models.parse_tag(json.dumps(value).encode())


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"<html>", b"[" * 100_000])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="it is not JSON"):
        models.parse_tag(body)


@pytest.mark.parametrize("last", [{"nextPage": None}, {}])
def test_the_last_page_may_give_null_or_nothing_for_a_cursor(last: dict[str, Any]) -> None:
    page = models.parse_tag_page(json.dumps({"hasMore": False, "items": [tag("a")], **last}).encode())
    assert (page.items, page.has_more, page.next_page) == ([Tag(1, "a", tag("a")["dtCreated"])], False, None)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hasMore": "yes"}, "'hasMore' of a page is text"),
        ({"hasMore": None}, "'hasMore' of a page is null"),
        ({"items": {}}, "'items' of a page is an object"),
        ({"items": [{}]}, "'id' of a tag is missing"),
        ({"nextPage": 7}, "'nextPage' of a page is a number"),
    ],
)
def test_a_malformed_page_is_refused_with_the_field_that_is_wrong(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        models.parse_tag_page(json.dumps({"hasMore": False, "items": [], **change}).encode())


def test_a_project_is_read_with_what_it_may_lack() -> None:
    least = {"id": "p", "name": "n", "dtCreated": "d"}
    assert models.parse_project(json.dumps(least).encode()) == Project("p", "n", "d")
    most = {**least, "dtDeleted": "x", "repoUrl": "u", "repoName": None}
    assert models.parse_project(json.dumps(most).encode()) == Project("p", "n", "d", "x", "u")
    page = {"hasMore": False, "items": [least]}
    assert models.parse_project_page(json.dumps(page).encode()).items == [Project("p", "n", "d")]


def test_a_session_is_null_or_tells_user_and_team_and_keeps_the_address_out_of_its_repr() -> None:
    value = {"user": {"id": "u", "email": "ada@example.org"}, "team": {"id": "t", "namespace": "acme"}}
    session = models.parse_session(json.dumps(value).encode())
    assert session == Session("u", "ada@example.org", "t", "acme")
    assert "ada" not in repr(session)
    assert models.parse_session(b"null") is None
    with pytest.raises(ValueError, match="'team' of a session is missing"):
        models.parse_session(b'{"user": {}}')


@given(st.datetimes(timezones=st.timezones()))
def test_the_date_of_a_tag_is_an_instant_in_utc(moment: datetime) -> None:
    try:
        text = moment.isoformat()
        parsed = Tag(1, "a", text).created_at
    except (ValueError, OverflowError):  # zones with seconds in their offset, and the edges of time
        return
    assert parsed == datetime.fromisoformat(text)
    assert parsed.utcoffset() == timedelta(0)


def test_a_date_without_a_zone_is_no_instant() -> None:
    assert Tag(1, "a", "2024-04-08T14:31:23.045Z").created_at == datetime(2024, 4, 8, 14, 31, 23, 45_000, UTC)
    for text in ("2024-04-08T14:31:23", "yesterday"):
        with pytest.raises(ValueError, match=text):
            _ = Tag(1, "a", text).created_at


def test_a_change_says_in_a_line_what_it_did() -> None:
    a, b = Tag(1, "a", ""), Tag(2, "b", "")
    assert str(TagChange(added=(a,), unchanged=(b,))) == "added 'a'; 'b' was there already"
    assert str(TagChange(unchanged=(a, b))) == "'a', 'b' were there already"
    assert str(TagChange(removed=(a,), absent=("b",))) == "removed 'a'; 'b' was not there"
    assert str(TagChange()) == "no tags to change"
    assert TagChange(added=(a,), unchanged=(b,)).present(["b", "a"]) == [b, a]
