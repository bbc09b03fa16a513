"""What a wait asks of the tags, and which tags appeared or disappeared between two readings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.rules.watching import MAX_COUNTED_NAMES, MatchMode, TagCondition, TagWatch, event_id
from tests.clients import names_of

READINGS = st.lists(st.sets(st.sampled_from(["a1", "a2", "b"])), min_size=1, max_size=12)


def tags(names: Iterable[str]) -> list[Tag]:
    return [Tag(1, name, "2026-03-02T09:15:00.000Z") for name in names]


class TestTagCondition:
    @pytest.mark.parametrize(
        ("patterns", "mode", "there", "is_met", "matching"),
        [
            (["a"], "all", ["a", "b"], True, ["a"]),
            (["a"], "all", ["b"], False, []),
            (["a", "b"], "all", ["b", "x"], False, ["b"]),
            (["a", "b"], "all", ["b", "x", "a"], True, ["b", "a"]),
            (["ok:*", "a"], "all", ["ok:1", "ok:2"], False, ["ok:1", "ok:2"]),
            (["ok:*", "a"], "any", ["ok:1", "ok:2"], True, ["ok:1", "ok:2"]),
            (["ok:*", "a"], "any", ["b"], False, []),
            (["busy", "lock:*"], "none", ["b"], True, []),
            (["busy", "lock:*"], "none", ["b", "lock:1"], False, ["lock:1"]),
        ],
    )
    def test_the_mode_decides_when_a_wait_is_over(
        self, patterns: list[str], mode: MatchMode, there: list[str], is_met: bool, matching: list[str]
    ) -> None:
        match = TagCondition(tuple(patterns), mode).match(tags(there))
        assert (match.is_met, names_of(match.tags)) == (is_met, matching)

    @given(patterns=st.lists(st.sampled_from("abc"), min_size=1), there=st.lists(st.sampled_from("abcd"), unique=True))
    def test_all_implies_any_and_any_excludes_none(self, patterns: list[str], there: list[str]) -> None:
        met = {mode: TagCondition(tuple(patterns), mode).match(tags(there)).is_met for mode in get_args(MatchMode)}
        assert not met["all"] or met["any"]
        assert met["any"] != met["none"]

    def test_a_condition_waits_for_all_patterns_by_default(self) -> None:
        assert TagCondition(("a", "b")) == TagCondition(("a", "b"), "all")

    def test_a_condition_is_one_line_of_text(self) -> None:
        assert str(TagCondition(("approved", "eval:*"), "any")) == "any of 'approved', 'eval:*'"


class TestTagWatch:
    @given(readings=READINGS, restarts=st.sets(st.integers(0, 11)))
    def test_each_change_is_an_event_once_despite_restarts(self, readings: list[set[str]], restarts: set[int]) -> None:
        watch = TagWatch(("a*",))
        seen: list[tuple[str, bool]] = []
        numbers: dict[str, list[int]] = {}
        for i, names in enumerate(readings):
            if i in restarts and i:
                stored = json.loads(json.dumps(watch.as_json()))
                watch = TagWatch(("a*",))
                watch.restore(stored)
            events = watch.observe(tags(sorted(names)))
            seen += [(event.name, event.appeared) for event in events]
            for event in events:
                numbers.setdefault(event.name, []).append(event.number)
        expected: list[tuple[str, bool]] = []
        for before, after in pairwise(readings):
            expected += [(name, name in after) for name in sorted((before ^ after) - {"b"})]
        assert seen == expected
        assert all(of_name == list(range(1, len(of_name) + 1)) for of_name in numbers.values())

    def test_the_first_reading_is_the_baseline(self) -> None:
        watch = TagWatch(("a",))
        assert watch.observe(tags(["a"])) == []
        assert watch.observe(tags(["a"])) == []
        assert [(event.name, event.appeared, event.tag) for event in watch.observe([])] == [("a", False, None)]
        (event,) = watch.observe(tags(["a"]))
        assert (event.appeared, event.number, event.tag) == (True, 2, tags(["a"])[0])

    @pytest.mark.parametrize(
        "stored",
        [
            None,
            7,
            "x",
            {},
            {"seen": "a", "counts": {}},
            {"seen": [7], "counts": {}},
            {"seen": []},
            {"seen": [], "counts": {"a": "1"}},
        ],
    )
    def test_an_unreadable_store_makes_the_next_reading_a_baseline(self, stored: object) -> None:
        watch = TagWatch(("a",))
        watch.restore(stored)
        assert watch.observe(tags(["a"])) == []

    def test_what_is_stored_does_not_grow_forever(self) -> None:
        watch = TagWatch(("*",))
        watch.observe([])
        for number in range(1_500):
            watch.observe(tags([f"run-{number}"]))
        assert len(watch.counts) == MAX_COUNTED_NAMES == 1_000
        assert watch.counts["run-1498"] == 2

    def test_what_is_stored_does_not_follow_the_watch(self) -> None:
        watch = TagWatch(("*",))
        watch.observe([])
        stored = watch.as_json()
        watch.observe(tags(["a"]))
        assert stored == {"seen": [], "counts": {}}


def test_an_event_id_is_the_same_on_every_machine() -> None:
    assert event_id("p1", ["a"], 1) == "8c16b829ba8541297fcaa445b29bab31"
    assert len({event_id("p1", number) for number in range(100)}) == 100
