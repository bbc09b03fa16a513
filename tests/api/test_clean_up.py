"""Which tags are stale, as a table; and what holds whatever the rules."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.clean_up import CleanUpRules, planned_from_json, rules_from_json
from airflow_provider_paperspace.api.models import Tag

NOW = datetime(2026, 11, 24, 3, 30, tzinfo=UTC)
OLD, NEW = "2026-01-05T09:15:00.000Z", "2026-11-20T09:15:00.000Z"


def rules(**options: Any) -> CleanUpRules:
    return CleanUpRules(now=NOW, **options)


@pytest.mark.parametrize(
    ("options", "name", "created", "reason"),
    [
        ({}, "gpu@2026-11-23", NEW, "its last day was 2026-11-23"),
        ({}, "gpu@2026-11-24", OLD, None),
        ({}, "gpu", OLD, None),
        ({}, "gpu@2026-13-01", OLD, None),
        ({"expired": False, "names": ("x",)}, "gpu@2026-11-23", OLD, None),
        ({"names": ("stale:*",)}, "stale:x", NEW, "matches 'stale:*'"),
        ({"names": ("stale:*",)}, "gpu@2026-11-23", NEW, "its last day was 2026-11-23"),
        ({"names": ("stale:*",)}, "other", NEW, None),
        ({"names": ("stale:*",), "keep": ("stale:x",)}, "stale:x", NEW, None),
        ({"keep": ("gpu*",)}, "gpu@2026-11-23", NEW, None),
        ({"older_than": timedelta(days=30)}, "any", OLD, "was created on 2026-01-05"),
        ({"older_than": timedelta(days=30)}, "any", NEW, None),
        ({"older_than": timedelta(days=30)}, "any", "last year", None),
        ({"older_than": timedelta(days=30)}, "any", "2026-11-30T00:00:00Z", None),
        ({"older_than": timedelta(days=30), "names": ("s*",)}, "s1", OLD, "matches 's*' and was created on 2026-01-05"),
        ({"older_than": timedelta(days=30), "names": ("s*",)}, "s1", NEW, None),
        ({"older_than": timedelta(days=30), "names": ("s*",)}, "t1", OLD, None),
        ({"older_than": timedelta(days=30), "keep": ("any",)}, "any", OLD, None),
    ],
)
def test_a_tag_is_stale_for_a_reason(options: dict[str, Any], name: str, created: str, reason: str | None) -> None:
    assert rules(**options).reason(Tag(1, name, created)) == reason


@pytest.mark.parametrize(
    ("options", "name", "created", "doubt"),
    [
        ({}, "gpu@2026-13-01", OLD, "what follows its last '@' is no date such as 2026-12-01"),
        ({}, "gpu@2026-11-23", OLD, None),
        ({}, "gpu", "nonsense", None),
        ({"expired": False, "names": ("x",)}, "gpu@2026-13-01", OLD, None),
        ({"keep": ("gpu*",)}, "gpu@2026-13-01", OLD, None),
        ({"older_than": timedelta(days=1)}, "gpu", "nonsense", "its dtCreated 'nonsense' is no date-time"),
        ({"older_than": timedelta(days=1)}, "gpu", "2026-01-01T00:00:00", "its dtCreated '2026-01-01T00:00:00' is no"),
    ],
)
def test_a_date_that_cannot_be_read_is_told(
    options: dict[str, Any], name: str, created: str, doubt: str | None
) -> None:
    found = rules(**options).doubt(Tag(1, name, created))
    assert (found or "").startswith(doubt or "")
    assert (found is None) == (doubt is None)


NAMES = st.sampled_from(["gpu", "stale:a", "keep", "g@2026-11-23", "g@2026-12-31", "g@2026-13-01", "keep@2020-01-01"])
PATTERNS = st.lists(st.sampled_from(["stale:*", "g*", "keep*", "*"]), max_size=2).map(tuple)
RULES = st.builds(
    CleanUpRules,
    names=PATTERNS,
    keep=PATTERNS,
    expired=st.just(True),
    older_than=st.none() | st.just(timedelta(days=30)),
    now=st.just(NOW),
)


@given(rules=RULES, name=NAMES, created=st.sampled_from([OLD, NEW, "nonsense"]))
def test_whatever_the_rules_keep_wins_and_they_travel_unchanged(rules: CleanUpRules, name: str, created: str) -> None:
    tag = Tag(1, name, created)
    kept = CleanUpRules(**{f: getattr(rules, f) for f in rules.__slots__} | {"keep": (*rules.keep, name)})
    assert kept.reason(tag) is None
    travelled = rules_from_json(json.loads(json.dumps(rules.as_json())))
    assert travelled.reason(tag) == rules.reason(tag)
    assert rules_from_json(rules.as_json(), keep=(name,)).reason(tag) is None
    if created == "nonsense" and rules.reason(tag):
        assert rules.older_than is None or "last day" in str(rules.reason(tag)), "an unreadable date is no age"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"expired": False}, "There is no criterion"),
        ({"expired": False, "keep": ("x",)}, "There is no criterion"),
        ({"older_than": timedelta(0)}, "above 0"),
        ({"older_than": -timedelta(days=1)}, "above 0"),
    ],
)
def test_rules_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        rules(**options)


RULES_JSON = rules().as_json()


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {**RULES_JSON, "expired": "yes"},
        {**RULES_JSON, "older_than_s": "7"},
        {**RULES_JSON, "older_than_s": float("nan")},
        {**RULES_JSON, "now": "yesterday"},
        {**RULES_JSON, "now": None},
        {**RULES_JSON, "now": "2026-11-24T03:30:00"},
        {**RULES_JSON, "names": None},
        {**RULES_JSON, "keep": [7]},
        {**RULES_JSON, "expired": False},
    ],
)
def test_rules_that_did_not_travel_well_are_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        rules_from_json(value)


@pytest.mark.parametrize(
    "value",
    [
        *(None, [], {}, {"planned": None}, {"planned": [7]}, {"planned": [{}]}, {"planned": [{"project_id": "p"}]}),
        *({"planned": [{"project_id": "", "tag": "x"}]}, {"planned": [{"project_id": "p", "tag": ""}]}),
    ],
)
def test_a_plan_that_did_not_travel_well_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        planned_from_json(value)


def test_a_plan_names_each_tag_of_a_project_once() -> None:
    item = {"project_id": "p", "project": "name", "tag": "x", "reason": "matches 'x'"}
    assert planned_from_json({"planned": [item, {"project_id": "p", "tag": "x"}, {"project_id": "q", "tag": "x"}]}) == [
        {"project_id": "p", "project": "", "tag": "x", "reason": ""},
        {"project_id": "q", "project": "", "tag": "x", "reason": ""},
    ]
