"""Names and patterns."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.rules.patterns import Pattern, first_match, has_open_bracket

TEXTS = st.text("ab*?[]!^-:\\\n", max_size=6)


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
    assert first_match(name, map(Pattern, patterns)) == (None if match is None else Pattern(match))


@given(st.text(), st.booleans())
def test_every_name_matches_itself(name: str, is_literal: bool) -> None:
    assert Pattern(name, is_literal).matches(name)


@given(text=TEXTS, name=TEXTS)
def test_a_literal_name_matches_itself_only(text: str, name: str) -> None:
    literal = Pattern(text, is_literal=True)
    assert literal.matches(name) == (text == name)
    assert not literal.has_wildcard


@pytest.mark.parametrize("name", ["exp1", "gpu", "exp[1]x"])
@pytest.mark.parametrize("text", ["exp[1]", "*", "exp?", "[!a]*"])
def test_a_name_of_another_task_is_taken_literally(text: str, name: str) -> None:
    assert first_match(name, [Pattern(text, is_literal=True)]) is None


@given(text=TEXTS, name=TEXTS)
def test_only_a_wildcard_matches_another_name(text: str, name: str) -> None:
    assert Pattern(text).has_wildcard or Pattern(text).matches(name) == (text == name)


@given(text=TEXTS, is_literal=st.booleans())
def test_a_pattern_stays_what_it_is_as_json(text: str, is_literal: bool) -> None:
    stored: Any = json.loads(json.dumps(Pattern(text, is_literal).as_json()))
    read = Pattern(stored) if isinstance(stored, str) else Pattern(stored["name"], is_literal=True)
    assert read == Pattern(text, is_literal)


def test_a_pattern_is_quoted_in_messages() -> None:
    assert str(Pattern("stale:*")) == "'stale:*'"
    assert str(Pattern("a\nb", is_literal=True)) == r"'a\nb'"
    assert len(str(Pattern("x" * 3_000_000))) < 300


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("stale:*", False),
        ("[stale", True),
        ("stale[", True),
        ("[ab]", False),
        ("[ab]x[cd", True),
        ("[ab]x[cd]", False),
        ("[]", True),
        ("[]]", False),
        ("[!]", True),
        ("[!]]", False),
        ("[[]", False),
        ("[[]stale", False),
        ("]", False),
    ],
)
def test_a_bracket_that_is_never_closed_is_found(text: str, is_open: bool) -> None:
    assert has_open_bracket(text) is is_open


PLAIN = st.text("ab![^&~|\\", max_size=3)
LITERALS = st.text("ab!]^", max_size=3).map(lambda text: (text, text))
SETS = st.builds(
    lambda negation, first, rest: (f"[{negation}{first}{rest}]", "c" if negation else first),
    st.sampled_from(["", "!"]),
    st.sampled_from(list("ab][^&~|\\")),
    PLAIN,
)
"""Pairs of a part of a pattern, and a text that fnmatch matches with it."""


@given(
    st.lists(LITERALS | SETS),
    st.none() | st.builds(lambda start, rest: f"[{start}{rest}", st.sampled_from(["", "]", "!]"]), PLAIN),
)
def test_an_open_bracket_is_one_for_fnmatch_too(parts: list[tuple[str, str]], tail: str | None) -> None:
    """fnmatch takes a bracket literally if it is never closed, and what follows it, too."""
    pattern = "".join(part for part, _ in parts) + (tail or "")
    assert has_open_bracket(pattern) is (tail is not None)
    assert fnmatchcase("".join(text for _, text in parts) + (tail or ""), pattern)
