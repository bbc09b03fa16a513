"""A watch that is killed at any moment and started again loses no event, and never uses the id of another one.

The triggerer is a double: it saves an event a second after a trigger has handed it over, as a real one does, and what
it has not saved is lost when it dies. Airflow's store of the asset survives.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import airflow
import pytest

from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.triggers._polling import Reading
from tests.triggers import virtual_time

pytestmark = [
    pytest.mark.uncovered,
    pytest.mark.skipif(airflow.__version__ < "3", reason="event-driven scheduling begins with Airflow 3"),
]

SAVED_AFTER_S = 1.0

APPEARANCES = ["", "a", "a b", "b", "", "a", "", "a", "a c", "c", "a b c", "", "b", "", "b", ""]
"""The names of the tags at each poll, one after the other."""


class Killed(BaseException):
    """The triggerer died."""


class World:
    """A project whose tags change, and what survives a triggerer: Airflow's store, and the events that were saved.

    The tags change once a poll has been processed to its end: a tag that comes and goes between two polls is not seen.

    :param states: the names at each poll.
    :param poll_s: seconds between two polls.
    :param kills: the steps at which the triggerer dies, counted over all its lives.
    """

    def __init__(self, states: list[str], *, poll_s: float, kills: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        ids = count(1)
        self.polls: list[list[Tag]] = []
        self.appeared: set[int] = set()
        there: dict[str, Tag] = {}
        for state in states:
            new = {name: there.get(name) or Tag(next(ids), name, "") for name in state.split()}
            if self.polls:
                self.appeared |= {tag.id for name, tag in new.items() if name not in there}
            there = new
            self.polls.append(list(there.values()))
        self.poll_s, self.kills = poll_s, kills
        self.at = 0
        self.steps = 0
        self.store: dict[str, str] = {}
        self.saved: list[Any] = []
        self.handed_over: list[Any] = []

    def step(self) -> None:
        """Take one step, or die."""
        self.steps += 1
        if self.steps in self.kills:
            raise Killed

    async def aget(self, key: str) -> Any:
        self.step()
        return json.loads(self.store[key]) if key in self.store else None

    async def aset(self, key: str, value: Any) -> None:
        self.step()
        self.store[key] = json.dumps(value)
        self.step()

    async def readings(self) -> AsyncIterator[Reading]:
        while self.at < len(self.polls):
            self.step()
            yield Reading(tuple(self.polls[self.at]))
            self.at += 1
            await asyncio.sleep(self.poll_s)

    async def live(self, watch: Any) -> None:
        """Run a watch until it has seen everything, or dies."""
        watch.asset_state_store = self
        loop, unsaved = asyncio.get_running_loop(), []
        try:
            async for event in watch.filter_shared_stream(self.readings()):
                unsaved.append((loop.time(), json.loads(json.dumps(event.payload))))
                self.handed_over.append(event.payload)
                self.step()
        except Killed:
            self.saved += [payload for at_s, payload in unsaved if at_s <= loop.time() - SAVED_AFTER_S]
        else:
            self.saved += [payload for _, payload in unsaved]

    def run(self, *watches: Any) -> None:
        """Run watches one after the other; each one as often as it takes, with at most as many deaths as kills."""

        async def main() -> None:
            for watch in watches:
                self.at = 0
                while self.at < len(self.polls):
                    await self.live(watch())

        virtual_time.run(main())

    def check(self) -> None:
        """Each appearance was saved, and each has its own id, also among those that were lost."""
        assert {event["tag"]["id"] for event in self.saved} == self.appeared
        pairs = {(event["tag"]["id"], event["event_id"]) for event in self.handed_over}
        assert len(pairs) == len({tag for tag, _ in pairs}) == len({id_ for _, id_ in pairs})


def watch(**arguments: Any) -> Any:
    from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger

    return ProjectTagEventTrigger(**{"project_id": "p1", "tags": "*", **arguments})


POLLS_S = [0.5, 2.0, 60.0]


@pytest.mark.parametrize("poll_s", POLLS_S)
def test_an_uninterrupted_watch_delivers_each_event_once(poll_s: float) -> None:
    world = World(APPEARANCES, poll_s=poll_s)
    world.run(watch)
    world.check()
    assert len(world.saved) == len(world.appeared)


@pytest.mark.parametrize("poll_s", POLLS_S)
def test_a_watch_killed_at_any_step_loses_nothing(poll_s: float) -> None:
    whole = World(APPEARANCES, poll_s=poll_s)
    whole.run(watch)
    assert whole.steps > 50
    for kill in range(1, whole.steps + 1):
        world = World(APPEARANCES, poll_s=poll_s, kills={kill})
        world.run(watch)
        assert world.steps >= kill
        world.check()


@pytest.mark.parametrize("poll_s", POLLS_S)
@pytest.mark.parametrize("seed", range(30))
def test_a_watch_killed_again_and_again_loses_nothing(seed: int, poll_s: float) -> None:
    dice = random.Random(seed)  # noqa: S311  # a seed to repeat a failure
    states = ["", *(" ".join(dice.sample("abc", dice.randrange(4))) for _ in range(60))]
    world = World(states, poll_s=poll_s, kills={kill for kill in range(1, 600) if dice.random() < 0.1})
    world.run(watch)
    world.check()


def test_ids_never_repeat_after_a_watch_was_changed() -> None:
    """Back and forth between two forms of a watch: the second form and each return are new to all that came before."""
    world = World(APPEARANCES, poll_s=60)
    forms = [watch, lambda: watch(fire_on="both"), lambda: watch(tags=["a", "b"]), watch, watch]
    world.run(*forms)
    ids = [event["event_id"] for event in world.saved]
    assert len(ids) == len(set(ids)) > 4 * len(world.appeared)


def test_ids_never_repeat_after_a_thousand_other_names() -> None:
    others = [state for number in range(1_100) for state in (f"other-{number}", "")]
    world = World(["", "a", "", *others, "a", "", "a"], poll_s=60)
    world.run(watch)
    world.check()
    assert len({event["event_id"] for event in world.saved if event["tag"]["name"] == "a"}) == 3


def test_an_event_that_was_saved_is_not_kept_forever() -> None:
    world = World(["", "a", "a", "a"], poll_s=60)
    world.run(watch)
    (state,) = world.store.values()
    assert json.loads(state)["unsaved"] == []


@pytest.mark.parametrize("unsaved", [None, "a", [7], {"a": 1}])
def test_stored_events_that_make_no_sense_are_ignored(unsaved: Any) -> None:
    world = World(["", "a"], poll_s=60)
    world.run(watch)
    ((key, state),) = world.store.items()
    world.store[key] = json.dumps({**json.loads(state), "unsaved": unsaved})
    world.run(watch)
    assert [event["tag"]["name"] for event in world.saved] == ["a", "a"], "it went and came again"


def test_names_stay_literal_through_a_stored_watch() -> None:
    """Airflow keeps the arguments of a watch with the DAG, and its triggerer makes the watch of them."""
    from airflow.models.trigger import Trigger

    for tags, fired in ({"name": "exp[1]"}, []), ([{"name": "exp[1]"}], []), ("exp[1]", ["exp1"]):
        path, arguments = watch(tags=tags).serialize()
        stored = Trigger(classpath=path, kwargs=arguments).kwargs
        world = World(["", "exp1"], poll_s=60)
        world.run(lambda stored=stored: watch(**stored))  # type: ignore[misc]
        assert [event["tag"]["name"] for event in world.saved] == fired
