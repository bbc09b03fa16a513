"""What the tags are to become, as pure functions of what is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import TagNotFoundError
from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.api.policies import Policy, Wanted

NAMES = st.text("ab:", min_size=1, max_size=4)


def there(*names: str) -> dict[str, Tag]:
    return {name: Tag(1, name, "2026-03-02T09:15:00.000Z") for name in names}


def after(policy: Policy, before: set[str]) -> set[str]:
    """Do what the policy wants."""
    wanted = policy(there(*before))
    return (before | set(wanted.missing_in(before))) - set(wanted.surplus_in(before))


@pytest.mark.parametrize(
    ("policy", "before", "wanted"),
    [
        (policies.adding(["x", "y", "x"]), ["x"], Wanted(present=("x", "y"))),
        (policies.removing("x"), [], Wanted(gone=("x",))),
        (policies.removing("x", missing_ok=False), ["x"], Wanted(gone=("x",))),
        (policies.changing(add="x", remove=["y"]), [], Wanted(("x",), ("y",))),
        (policies.setting("s:b", within="s:"), ["s:a", "g", "s:b"], Wanted(("s:b",), ("s:a",))),
        (policies.setting([], within="s:"), ["s:a", "g"], Wanted((), ("s:a",))),
        (policies.setting("x"), ["a", "b"], Wanted(("x",), ("a", "b"))),
    ],
)
def test_a_policy_wants_names_there_and_names_gone(policy: Policy, before: list[str], wanted: Wanted) -> None:
    assert policy(there(*before)) == wanted


def test_the_difference_is_all_that_is_to_be_done() -> None:
    wanted = Wanted(present=("a", "b"), gone=("c", "d"))
    assert wanted.missing_in(["a", "c"]) == ("b",)
    assert wanted.surplus_in(["a", "c"]) == ("c",)


@given(names=st.lists(NAMES, max_size=4), before=st.sets(NAMES, max_size=6), prefix=st.sampled_from([None, "a", "a:"]))
def test_setting_ends_with_exactly_the_names_within_and_touches_nothing_else(
    names: list[str], before: set[str], prefix: str | None
) -> None:
    within = prefix or ""
    asked = [within + name for name in names]
    ended = after(policies.setting(asked, within=prefix), before)
    assert {name for name in ended if name.startswith(within)} == set(asked)
    assert {name for name in ended if not name.startswith(within)} == {n for n in before if not n.startswith(within)}


@given(add=st.sets(NAMES, max_size=4), remove=st.sets(NAMES, max_size=4), before=st.sets(NAMES, max_size=6))
def test_a_change_done_twice_is_the_change_done_once(add: set[str], remove: set[str], before: set[str]) -> None:
    policy = policies.changing(add=add, remove=remove - add)
    once = after(policy, before)
    assert after(policy, once) == once == (before | add) - (remove - add)


def test_a_tag_that_must_be_there_and_is_not_is_named() -> None:
    with pytest.raises(TagNotFoundError, match="'y', 'z'") as caught:
        policies.removing(["x", "y", "z"], missing_ok=False)(there("x"))
    assert caught.value.names == ("y", "z")


@pytest.mark.parametrize(
    ("make", "error", "complaint"),
    [
        (lambda: policies.adding(""), ValueError, "blank"),
        (lambda: policies.removing([7]), TypeError, "not a int"),  # type: ignore[list-item]
        (lambda: policies.changing(add=["a", "b"], remove="a"), ValueError, "'a' is to be added and removed at once"),
        (lambda: policies.setting("b", within="s:"), ValueError, "'b' does not begin with 's:'"),
        (lambda: policies.setting(["b", "c"], within="s:"), ValueError, "'b', 'c' do not begin with 's:'"),
        (lambda: policies.setting("b", within=""), ValueError, "within is empty"),
        (lambda: policies.setting("b", within=7), TypeError, "not a int"),  # type: ignore[arg-type]
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_before_any_tag_is_read(
    make: object, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        make()  # type: ignore[operator]
