"""Policies: what tags should become, as pure functions of the tags that are there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import InvalidArgumentError, TagNotFoundError
from airflow_provider_paperspace.api.models import Tag, TagTarget
from airflow_provider_paperspace.api.policies import Policy

NAMES = st.text("ab:", min_size=1, max_size=4)


def tags(*names: str) -> dict[str, Tag]:
    return {name: Tag(1, name, "2026-03-02T09:15:00.000Z") for name in names}


def after(policy: Policy, before: set[str]) -> set[str]:
    """Return the names that the policy leads to."""
    there = tags(*before)
    return set(policy(there).plan("p", there).after)


@pytest.mark.parametrize(
    ("policy", "before", "target"),
    [
        (policies.adding(["x", "y", "x"]), ["x"], TagTarget(present=("x", "y"))),
        (policies.removing("x"), [], TagTarget(absent=("x",))),
        (policies.removing("x", missing_ok=False), ["x"], TagTarget(absent=("x",))),
        (policies.changing(add="x", remove=["y"]), [], TagTarget(("x",), ("y",))),
        (policies.setting("s:b", within="s:"), ["s:a", "g", "s:b"], TagTarget(("s:b",), ("s:a",), is_exclusive=True)),
        (policies.setting([], within="s:"), ["s:a", "g"], TagTarget((), ("s:a",), is_exclusive=True)),
        (policies.setting("x"), ["a", "b"], TagTarget(("x",), ("a", "b"), is_exclusive=True)),
    ],
)
def test_a_policy_returns_a_target(policy: Policy, before: list[str], target: TagTarget) -> None:
    assert policy(tags(*before)) == target


@given(names=st.lists(NAMES, max_size=4), before=st.sets(NAMES, max_size=6), prefix=st.sampled_from([None, "a", "a:"]))
def test_setting_touches_only_the_names_within(names: list[str], before: set[str], prefix: str | None) -> None:
    within = prefix or ""
    wanted = [within + name for name in names]
    ended = after(policies.setting(wanted, within=prefix), before)
    assert {name for name in ended if name.startswith(within)} == set(wanted)
    assert {name for name in ended if not name.startswith(within)} == {n for n in before if not n.startswith(within)}


@given(add=st.sets(NAMES, max_size=4), remove=st.sets(NAMES, max_size=4), before=st.sets(NAMES, max_size=6))
def test_a_change_made_twice_equals_one_made_once(add: set[str], remove: set[str], before: set[str]) -> None:
    policy = policies.changing(add=add, remove=remove - add)
    once = after(policy, before)
    assert after(policy, once) == once == (before | add) - (remove - add)


def test_a_missing_tag_that_is_required_is_named() -> None:
    with pytest.raises(TagNotFoundError, match="'y', 'z'") as caught:
        policies.removing(["x", "y", "z"], missing_ok=False)(tags("x"))
    assert caught.value.names == ("y", "z")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: policies.adding(""), "blank"),
        (lambda: policies.removing([7]), "must be a string, not an int"),  # type: ignore[list-item]
        (lambda: policies.changing(add=["a", "b"], remove="a"), "add and remove both contain 'a'[.]"),
        (lambda: policies.changing(add="ab", remove=["b", "ab"]), "add and remove both contain 'ab'[.]"),
        (lambda: policies.setting("b", within="s:"), "'b' does not start with 's:'"),
        (lambda: policies.setting(["b", "c"], within="s:"), "'b', 'c' do not start with 's:'"),
        (lambda: policies.setting("b", within=""), "within is empty"),
        (lambda: policies.setting("b", within=7), "within must be a prefix .*, not an int"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_policy_is_refused_before_any_read(make: Callable[[], Policy], complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        make()
