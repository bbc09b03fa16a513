"""A hundred appearances of a tag, in an Airflow whose triggerer is killed again and again."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.secret_watch import API_KEY
from tests.system.real_airflow import RealAirflow, polls

PROJECTS, ROUNDS = [f"driven-{number}" for number in range(5)], 20


@pytest.fixture
def world() -> Iterator[LocalPaperspaceServer]:
    projects = [{"id": id_, "tags": ["ready:old"]} for id_ in PROJECTS]
    with LocalPaperspaceServer(api_key=API_KEY, seed={"projects": projects}) as server:
        yield server


@pytest.fixture
def real(world: LocalPaperspaceServer, tmp_path: Path) -> Iterator[RealAirflow]:
    connection = world.connection_json(max_attempts=2)
    with RealAirflow(tmp_path, Path(__file__).parent / "dags", AIRFLOW_CONN_PAPERSPACE_DEFAULT=connection) as real:
        yield real


def test_no_appearance_is_lost_whenever_a_triggerer_dies(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    """A hundred appearances, a triggerer that is killed at random moments of every other round, and failing polls."""
    dice = random.Random(2026)  # noqa: S311  # a seed to repeat a failure
    real.wait("the baselines", lambda: len(stored(real)) == len(PROJECTS))
    for number in range(1, ROUNDS + 1):
        _let_a_third_of_the_polls_fail(world, number)
        dies_before, dies_after = (number % 4 == 0), (number % 4 == 2)
        if dies_before:
            kill_after_polls(real, world, dice.randrange(20))
        for id_ in PROJECTS:
            world.paperspace.add_tag(id_, {"name": f"ready:{number % 2}"})
        if dies_after:
            kill_after_polls(real, world, dice.randrange(20))
        if dies_before or dies_after:
            real.start("triggerer")
        expected = dict.fromkeys(PROJECTS, number)
        real.wait(f"the events of round {number}", lambda expected=expected: events(real) == expected)  # type: ignore[misc]
        if number % 3 == 0:
            wait_until_nothing_is_unsaved(real)
        for id_ in PROJECTS:
            world.paperspace.remove_tag(id_, {"name": f"ready:{number % 2}"})
        poll_twice(real, world)

    wait_until_nothing_is_unsaved(real)
    assert events(real) == dict.fromkeys(PROJECTS, ROUNDS), "no loss, and a double has the id of its original"
    assert len(delivered(real)) == 100
    for payloads in delivered(real).values():
        assert payloads == [payloads[0]] * len(payloads)
    # Airflow merges events that come close together, and may leave one of them to the next run.
    for id_ in PROJECTS:
        world.paperspace.add_tag(id_, {"name": "ready:last"})
    unused = "SELECT count(*) FROM asset_event WHERE id NOT IN (SELECT event_id FROM dagrun_asset_event)"
    real.wait("the last events", lambda: len(delivered(real)) == 105)
    real.wait("a run for each event", lambda: real.rows(unused) == [(0,)])
    assert real.files_with(PROJECTS[0]), "the search finds what is there"
    assert not real.files_with(API_KEY)


def delivered(real: RealAirflow) -> dict[str, list[Any]]:
    """Return the payloads of all events by event id."""
    payloads: dict[str, list[Any]] = {}
    for (extra,) in real.rows("SELECT extra FROM asset_event ORDER BY id"):
        payload = json.loads(extra)["payload"]
        payloads.setdefault(payload["event_id"], []).append(payload)
    return payloads


def events(real: RealAirflow) -> dict[str, int]:
    """Return the number of events of each project, doubles not counted."""
    return dict(Counter(payloads[0]["project_id"] for payloads in delivered(real).values()))


def poll_twice(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    since = {id_: polls(world, id_) for id_ in PROJECTS}
    real.wait("two polls of each project", lambda: all(polls(world, id_) > since[id_] + 1 for id_ in PROJECTS))


def kill_after_polls(real: RealAirflow, world: LocalPaperspaceServer, number: int) -> None:
    """Kill the triggerer as soon as it has sent this many more polls."""
    before = sum(polls(world, id_) for id_ in PROJECTS)
    real.wait(f"{number} polls", lambda: sum(polls(world, id_) for id_ in PROJECTS) >= before + number)
    real.kill("triggerer")


def stored(real: RealAirflow) -> list[Any]:
    return [json.loads(value) for (value,) in real.rows("SELECT value FROM asset_state_store")]


def wait_until_nothing_is_unsaved(real: RealAirflow) -> None:
    real.wait("the end of the handover", lambda: not any(state["unsaved"] for state in stored(real)))


def _let_a_third_of_the_polls_fail(world: LocalPaperspaceServer, number: int) -> None:
    for i, id_ in enumerate(PROJECTS):
        if (number + i) % 3 == 0:
            world.fault(("500", "reset", "502", "truncated")[number % 4], path=f"/{id_}/", times=1 + i % 2)
