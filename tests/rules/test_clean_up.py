"""Which tags are stale, as a table; and what holds whatever the rules."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.rules.clean_up import CleanUpRules
from airflow_provider_paperspace.rules.patterns import Pattern

NOW = datetime(2026, 11, 24, 3, 30, tzinfo=UTC)
OLD, NEW = "2026-01-05T09:15:00.000Z", "2026-11-20T09:15:00.000Z"


def rules(*, names: tuple[str, ...] = (), keep: tuple[str, ...] = (), **options: Any) -> CleanUpRules:
    return CleanUpRules(now=NOW, names=tuple(map(Pattern, names)), keep=tuple(map(Pattern, keep)), **options)


@pytest.mark.parametrize(
    ("options", "name", "created", "reason"),
    [
        ({}, "gpu@2026-11-23", NEW, "expired after 2026-11-23"),
        ({}, "gpu@2026-11-24", OLD, None),
        ({}, "gpu", OLD, None),
        ({}, "gpu@2026-13-01", OLD, None),
        ({"expired": False, "names": ("x",)}, "gpu@2026-11-23", OLD, None),
        ({"names": ("stale:*",)}, "stale:x", NEW, "matches 'stale:*'"),
        ({"names": ("stale:*",)}, "gpu@2026-11-23", NEW, "expired after 2026-11-23"),
        ({"names": ("stale:*",)}, "other", NEW, None),
        ({"names": ("stale:*",), "keep": ("stale:x",)}, "stale:x", NEW, None),
        ({"keep": ("gpu*",)}, "gpu@2026-11-23", NEW, None),
        ({"older_than": timedelta(days=30)}, "any", OLD, "created on 2026-01-05"),
        ({"older_than": timedelta(days=30)}, "any", NEW, None),
        ({"older_than": timedelta(days=30)}, "any", "last year", None),
        ({"older_than": timedelta(days=30)}, "any", "2026-11-30T00:00:00Z", None),
        ({"older_than": timedelta(days=30), "names": ("s*",)}, "s1", OLD, "matches 's*', created on 2026-01-05"),
        ({"older_than": timedelta(days=30), "names": ("s*",)}, "s1", NEW, None),
        ({"older_than": timedelta(days=30), "names": ("s*",)}, "t1", OLD, None),
        ({"older_than": timedelta(days=30), "keep": ("any",)}, "any", OLD, None),
    ],
)
def test_a_tag_is_stale_for_a_reason(options: dict[str, Any], name: str, created: str, reason: str | None) -> None:
    assert rules(**options).stale_reason(Tag(1, name, created)) == reason


def test_a_name_of_another_task_is_no_pattern() -> None:
    literal = CleanUpRules(now=NOW, names=(Pattern("*", is_literal=True),), keep=(Pattern("k?", is_literal=True),))
    assert literal.stale_reason(Tag(1, "*", NEW)) == "matches '*'"
    assert literal.stale_reason(Tag(1, "gpu", NEW)) is None
    assert replace(literal, names=(Pattern("*"),)).stale_reason(Tag(1, "k1", NEW)) == "matches '*'"


@pytest.mark.parametrize(
    ("options", "name", "created", "reason"),
    [
        ({}, "gpu@2026-13-01", OLD, "the part after its last '@' is not a date such as 2026-12-01"),
        ({}, "gpu@2026-11-23", OLD, None),
        ({}, "gpu", "nonsense", None),
        ({"expired": False, "names": ("x",)}, "gpu@2026-13-01", OLD, None),
        ({"keep": ("gpu*",)}, "gpu@2026-13-01", OLD, None),
        ({"older_than": timedelta(days=1)}, "gpu", "nonsense", "its dtCreated 'nonsense' is not a date-time"),
        (
            {"older_than": timedelta(days=1)},
            "gpu",
            "2026-01-01T00:00:00",
            "its dtCreated '2026-01-01T00:00:00' is not a date-time",
        ),
    ],
)
def test_an_unreadable_date_is_reported(options: dict[str, Any], name: str, created: str, reason: str | None) -> None:
    assert rules(**options).unreadable_reason(Tag(1, name, created)) == reason


NAMES = st.sampled_from(["gpu", "stale:a", "keep", "g@2026-11-23", "g@2026-12-31", "g@2026-13-01", "keep@2020-01-01"])
PATTERNS = st.lists(
    st.builds(Pattern, st.sampled_from(["stale:*", "g*", "keep*", "*"]), st.booleans()), max_size=2
).map(tuple)
RULES = st.builds(
    CleanUpRules,
    names=PATTERNS,
    keep=PATTERNS,
    expired=st.booleans(),
    older_than=st.none() | st.just(timedelta(days=30)),
    now=st.just(NOW),
)


@given(rules=RULES, name=NAMES, created=st.sampled_from([OLD, NEW, "nonsense"]))
def test_keep_always_wins(rules: CleanUpRules, name: str, created: str) -> None:
    kept = replace(rules, keep=(*rules.keep, Pattern(name)))
    assert kept.stale_reason(Tag(1, name, created)) is None
    assert kept.unreadable_reason(Tag(1, name, created)) is None


@given(rules=RULES, name=NAMES)
def test_an_unreadable_date_is_no_age(rules: CleanUpRules, name: str) -> None:
    reason = rules.stale_reason(Tag(1, name, "nonsense"))
    assert reason is None or rules.older_than is None or reason.startswith("expired after")


@given(rules=RULES, name=NAMES, created=st.sampled_from([OLD, NEW, "nonsense"]))
def test_a_tag_is_stale_only_if_a_rule_names_it(rules: CleanUpRules, name: str, created: str) -> None:
    none = replace(rules, names=(), expired=False, older_than=None)
    assert none.stale_reason(Tag(1, name, created)) is None
    assert none.unreadable_reason(Tag(1, name, created)) is None


def test_rules_are_plain_json() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5)))
    stored = CleanUpRules(
        names=(Pattern("stale:*"), Pattern("*", is_literal=True)),
        keep=(Pattern("gpu"),),
        expired=False,
        older_than=timedelta(days=1, hours=12),
        now=local,
    ).as_json()
    assert json.loads(json.dumps(stored)) == stored
    assert stored == {
        "names": ["stale:*", {"name": "*"}],
        "keep": ["gpu"],
        "expired": False,
        "older_than_s": 129_600.0,
        "now": "2026-11-24T03:30:00+00:00",
    }
    assert rules().as_json()["older_than_s"] is None
