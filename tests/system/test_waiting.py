"""Waits, events and callbacks in a real Airflow, scheduler and triggerer included, one of which is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY
from tests.system.real_airflow import ON_AIRFLOW_2, RealAirflow

pytestmark = pytest.mark.timeout(1800)

PROJECTS, ROUNDS = [f"driven-{number}" for number in range(5)], 20
MODES = ("poke", "reschedule", "deferred")


@pytest.fixture(scope="module")
def world() -> Iterator[LocalPaperspaceServer]:
    projects = [{"id": "waiting", "tags": []}, {"id": "notified", "tags": ["fresh"]}]
    projects += [{"id": id_, "tags": ["ready:old"]} for id_ in PROJECTS]
    with LocalPaperspaceServer(api_key=API_KEY, seed={"projects": projects}) as server:
        yield server


@pytest.fixture(scope="module")
def real(world: LocalPaperspaceServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAirflow]:
    """The one Airflow of this module."""
    connection = world.connection_json(max_attempts=2)
    home = tmp_path_factory.mktemp("airflow")
    with RealAirflow(
        home, REPOSITORY / "tests/system/dags", AIRFLOW_CONN_PAPERSPACE_DEFAULT=connection, PYTHONPATH=str(REPOSITORY)
    ) as real:
        yield real


def polls(world: LocalPaperspaceServer, project_id: str) -> int:
    return len([request for request in world.requests if request.target.startswith(f"/projects/{project_id}/tags?")])


def test_a_sensor_waits_in_each_mode_and_outlives_the_triggerer(
    real: RealAirflow, world: LocalPaperspaceServer
) -> None:
    if ON_AIRFLOW_2:
        real.wait("the first poll", lambda: polls(world, "waiting"))
        _free_the_one_worker(world)
    real.wait("the deferral", lambda: real.states("waiting").get("deferred") == "deferred")
    (kwargs,) = real.rows("SELECT kwargs FROM trigger WHERE classpath LIKE '%.ProjectTagTrigger'")[0]
    assert "go:deferred" in str(kwargs), "readable, so a search would find the key"
    assert API_KEY not in str(kwargs)
    deadline = _deadline(real)
    before = polls(world, "waiting")
    real.wait("the triggerer's polls", lambda: polls(world, "waiting") > before + 2)

    real.kill("triggerer")
    for mode in MODES:
        world.paperspace.add_tag("waiting", {"name": f"go:{mode}"})
    assert real.states("waiting")["deferred"] == "deferred"
    assert _deadline(real) == deadline, "the wait is neither lost nor prolonged"
    real.start("triggerer")
    real.wait("all modes", lambda: real.states("waiting") == dict.fromkeys(MODES, "success"))
    values = real.rows("SELECT value FROM xcom WHERE task_id = 'deferred' AND key = 'return_value'")
    assert "go:deferred" in str(values)


def _free_the_one_worker(world: LocalPaperspaceServer) -> None:
    """On SQLite, Airflow 2 runs one task at a time; let a sensor in poke mode end."""
    world.paperspace.add_tag("waiting", {"name": "go:poke"})


def _deadline(real: RealAirflow) -> str:
    (kwargs,) = real.rows("SELECT kwargs FROM trigger WHERE classpath LIKE '%.ProjectTagTrigger'")[0]
    text = str(kwargs)
    return text[text.index("deadline") :][:60]


@pytest.mark.skipif(ON_AIRFLOW_2, reason="event-driven scheduling begins with Airflow 3")
def test_each_appearance_of_a_tag_starts_one_run(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    def runs() -> dict[str, int]:
        return dict(real.rows("SELECT dag_id, count(*) FROM dag_run WHERE dag_id LIKE 'driven-%' GROUP BY dag_id"))

    def all_polled_twice(since: dict[str, int]) -> bool:
        return all(polls(world, id_) > since[id_] + 1 for id_ in PROJECTS)

    def now() -> dict[str, int]:
        return {id_: polls(world, id_) for id_ in PROJECTS}

    started = now()
    real.wait("the first polls, which are the baseline", lambda: all_polled_twice(started))
    for number in range(1, ROUNDS + 1):
        _let_a_third_of_the_polls_fail(world, number)
        if number == ROUNDS // 2:
            real.kill("triggerer")
        for id_ in PROJECTS:
            world.paperspace.add_tag(id_, {"name": f"ready:{number % 2}"})
        if number == ROUNDS // 2:
            real.start("triggerer")
        expected = dict.fromkeys(PROJECTS, number)
        real.wait(f"round {number} of runs", lambda expected=expected: runs() == expected)  # type: ignore[misc]
        for id_ in PROJECTS:
            world.paperspace.remove_tag(id_, {"name": f"ready:{number % 2}"})
        gone = now()
        real.wait("polls without the tag", lambda gone=gone: all_polled_twice(gone))  # type: ignore[misc]
    assert runs() == dict.fromkeys(PROJECTS, ROUNDS)
    ids = [json.loads(extra)["payload"]["event_id"] for (extra,) in real.rows("SELECT extra FROM asset_event")]
    assert len(ids) == len(set(ids)) == ROUNDS * len(PROJECTS) == 100


def _let_a_third_of_the_polls_fail(world: LocalPaperspaceServer, number: int) -> None:
    for i, id_ in enumerate(PROJECTS):
        if (number + i) % 3 == 0:
            world.fault(("500", "reset", "502", "truncated")[number % 4], path=f"/{id_}/", times=1 + i % 2)


def test_callbacks_of_a_task_and_a_run_tag_the_project(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    if ON_AIRFLOW_2:
        _free_the_one_worker(world)
    expected = {"task-failed:fail", "run-failed"}
    real.wait("the callbacks", lambda: set(world.paperspace.tag_names("notified")) == expected)


def test_the_key_is_in_no_table_and_no_log(real: RealAirflow) -> None:
    tables = [path.read_bytes() for path in real.home.glob("airflow.db*")]  # SQLite's write-ahead log included
    assert any(b"driven" in table or b"waiting" in table for table in tables), "the search would find what is there"
    assert not [table for table in tables if API_KEY.encode() in table]
    logs = [path for path in real.home.rglob("*") if path.suffix in (".log", ".out")]
    assert len(logs) > 3
    assert not [path for path in logs if API_KEY.encode() in path.read_bytes()]
