"""Reading arguments once templates and XCom have filled them: what is accepted, and what a message says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace._arguments import (
    check_not_none,
    find_project,
    parse_bool,
    parse_last_day,
    parse_match_mode,
    parse_patterns,
    parse_project_id,
    parse_project_ids,
    parse_tag_names,
    parse_whole_number,
)
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from tests.conversation import answer, converse

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
HINT = "Did the upstream task return nothing?"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("a", ["a"]),
        (["a", "b", "a"], ["a", "b"]),
        (("a",), ["a"]),
        ({"name": "a"}, ["a"]),
        ([{"id": 1, "name": "a", "dtCreated": "d"}, "b"], ["a", "b"]),
        ((name for name in "ab"), ["a", "b"]),
        ([], []),
        (" a ", [" a "]),
        ("[draft] v2", ["[draft] v2"]),
        ("(a + b", ["(a + b"]),
        ("(1 + 2)", ["(1 + 2)"]),
    ],
)
def test_tag_names_are_read_from_names_and_tags(value: Any, names: list[str]) -> None:
    assert parse_tag_names(value) == names


def test_patterns_are_read_as_names_are() -> None:
    assert parse_patterns("approved:*", "tags") == ("approved:*",)
    assert parse_patterns(["a", "b*", "a"], "tags") == ("a", "b*")
    assert parse_patterns([], "tags") == ()


@pytest.mark.parametrize("parse", [parse_tag_names, parse_patterns])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "keep is None; it must be a tag name, a list of names, or tags as another task returned them. " + HINT),
        (7, "keep is an int; it must be a tag name, a list of names, or tags as another task returned them."),
        (b"x", "keep is a bytes; it must be a tag name, a list of names, or tags as another task returned them."),
        ("", "The tag name '' is blank. Remove it from the list, or write the name."),
        (["a", " "], "The tag name ' ' is blank. Remove it from the list, or write the name."),
        ([7], "keep contains an int; it must contain names, or tags such as {'name': 'nightly'}."),
        ({"id": 7}, "keep contains a dict; it must contain names, or tags such as {'name': 'nightly'}."),
        (
            [["a"], ["b"]],
            "keep contains a list of lists, one for each mapped task. Map this task too, or join them first.",
        ),
        (
            "['a', 'b']",
            (
                "keep is the string \"['a', 'b']\", a list that a template rendered to text. Pass the list itself "
                "(keep=task.output), or set render_template_as_native_obj=True on the DAG."
            ),
        ),
    ],
)
def test_a_bad_tag_name_is_refused(parse: Callable[..., Any], value: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse(value, "keep")
    assert str(caught.value) == message


@pytest.mark.parametrize("value", ["p1", {"id": "p1", "name": "one"}])
def test_a_project_id_is_read_from_an_id_or_a_project(value: Any) -> None:
    assert parse_project_id(value) == "p1"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "The project id is None. " + HINT),
        (7, "A project id must be a string such as 'prmximcci', not an int."),
        ({"name": "one"}, "A project id must be a string such as 'prmximcci', not a dict."),
        (
            " ",
            "The project id is empty. It is the last part of the project's address in the Paperspace console.",
        ),
    ],
)
def test_a_bad_project_id_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_project_id(value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ([], []),
        (["a", {"id": "b"}, "a"], ["a", "b"]),
        ({"a": ["x"], "b": []}, ["a", "b"]),
        ({"id": "a", "name": "one"}, ["a"]),
        ((id_ for id_ in "ab"), ["a", "b"]),
    ],
)
def test_project_ids_are_read_from_a_list_or_a_mapping(value: Any, ids: list[str]) -> None:
    assert parse_project_ids(value) == ids


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "project_ids is None; it must be a list of project ids. " + HINT),
        (7, "project_ids is an int; it must be a list of project ids."),
        (b"m1", "project_ids is a bytes; it must be a list of project ids."),
        ("m1", "project_ids is the string 'm1'; it must be a list. For one project, use project_id."),
        (
            "['m1']",
            (
                "project_ids is the string \"['m1']\", a list that a template rendered to text. Pass the list itself "
                "(project_ids=task.output), or set render_template_as_native_obj=True on the DAG."
            ),
        ),
        (["m1", None], "The project id is None. " + HINT),
    ],
)
def test_bad_project_ids_are_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_project_ids(value)
    assert str(caught.value) == message


def test_a_project_is_looked_up_only_by_its_name() -> None:
    projects = [{"id": "p1", "name": "one", "dtCreated": "2026-03-02T09:15:00.000Z"}]
    found, requests = converse(find_project(None, "one"), answer({"hasMore": False, "items": projects}))
    assert (found, len(requests)) == ("p1", 1)
    assert converse(find_project({"id": "p2"}, None)) == ("p2", [])
    with pytest.raises(InvalidArgumentError, match="The project id is None"):
        converse(find_project(None, None))
    with pytest.raises(InvalidArgumentError, match="A project name must be a string"):
        converse(find_project(None, 7))


@pytest.mark.parametrize(
    ("value", "meant"), [(True, True), (False, False), ("True", True), (" true ", True), ("FALSE", False)]
)
def test_a_boolean_may_be_rendered_to_text(value: Any, meant: bool) -> None:
    assert parse_bool(value, "dry_run") is meant


@pytest.mark.parametrize("value", ["", "yes", "1", 1, 0, None, []])
def test_any_other_boolean_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_bool(value, "dry_run")
    assert str(caught.value) == f"dry_run is {value!r}; it must be True or False."


@pytest.mark.parametrize(("value", "meant"), [(0, 0), (5, 5), ("5", 5), (" 07 ", 7)])
def test_a_whole_number_may_be_rendered_to_text(value: Any, meant: int) -> None:
    assert parse_whole_number(value, "max_removals") == meant


@pytest.mark.parametrize("value", [-1, "-1", 1.5, "1.5", True, "many", "", None, "²"])
def test_any_other_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_whole_number(value, "max_removals")
    assert str(caught.value) == f"max_removals is {value!r}; it must be a whole number, such as 5."


@pytest.mark.parametrize("mode", ["all", "any", "none"])
def test_a_match_mode_is_one_of_three(mode: str) -> None:
    assert parse_match_mode(mode) == mode


@pytest.mark.parametrize("mode", ["most", "ALL", "", None, 7])
def test_any_other_match_mode_is_refused(mode: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_match_mode(mode)
    assert str(caught.value) == f"mode_of_match is {mode!r}; it must be 'all', 'any' or 'none'."


@pytest.mark.parametrize(
    ("expires_in", "expires_on", "last_day"),
    [
        (None, None, None),
        (timedelta(days=7), None, date(2026, 12, 1)),
        (timedelta(hours=9), None, date(2026, 11, 25)),
        (timedelta(0), None, date(2026, 11, 24)),
        (None, date(2026, 12, 1), date(2026, 12, 1)),
        (None, " 2026-12-01 ", date(2026, 12, 1)),
        (None, datetime(2026, 12, 1, 15, 30, tzinfo=UTC), date(2026, 12, 1)),
        (None, datetime.fromisoformat("2026-12-01T23:30:00-05:00"), date(2026, 12, 2)),
    ],
)
def test_a_last_day_is_a_date_in_utc(expires_in: Any, expires_on: Any, last_day: date | None) -> None:
    found = parse_last_day(expires_in, expires_on, NOW)
    assert (type(found), found) == (type(last_day), last_day)


def test_a_last_day_counts_from_now_in_utc() -> None:
    now = datetime(2026, 11, 24, 22, 0, tzinfo=timezone(timedelta(hours=-5)))
    assert parse_last_day(timedelta(0), None, now) == date(2026, 11, 25)


@pytest.mark.parametrize(
    ("expires_in", "expires_on", "message"),
    [
        (7, None, "expires_in is an int; it must be a timedelta."),
        (timedelta(days=-1), None, "expires_in is -1 day, 0:00:00, which is in the past."),
        (None, "soon", "expires_on is 'soon'; it must be a date, such as 2026-12-01."),
        (None, "20261201", "expires_on is '20261201'; it must be a date, such as 2026-12-01."),
        (None, "2026-13-01", "expires_on is '2026-13-01'; it must be a date, such as 2026-12-01."),
        (None, 7, "expires_on is an int; it must be a date, such as 2026-12-01."),
        (
            None,
            datetime(2026, 12, 1),  # noqa: DTZ001  # that is the point
            "expires_on is 2026-12-01 00:00:00, which has no time zone. Use a date, or a datetime with a time zone.",
        ),
    ],
)
def test_a_bad_expiry_is_refused(expires_in: Any, expires_on: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_last_day(expires_in, expires_on, NOW)
    assert str(caught.value) == message


def test_an_argument_that_rendered_to_none_is_refused() -> None:
    check_not_none(within="", expires_on=0, project_ids=[])
    with pytest.raises(InvalidArgumentError, match="^within is None. Did the upstream task return nothing"):
        check_not_none(project_ids=[], within=None)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "name", "x"]), inner),
    max_leaves=5,
)


@given(value=ANYTHING)
def test_whatever_is_passed_is_parsed_or_refused(value: Any) -> None:
    for parse in (
        parse_project_id,
        parse_project_ids,
        parse_tag_names,
        parse_match_mode,
        lambda value: parse_patterns(value, "tags"),
        lambda value: parse_bool(value, "dry_run"),
        lambda value: parse_whole_number(value, "max_removals"),
        lambda value: parse_last_day(value, None, NOW),
        lambda value: parse_last_day(None, value, NOW),
    ):
        with suppress(InvalidArgumentError):
            parse(value)
