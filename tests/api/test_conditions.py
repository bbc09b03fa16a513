"""What a waiting task asks of the tags, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.conditions import MATCH_MODES, tag_condition
from airflow_provider_paperspace.api.models import Tag


def tags(*names: str) -> list[Tag]:
    return [Tag(1, name, "2026-03-02T09:15:00.000Z") for name in names]


@pytest.mark.parametrize(
    ("patterns", "mode", "there", "is_met", "matching"),
    [
        ("a", "all", ["a", "b"], True, ["a"]),
        ("a", "all", ["b"], False, []),
        (["a", "b"], "all", ["b", "x"], False, ["b"]),
        (["a", "b"], "all", ["b", "x", "a"], True, ["b", "a"]),
        (["ok:*", "a"], "all", ["ok:1", "ok:2"], False, ["ok:1", "ok:2"]),
        (["ok:*", "a"], "any", ["ok:1", "ok:2"], True, ["ok:1", "ok:2"]),
        (["ok:*", "a"], "any", ["b"], False, []),
        (["busy", "lock:*"], "none", ["b"], True, []),
        (["busy", "lock:*"], "none", ["b", "lock:1"], False, ["lock:1"]),
    ],
)
def test_a_wait_is_over_when_the_tags_are_as_the_mode_says(
    patterns: str | list[str], mode: str, there: list[str], is_met: bool, matching: list[str]
) -> None:
    look = tag_condition(patterns, mode).look(tags(*there))
    assert (look.is_met, [tag.name for tag in look.matching]) == (is_met, matching)


@given(patterns=st.lists(st.sampled_from("abc"), min_size=1), there=st.lists(st.sampled_from("abcd"), unique=True))
def test_all_means_any_and_any_is_the_opposite_of_none(patterns: list[str], there: list[str]) -> None:
    met = {mode: tag_condition(patterns, mode).look(tags(*there)).is_met for mode in MATCH_MODES}
    assert not met["all"] or met["any"]
    assert met["any"] != met["none"]


@pytest.mark.parametrize(
    ("patterns", "mode", "complaint"),
    [
        ([], "all", "no tag to wait for"),
        (["a", " "], "all", "blank"),
        ("a", "most", "must be one of 'all', 'any', 'none'"),
    ],
)
def test_a_wait_that_makes_no_sense_is_refused(patterns: str | list[str], mode: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        tag_condition(patterns, mode)


def test_a_condition_says_what_is_waited_for() -> None:
    assert str(tag_condition(["approved", "eval:*"], "any")) == "any of 'approved', 'eval:*'"
