"""Reading arguments once templates and XCom have filled them: what is accepted, and what a message says."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace._arguments import (
    NOT_SET,
    check_not_empty,
    check_one_of,
    find_project,
    is_constant,
    naming_task,
    parse_bool,
    parse_duration,
    parse_last_day,
    parse_match_mode,
    parse_max_concurrency,
    parse_patterns,
    parse_prefix,
    parse_project_id,
    parse_project_ids,
    parse_tag_names,
    parse_whole_number,
)
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.rules.patterns import Pattern
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


def test_strings_are_patterns_and_mappings_are_names() -> None:
    assert parse_patterns("approved:*", "tags") == (Pattern("approved:*"),)
    assert parse_patterns(["a", {"name": "b*"}, "b*", "a"], "tags") == (
        Pattern("a"),
        Pattern("b*", is_literal=True),
        Pattern("b*"),
    )


def test_patterns_are_at_least_one() -> None:
    with pytest.raises(InvalidArgumentError, match="names is empty. Pass at least one name"):
        parse_patterns([], "names")


def test_a_pattern_with_an_open_bracket_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"keep contains the pattern '\[stale', whose '\[' is never closed"):
        parse_patterns(["a", "[stale"], "keep")
    assert parse_patterns({"name": "[stale"}, "keep") == (Pattern("[stale", is_literal=True),)


@pytest.mark.parametrize("parse", [parse_tag_names, parse_patterns])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "keep is None; it must be a name, a list of names, or tags as another task returned them. " + HINT),
        (7, "keep is an int; it must be a name, a list of names, or tags as another task returned them."),
        (b"x", "keep is a bytes; it must be a name, a list of names, or tags as another task returned them."),
        ("", "keep is blank. Did a template render to nothing?"),
        (["a", " "], "keep is blank. Did a template render to nothing?"),
        ({"name": " "}, "The tag name ' ' is blank. Remove it, or replace it with a name."),
        ("None", "keep is the text 'None'. Did a template render a missing or empty value?"),
        (["a", "None"], "keep is the text 'None'. Did a template render a missing or empty value?"),
        ("[]", "keep is the text '[]'. Did a template render a missing or empty value?"),
        ([7], "keep contains an int; it must contain names, or tags such as {'name': 'nightly'}."),
        ({"id": 7}, "keep contains a dict; it must contain names, or tags such as {'name': 'nightly'}."),
        (
            [["a"], ["b"]],
            "keep is a list of lists, one for each mapped task. Map this task too, or flatten the lists first.",
        ),
        (
            "['a', 'b']",
            (
                "keep is the string \"['a', 'b']\", a value that a template rendered to text. Pass the value itself "
                "(keep=task.output), or set render_template_as_native_obj=True on the DAG."
            ),
        ),
        (
            "{'id': 7, 'name': 'a'}",
            (
                "keep is the string \"{'id': 7, 'name': 'a'}\", a value that a template rendered to text. Pass the "
                "value itself (keep=task.output), or set render_template_as_native_obj=True on the DAG."
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
        (None, "project_id is None. " + HINT),
        ({}, "project_id is empty. " + HINT),
        ([], "project_id is empty. " + HINT),
        ("None", "project_id is the text 'None'. Did a template render a missing or empty value?"),
        (7, "A project id must be a string such as 'prmximcci', not an int."),
        ({"name": "one"}, "A project id must be a string such as 'prmximcci', not a dict."),
        (" ", "project_id is blank. Did a template render to nothing?"),
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
                "project_ids is the string \"['m1']\", a value that a template rendered to text. Pass the value itself "
                "(project_ids=task.output), or set render_template_as_native_obj=True on the DAG."
            ),
        ),
        (["m1", None], "a project id in project_ids is None. " + HINT),
        (["m1", ""], "a project id in project_ids is blank. Did a template render to nothing?"),
        ("", "project_ids is blank. Did a template render to nothing?"),
        ("None", "project_ids is the text 'None'. Did a template render a missing or empty value?"),
    ],
)
def test_bad_project_ids_are_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_project_ids(value)
    assert str(caught.value) == message


def test_a_project_is_looked_up_only_by_its_name() -> None:
    projects = [{"id": "p1", "name": "one", "dtCreated": "2026-03-02T09:15:00.000Z"}]
    found, requests = converse(find_project(NOT_SET, "one"), answer({"hasMore": False, "items": projects}))
    assert (found, len(requests)) == ("p1", 1)
    assert converse(find_project({"id": "p2"}, NOT_SET)) == ("p2", [])
    with pytest.raises(InvalidArgumentError, match="project_id is None"):
        converse(find_project(None, NOT_SET))
    with pytest.raises(InvalidArgumentError, match="project_name is None"):
        converse(find_project(NOT_SET, None))
    with pytest.raises(InvalidArgumentError, match="A project name must be a string"):
        converse(find_project(NOT_SET, 7))


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
    assert str(caught.value) == f"max_removals is {value!r}; it must be a whole number of at least 0, such as 5."


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
        (NOT_SET, NOT_SET, None),
        (timedelta(days=7), NOT_SET, date(2026, 12, 1)),
        (timedelta(hours=9), NOT_SET, date(2026, 11, 25)),
        (timedelta(seconds=1), NOT_SET, date(2026, 11, 24)),
        (NOT_SET, date(2026, 12, 1), date(2026, 12, 1)),
        (NOT_SET, " 2026-12-01 ", date(2026, 12, 1)),
        (NOT_SET, "2026-11-24", date(2026, 11, 24)),
        (NOT_SET, datetime(2026, 12, 1, 15, 30, tzinfo=UTC), date(2026, 12, 1)),
        (NOT_SET, datetime.fromisoformat("2026-12-01T23:30:00-05:00"), date(2026, 12, 2)),
    ],
)
def test_a_last_day_is_a_date_in_utc(expires_in: Any, expires_on: Any, last_day: date | None) -> None:
    found = parse_last_day(expires_in, expires_on, start=NOW, now=NOW)
    assert (type(found), found) == (type(last_day), last_day)


def test_a_last_day_counts_from_the_start_in_utc() -> None:
    start = datetime(2026, 11, 24, 22, 0, tzinfo=timezone(timedelta(hours=-5)))
    assert parse_last_day(timedelta(minutes=1), NOT_SET, start=start, now=NOW) == date(2026, 11, 25)


@pytest.mark.parametrize(
    ("expires_in", "expires_on", "message"),
    [
        (7, NOT_SET, "expires_in is an int; it must be a timedelta, such as timedelta(days=7)."),
        (None, NOT_SET, "expires_in is None; it must be a timedelta, such as timedelta(days=7). " + HINT),
        (timedelta(0), NOT_SET, "expires_in is 0:00:00; it must be longer than 0."),
        (timedelta(days=-1), NOT_SET, "expires_in is -1 day, 0:00:00; it must be longer than 0."),
        (NOT_SET, None, "expires_on is None. " + HINT),
        (NOT_SET, " ", "expires_on is blank. Did a template render to nothing?"),
        (NOT_SET, "soon", "expires_on is 'soon'; it must be a date, such as 2026-12-01."),
        (NOT_SET, "20261201", "expires_on is '20261201'; it must be a date, such as 2026-12-01."),
        (NOT_SET, "2026-13-01", "expires_on is '2026-13-01'; it must be a date, such as 2026-12-01."),
        (NOT_SET, 7, "expires_on is an int; it must be a date, such as 2026-12-01."),
        (
            NOT_SET,
            "2026-11-23",
            "expires_on ends on 2026-11-23, which is in the past: the tag would have expired by the time it was added.",
        ),
        (
            NOT_SET,
            datetime(2026, 12, 1),  # noqa: DTZ001  # that is the point
            "expires_on is 2026-12-01 00:00:00, which has no time zone. Use a date, or a datetime with a time zone.",
        ),
    ],
)
def test_a_bad_expiry_is_refused(expires_in: Any, expires_on: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_last_day(expires_in, expires_on, start=NOW, now=NOW)
    assert str(caught.value) == message


def test_a_duration_that_ended_by_now_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="expires_in ends on 2026-11-08, which is in the past"):
        parse_last_day(timedelta(days=7), NOT_SET, start=NOW - timedelta(days=23), now=NOW)


@pytest.mark.parametrize("value", [None, "", " ", "\n", "None", " None ", "[]", "{}", "()", [], (), {}, set()])
def test_an_empty_value_is_refused_in_every_form(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="^within is (None|blank|empty|the text)"):
        check_not_empty("within", value)


@pytest.mark.parametrize("value", [0, False, "none", "0", ["a"], NOT_SET, timedelta(0)])
def test_any_other_value_is_not_empty(value: Any) -> None:
    check_not_empty("within", value)


@pytest.mark.parametrize("value", [7, ["stage:"], {"a": 1}, True, b"stage:"])
def test_a_prefix_is_text_and_nothing_else(value: Any) -> None:
    assert parse_prefix("stage:") == "stage:"
    with pytest.raises(InvalidArgumentError, match="within is an? .*; it must be a prefix, such as 'stage:'"):
        parse_prefix(value)


def test_a_concurrency_is_at_least_one() -> None:
    assert parse_max_concurrency(1) == 1
    with pytest.raises(InvalidArgumentError, match="max_concurrency is 0; it must be at least 1"):
        parse_max_concurrency(0)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"a": 1, "b": False}, ""),
        ({"a": NOT_SET, "b": True}, ""),
        ({"a": NOT_SET, "b": False}, "found none of them"),
        ({"a": None, "b": True}, "found a and b"),
        ({"a": NOT_SET, "b": NOT_SET, "c": NOT_SET}, "a, b and c; found none of them"),
    ],
)
def test_exactly_one_argument_is_passed(arguments: dict[str, Any], found: str) -> None:
    if not found:
        check_one_of("Task 't'", **arguments)
        return
    with pytest.raises(InvalidArgumentError, match=f"^Task 't': set exactly one of .*{found}.$"):
        check_one_of("Task 't'", **arguments)


@pytest.mark.parametrize("raising", [lambda: check_one_of("Task 't'", a=NOT_SET), lambda: _refuse_in_a_task("t")])
def test_a_mapped_task_with_a_bad_argument_is_not_retried(raising: Callable[[], None]) -> None:
    with pytest.raises(AirflowFailException, match="^Task 't': "):
        raising()


def _refuse_in_a_task(task_id: str) -> None:
    with naming_task(task_id):
        parse_bool("perhaps", "dry_run")


@pytest.mark.parametrize(
    "value", [None, 1, True, "x", "", ["a", {"b": "c"}], timedelta(1), NOW, date(2026, 1, 1), NOT_SET, (), {"x"}]
)
def test_a_plain_value_is_constant(value: Any) -> None:
    assert is_constant(value)


@pytest.mark.parametrize(
    "value", ["{{ x }}", "a{% if x %}b{% endif %}", "{# x #}", ["a", "{{ x }}"], {"a": ["{{ x }}"]}, object()]
)
def test_a_template_or_an_output_is_not_constant(value: Any) -> None:
    assert not is_constant(value)


def test_a_value_that_is_not_set_survives_copies() -> None:
    for copied in (copy.copy(NOT_SET), copy.deepcopy(NOT_SET), pickle.loads(pickle.dumps(NOT_SET))):  # noqa: S301
        assert copied is NOT_SET
    assert str(NOT_SET) == "not set"


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
        lambda value: parse_duration(value, "older_than"),
        parse_max_concurrency,
        parse_prefix,
        lambda value: parse_last_day(value, NOT_SET, start=NOW, now=NOW),
        lambda value: parse_last_day(NOT_SET, value, start=NOW, now=NOW),
    ):
        with suppress(InvalidArgumentError):
            parse(value)
