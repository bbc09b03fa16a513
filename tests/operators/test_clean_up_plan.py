"""A plan and its rules as JSON: what is read back from XCom, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.operators.clean_up import _parse_planned, _parse_rules
from airflow_provider_paperspace.rules.clean_up import CleanUpRules
from airflow_provider_paperspace.rules.patterns import Pattern

NOW = datetime(2026, 11, 24, 3, 30, tzinfo=UTC)
OLD, NEW = "2026-01-05T09:15:00.000Z", "2026-11-20T09:15:00.000Z"


NAMES = st.sampled_from(["gpu", "stale:a", "keep", "g@2026-11-23", "g@2026-12-31", "g@2026-13-01", "keep@2020-01-01"])
PATTERNS = st.lists(
    st.builds(Pattern, st.sampled_from(["stale:*", "g*", "keep*", "*", "[gk]*"]), st.booleans()),
    max_size=2,
    unique=True,
).map(tuple)
RULES = st.builds(
    CleanUpRules,
    names=PATTERNS,
    keep=PATTERNS,
    expired=st.just(True),
    older_than=st.none() | st.just(timedelta(days=30)),
    now=st.just(NOW),
)


@given(rules=RULES, name=NAMES, created=st.sampled_from([OLD, NEW, "nonsense"]))
def test_rules_survive_xcom_and_keep_always_wins(rules: CleanUpRules, name: str, created: str) -> None:
    tag = Tag(1, name, created)
    kept = CleanUpRules(**{f: getattr(rules, f) for f in rules.__slots__} | {"keep": (*rules.keep, Pattern(name))})
    assert kept.stale_reason(tag) is None
    parsed = _parse_rules({"rules": json.loads(json.dumps(rules.as_json()))}, keep=())
    assert parsed.stale_reason(tag) == rules.stale_reason(tag)
    assert parsed.unreadable_reason(tag) == rules.unreadable_reason(tag)
    assert _parse_rules({"rules": rules.as_json()}, keep=(Pattern(name, is_literal=True),)).stale_reason(tag) is None
    if created == "nonsense" and rules.stale_reason(tag):
        assert rules.older_than is None or "expired" in str(rules.stale_reason(tag)), "an unreadable date is no age"


RULES_JSON = CleanUpRules(now=NOW).as_json()


def test_rules_are_read_from_json() -> None:
    assert _parse_rules({"rules": RULES_JSON}, keep=()) == CleanUpRules(now=NOW)
    json_with_age = {**RULES_JSON, "older_than_s": 90, "names": ["a", "b*", {"name": "*"}], "keep": ["c"]}
    assert _parse_rules({"rules": json_with_age}, keep=(Pattern("d"),)) == CleanUpRules(
        names=(Pattern("a"), Pattern("b*"), Pattern("*", is_literal=True)),
        keep=(Pattern("c"), Pattern("d")),
        older_than=timedelta(seconds=90),
        now=NOW,
    )


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "plan has no rules"),
        ({}, "plan has no rules"),
        ({**RULES_JSON, "expired": "yes"}, "plan has no rules"),
        ({**RULES_JSON, "older_than_s": "7"}, "\\['older_than_s'\\] must be a number of seconds"),
        ({**RULES_JSON, "older_than_s": True}, "\\['older_than_s'\\] must be a number of seconds"),
        ({**RULES_JSON, "older_than_s": 0}, "\\['older_than_s'\\] must be a number of seconds"),
        ({**RULES_JSON, "older_than_s": -7}, "\\['older_than_s'\\] must be a number of seconds"),
        ({**RULES_JSON, "older_than_s": float("nan")}, "\\['older_than_s'\\] must be a number of seconds"),
        ({**RULES_JSON, "older_than_s": float("inf")}, "\\['older_than_s'\\] must be a number of seconds"),
        ({**RULES_JSON, "older_than_s": 1e300}, "\\['older_than_s'\\] must be a number of seconds"),
        (
            {**RULES_JSON, "older_than_s": timedelta.max.total_seconds()},
            "\\['older_than_s'\\] must be a number of seconds",
        ),
        ({**RULES_JSON, "now": "yesterday"}, "\\['now'\\] must be an ISO 8601 date-time"),
        ({**RULES_JSON, "now": None}, "\\['now'\\] must be an ISO 8601 date-time"),
        ({**RULES_JSON, "now": "2026-11-24T03:30:00"}, "\\['now'\\] has no time zone"),
        ({**RULES_JSON, "names": 7}, "rules\\['names'\\] is an int"),
        ({**RULES_JSON, "names": "[a"}, "rules\\['names'\\] contains the pattern"),
        ({**RULES_JSON, "keep": [7]}, "rules\\['keep'\\] contains an int"),
        ({**RULES_JSON, "expired": False}, "No tag can be stale"),
    ],
)
def test_rules_with_a_bad_value_are_refused(value: Any, complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        _parse_rules({"rules": value}, keep=())


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (None, "plan is None"),
        ([], "plan is a list"),
        ({}, "the complete report"),
        ({"planned": None}, "the complete report"),
        ({"planned": [7]}, "the complete report"),
        ({"planned": [{}]}, "project id must be a string"),
        ({"planned": [{"project_id": "p"}]}, "tag name must be a string"),
        ({"planned": [{"project_id": "", "tag": "x"}]}, "project id is empty"),
        ({"planned": [{"project_id": "p", "tag": ""}]}, "is blank"),
    ],
)
def test_a_plan_with_a_bad_removal_is_refused(plan: Any, complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        _parse_planned(plan)


def test_a_plan_has_each_tag_of_a_project_once() -> None:
    item = {"project_id": "p", "project": "name", "tag": "x", "reason": "matches 'x'"}
    assert _parse_planned({"planned": [item, {"project_id": "p", "tag": "x"}, {"project_id": "q", "tag": "x"}]}) == [
        {"project_id": "p", "project": "", "tag": "x", "reason": ""},
        {"project_id": "q", "project": "", "tag": "x", "reason": ""},
    ]
