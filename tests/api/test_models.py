"""Values: dates, plain JSON, plans, and the record of a change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange, TagPlan, TagTarget
from tests.conversation import tag

NAMES = st.lists(st.sampled_from("abcdef"), unique=True)


def tags(*names: str) -> dict[str, Tag]:
    return {name: Tag(1, name, "2026-03-02T09:15:00.000Z") for name in names}


def test_json_has_the_keys_of_the_api() -> None:
    assert Tag(7, "gpu", "2026-03-02T09:15:00.000Z").as_json() == tag("gpu", 7)
    assert Project("p", "n", "d", "x", "u").as_json() == {"id": "p", "name": "n", "dtCreated": "d", "repoUrl": "u"}


def test_a_session_hides_the_email_address() -> None:
    assert "ada" not in repr(Session("u", "ada@example.org", "t", "acme"))


@given(st.datetimes(timezones=st.timezones()))
def test_created_at_is_an_instant_in_utc(moment: datetime) -> None:
    text = moment.isoformat()
    parsed = Tag(1, "a", text).created_at
    try:
        expected = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):  # the edges of time
        assert parsed is None
    else:
        assert parsed is not None
        assert (parsed, parsed.utcoffset()) == (expected, timedelta(0))


def test_created_at_reads_the_dates_of_the_service() -> None:
    assert Tag(1, "a", "2024-04-08T14:31:23.045Z").created_at == datetime(2024, 4, 8, 14, 31, 23, 45_000, UTC)


@pytest.mark.parametrize("text", ["2024-04-08T14:31:23", "yesterday", "", "0001-01-01T00:00:00+01:00"])
def test_created_at_is_none_if_unreadable(text: str) -> None:
    assert Tag(1, "a", text).created_at is None


def test_a_target_plans_only_what_differs() -> None:
    there = tags("a", "c")
    plan = TagTarget(present=("a", "b"), absent=("c", "d")).plan("p", there)
    assert plan == TagPlan("p", there, add=("b",), remove=("c",), unchanged=("a",), absent=("d",))
    assert plan.after == ("a", "b")
    assert (str(plan), str(TagTarget().plan("p", there))) == (
        "would add 'b'; would remove 'c'",
        "would add nothing; would remove nothing",
    )


@given(there=NAMES, present=NAMES, absent=NAMES)
def test_a_plan_leads_from_the_tags_to_the_target(there: list[str], present: list[str], absent: list[str]) -> None:
    gone = [name for name in absent if name not in present]
    plan = TagTarget(tuple(present), tuple(gone)).plan("p", tags(*there))
    assert set(plan.after) == (set(there) | set(present)) - set(gone)
    assert len(set(plan.after)) == len(plan.after)
    assert set(plan.add) | set(plan.unchanged) == set(present)
    assert set(plan.remove) | set(plan.absent) == set(gone)
    again = TagTarget(tuple(present), tuple(gone)).plan("p", tags(*plan.after))
    assert (again.add, again.remove) == ((), ())


def test_a_plan_does_not_follow_the_tags_it_was_made_from() -> None:
    there = tags("a")
    plan = TagTarget(present=("b",)).plan("p", there)
    there.clear()
    assert plan.after == ("a", "b")


A, B = Tag(1, "a", ""), Tag(2, "b", "")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (TagChange("p", added=[A], unchanged=[B]), "added 'a'; 'b' was already there"),
        (TagChange("p", unchanged=[A, B]), "'a', 'b' were already there"),
        (TagChange("p", removed=[A], absent=["b"]), "removed 'a'; 'b' was not there"),
        (TagChange("p", added=[A], removed=[B]), "added 'a'; removed 'b'"),
        (TagChange("p"), "no tags to change"),
    ],
)
def test_a_change_is_one_line_of_text(change: TagChange, text: str) -> None:
    assert str(change) == text


@pytest.mark.parametrize(
    ("change", "is_true"),
    [
        (TagChange("p"), False),
        (TagChange("p", before=("a",), after=("a",), unchanged=[A], absent=["b"]), False),
        (TagChange("p", added=[A]), True),
        (TagChange("p", removed=[A]), True),
    ],
)
def test_a_change_is_true_if_anything_was_written(change: TagChange, is_true: bool) -> None:
    assert bool(change) is is_true


def test_a_new_change_knows_no_tags() -> None:
    change = TagChange("p")
    assert (change.before, change.after) == (None, None)


def test_present_follows_the_order_of_the_names() -> None:
    assert TagChange("p", added=[A], unchanged=[B]).present(["b", "a"]) == [B, A]
