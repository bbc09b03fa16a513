"""What a wait asks of the tags, and which tags appeared or disappeared between two readings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.rules import watching
from airflow_provider_paperspace.rules.patterns import Pattern
from airflow_provider_paperspace.rules.watching import MAX_COUNTED_NAMES, MatchMode, TagCondition, TagWatch, event_id
from tests.clients import names_of

STORED = {"epoch": "e0", "seen": [], "counts": {}, "floor": 0}
READINGS = st.lists(st.sets(st.sampled_from(["a1", "a2", "b"])), min_size=1, max_size=12)


def tags(names: Iterable[str]) -> list[Tag]:
    return [Tag(1, name, "2026-03-02T09:15:00.000Z") for name in names]


def condition(patterns: Iterable[str], *mode: MatchMode) -> TagCondition:
    return TagCondition(tuple(map(Pattern, patterns)), *mode)


def new_watch(pattern: str, *, epoch: str = "e1") -> TagWatch:
    return TagWatch((Pattern(pattern),), epoch)


def restarted(watch: TagWatch) -> TagWatch:
    """Return a new watch that continues from what another one stored, in whatever order the store keeps it."""
    stored = json.loads(json.dumps(watch.as_json(), sort_keys=True))
    fresh = TagWatch(watch.patterns, "another")
    fresh.restore(stored)
    return fresh


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
        match = condition(patterns, mode).match(tags(there))
        assert (match.is_met, names_of(match.tags)) == (is_met, matching)

    @given(patterns=st.lists(st.sampled_from("abc"), min_size=1), there=st.lists(st.sampled_from("abcd"), unique=True))
    def test_all_implies_any_and_any_excludes_none(self, patterns: list[str], there: list[str]) -> None:
        met = {mode: condition(patterns, mode).match(tags(there)).is_met for mode in get_args(MatchMode)}
        assert not met["all"] or met["any"]
        assert met["any"] != met["none"]

    def test_a_condition_waits_for_all_patterns_by_default(self) -> None:
        assert condition("ab") == condition("ab", "all")

    def test_a_condition_is_one_line_of_text(self) -> None:
        assert str(condition(["approved", "eval:*"], "any")) == "any of 'approved', 'eval:*'"


class TestTagWatch:
    @given(readings=READINGS, restarts=st.sets(st.integers(0, 11)))
    def test_each_change_is_an_event_once_despite_restarts(self, readings: list[set[str]], restarts: set[int]) -> None:
        watch = new_watch("a*")
        seen: list[tuple[str, bool]] = []
        numbers: dict[str, list[int]] = {}
        for i, names in enumerate(readings):
            if i in restarts and i:
                watch = restarted(watch)
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
        watch = new_watch("a")
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
            {**STORED, "seen": "a"},
            {**STORED, "seen": [7]},
            {**STORED, "seen": None},
            {**STORED, "counts": {"a": "1"}},
            {**STORED, "counts": []},
            {**STORED, "epoch": None},
            {**STORED, "floor": "7"},
            {**STORED, "floor": True},
            {"seen": [], "counts": {}},
        ],
    )
    def test_an_unreadable_store_makes_the_next_reading_a_baseline(self, stored: object) -> None:
        watch = new_watch("a")
        watch.restore(stored)
        assert watch.observe(tags(["a"])) == []
        assert (watch.epoch, watch.counts, watch.floor) == ("e1", {}, 0)

    def test_what_is_stored_does_not_grow_forever(self) -> None:
        watch = new_watch("*")
        watch.observe([])
        for number in range(1_500):
            watch.observe(tags([f"run-{number}"]))
        assert len(watch.counts) == MAX_COUNTED_NAMES == 1_000
        assert watch.counts["run-1498"] == watch.counts["run-1499"] + 1

    def test_what_is_stored_does_not_follow_the_watch(self) -> None:
        watch = new_watch("*")
        watch.observe([])
        stored = watch.as_json()
        watch.observe(tags(["a"]))
        assert stored == {"epoch": "e1", "seen": [], "counts": {}, "floor": 0}

    def test_what_is_stored_is_restored(self) -> None:
        watch = new_watch("*")
        watch.restore({"epoch": "e0", "seen": ["a"], "counts": {"a": 7}, "floor": 4})
        assert [(event.name, event.number) for event in watch.observe(tags("b"))] == [("a", 8), ("b", 5)]
        assert watch.as_json() == {"epoch": "e0", "seen": ["b"], "counts": {"a": 8, "b": 5}, "floor": 4}


class TestEventNumbers:
    """No number is used twice for a name, however many names come and go: the id of an event is never repeated."""

    @given(steps=st.lists(st.tuples(st.sets(st.sampled_from("abcdef")), st.booleans()), max_size=60))
    def test_a_number_never_repeats_for_a_name(self, steps: list[tuple[set[str], bool]]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(watching, "MAX_COUNTED_NAMES", 2)  # so that almost every name is forgotten
            assert_numbers_grow((names, restart) for names, restart in steps)

    @pytest.mark.parametrize("seed", range(5))
    def test_thousands_of_names_and_restarts_repeat_none(self, seed: int) -> None:
        random = Random(seed)  # noqa: S311  # not a secret
        names = [f"run-{number}" for number in range(3_000)]
        assert_numbers_grow(({*random.sample(names, 400), "always"}, random.random() < 0.2) for _ in range(40))

    def test_a_name_that_was_forgotten_counts_on(self) -> None:
        watch = new_watch("*")
        watch.observe([])
        (first,) = watch.observe(tags(["gpu"]))
        for number in range(2 * MAX_COUNTED_NAMES):
            watch.observe(tags(["gpu", f"run-{number}"]))
        (last,) = watch.observe(tags([f"run-{number}"]))
        assert "gpu" in watch.counts
        assert last.name == "gpu"
        assert last.number > first.number

    @given(epochs=st.lists(st.text(), unique=True, min_size=2, max_size=2), number=st.integers(1))
    def test_ids_differ_between_epochs(self, epochs: list[str], number: int) -> None:
        first, second = (event_id("p1", "watch", epoch, "gpu", "appeared", number) for epoch in epochs)
        assert first != second

    def test_a_new_baseline_has_an_epoch_of_its_own(self) -> None:
        ids = []
        for epoch in ("e1", "e2"):
            watch = new_watch("*", epoch=epoch)
            watch.observe([])
            ids += [event_id("p1", watch.epoch, event.name, event.number) for event in watch.observe(tags("ab"))]
        assert len(set(ids)) == 4


def assert_numbers_grow(steps: Iterable[tuple[set[str], bool]]) -> None:
    """Let a watch observe these names, with a restart after some of them, and compare the numbers of each name."""
    watch = new_watch("*")
    numbers: dict[str, int] = {}
    for names, restart in steps:
        for event in watch.observe(tags(sorted(names))):
            assert event.number > numbers.get(event.name, 0), event.name
            numbers[event.name] = event.number
        watch = restarted(watch) if restart else watch


def test_an_event_id_is_the_same_on_every_machine() -> None:
    assert event_id("p1", ["a"], 1) == "8c16b829ba8541297fcaa445b29bab31"
    assert len({event_id("p1", number) for number in range(100)}) == 100
