"""Tags that come and go: each is told once."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.api.sightings import Sightings, event_id

LOOKS = st.lists(st.sets(st.sampled_from(["a1", "a2", "b"])), min_size=1, max_size=12)


def tags(names: Any) -> list[Tag]:
    return [Tag(1, name, "2026-03-02T09:15:00.000Z") for name in sorted(names)]


@given(looks=LOOKS, restarts=st.sets(st.integers(0, 11)))
def test_each_coming_and_going_is_told_once_also_over_restarts(looks: list[set[str]], restarts: set[int]) -> None:
    sightings = Sightings(("a*",))
    told: list[tuple[str, bool]] = []
    numbers: dict[str, list[int]] = {}
    for i, names in enumerate(looks):
        if i in restarts and i:
            kept = json.loads(json.dumps(sightings.as_json()))
            sightings = Sightings(("a*",))
            sightings.recall(kept)
        found = sightings.look(tags(names))
        told += [(sighting.name, sighting.appeared) for sighting in found]
        for sighting in found:
            numbers.setdefault(sighting.name, []).append(sighting.number)
    expected: list[tuple[str, bool]] = []
    for before, after in pairwise(looks):
        expected += [(name, name in after) for name in sorted((before ^ after) - {"b"})]
    assert told == expected
    assert all(of_name == list(range(1, len(of_name) + 1)) for of_name in numbers.values())


def test_what_is_there_at_the_first_look_has_not_appeared() -> None:
    sightings = Sightings(("a",))
    assert sightings.look(tags(["a"])) == []
    assert sightings.look(tags(["a"])) == []
    assert [(s.name, s.appeared, s.tag) for s in sightings.look([])] == [("a", False, None)]
    (came,) = sightings.look(tags(["a"]))
    assert (came.appeared, came.number, came.tag) == (True, 2, tags(["a"])[0])


@pytest.mark.parametrize(
    "kept",
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
def test_what_was_kept_and_cannot_be_read_makes_the_next_look_a_baseline(kept: object) -> None:
    sightings = Sightings(("a",))
    sightings.recall(kept)
    assert sightings.look(tags(["a"])) == []


def test_an_event_has_the_same_id_wherever_it_is_told() -> None:
    assert event_id("p1", ["a"], 1) == "8c16b829ba8541297fcaa445b29bab31"
    assert len({event_id("p1", number) for number in range(100)}) == 100


def test_what_is_kept_does_not_grow_for_ever() -> None:
    sightings = Sightings(("*",))
    sightings.look([])
    for number in range(1_500):
        sightings.look(tags([f"run-{number}"]))
    assert len(sightings.counts) == 1_000
    assert sightings.counts["run-1498"] == 2
