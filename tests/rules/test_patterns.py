"""Names and patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.rules.patterns import first_match


@pytest.mark.parametrize(
    ("name", "patterns", "match"),
    [
        ("stale:x", ["gpu", "stale:*"], "stale:*"),
        ("stale:x", ["STALE:*"], None),
        ("stale", ["stale:*"], None),
        ("v1", ["v?"], "v?"),
        ("v1", ["v[12]"], "v[12]"),
        ("v[12]", ["v[12]"], "v[12]"),
        ("a/b", ["*"], "*"),
        ("a", [], None),
        ("a", ["*", "a"], "*"),
    ],
)
def test_the_first_matching_pattern_is_returned(name: str, patterns: list[str], match: str | None) -> None:
    assert first_match(name, patterns) == match


@given(st.text())
def test_every_name_matches_itself(name: str) -> None:
    assert first_match(name, [name]) == name
