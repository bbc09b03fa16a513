"""Waits, leases and callbacks in a real Airflow, scheduler and triggerer included, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY
from tests.system.real_airflow import ON_AIRFLOW_2, RealAirflow, polls

pytestmark = pytest.mark.timeout(1800)

MODES = ("poke", "reschedule", "deferred")


@pytest.fixture(scope="module")
def world() -> Iterator[LocalPaperspaceServer]:
    projects = [
        {"id": "waiting", "tags": []},
        {"id": "stopped", "tags": []},
        {"id": "leased"},
        {"id": "many-1"},
        {"id": "many-2"},
        {"id": "notified", "tags": ["fresh"]},
    ]
    with LocalPaperspaceServer(api_key=API_KEY, seed={"projects": projects}) as server:
        yield server


@pytest.fixture(scope="module")
def real(world: LocalPaperspaceServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAirflow]:
    """The one Airflow of this module."""
    connection = world.connection_json(max_attempts=2)
    home = tmp_path_factory.mktemp("airflow")
    with RealAirflow(home, REPOSITORY / "tests/system/dags", AIRFLOW_CONN_PAPERSPACE_DEFAULT=connection) as real:
        yield real


def test_a_sensor_waits_in_each_mode_and_outlives_the_triggerer(
    real: RealAirflow, world: LocalPaperspaceServer
) -> None:
    if ON_AIRFLOW_2:
        real.wait("the first poll", lambda: polls(world, "waiting"))
        _free_the_one_worker(world)
    real.wait_for_deferral("waiting", "deferred")
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
    links = real.rows("SELECT value FROM xcom WHERE task_id = 'deferred' AND key = '_link_PaperspaceProjectLink'")
    assert "https://console.paperspace.com/acme/projects/waiting" in str(links), "the button outlives the deferral"


def _free_the_one_worker(world: LocalPaperspaceServer) -> None:
    """On SQLite, Airflow 2 runs one task at a time; let a sensor in poke mode end."""
    world.paperspace.add_tag("waiting", {"name": "go:poke"})


def _deadline(real: RealAirflow) -> str:
    (kwargs,) = real.rows("SELECT kwargs FROM trigger WHERE classpath LIKE '%.ProjectTagTrigger'")[0]
    text = str(kwargs)
    return text[text.index("deadline") :][:60]


@pytest.mark.skipif(ON_AIRFLOW_2, reason="Airflow 2 stops a task in another way")
def test_a_stopped_task_writes_no_more_and_says_what_it_did(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    def writes() -> list[str]:
        return [
            json.loads(request.body)["name"]
            for request in world.requests
            if request.method == "POST" and request.target.startswith("/projects/stopped/")
        ]

    world.fault("slow", path="/projects/stopped/", method="POST", times=0, seconds=0.5)
    real.wait("the DAG", lambda: real.rows("SELECT 1 FROM serialized_dag WHERE dag_id = 'stopped'"))
    real.command("dags", "trigger", "stopped")
    real.wait("a few writes", lambda: len(writes()) > 3)
    worker = real.worker_of("stopped", "add")
    assert worker is not None
    os.kill(worker, signal.SIGTERM)
    real.wait("the end of the task", lambda: real.states("stopped") == {"add": "failed"})
    real.wait("the end of its process", lambda: real.worker_of("stopped", "add") is None)
    assert len(writes()) < 100, "it did not run to its end"

    ((value,),) = real.rows("SELECT value FROM xcom WHERE dag_id = 'stopped' AND key = 'change'")
    record = json.loads(json.loads(value)) if isinstance(json.loads(value), str) else json.loads(value)
    known = [*record["added"], *record["unsettled"]]
    assert len(record["unsettled"]) <= 1
    assert writes() in (known, record["added"]), "each write that arrived is in the record"
    there = set(world.paperspace.tag_names("stopped"))
    assert set(record["added"]) <= there <= set(known)


class KillingWorkers(deque[Any]):
    """The server's record of requests; once a write of the lease took effect, it kills the worker before the answer."""

    def __init__(self, requests: deque[Any], real: RealAirflow) -> None:
        super().__init__(requests, requests.maxlen)
        self._real = real
        self.killed: list[str] = []

    def append(self, request: Any) -> None:
        super().append(request)
        task_id = {"POST": "lease_take", "DELETE": "lease_return"}.get(request.method)
        if task_id is not None and task_id not in self.killed and request.target.startswith("/projects/leased/"):
            self.killed.append(task_id)
            worker = self._real.worker_of("leased", task_id)
            assert worker is not None
            os.kill(worker, signal.SIGKILL)


@pytest.mark.skipif(ON_AIRFLOW_2, reason="the process of a task is found by its title, which Airflow 3 sets")
def test_a_lease_outlives_its_killed_workers_and_is_returned(
    real: RealAirflow, world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    killing = KillingWorkers(world.app.requests, real)
    monkeypatch.setattr(world.app, "requests", killing)
    real.wait("the DAG", lambda: real.rows("SELECT 1 FROM serialized_dag WHERE dag_id = 'leased'"))
    real.command("dags", "trigger", "leased")
    real.wait("the end", lambda: set(real.states("leased").values()) == {"success"})
    assert killing.killed == ["lease_take", "lease_return"]
    assert world.paperspace.tag_names("leased") == [], "nothing is left behind"
    ((value,),) = real.rows("SELECT value FROM xcom WHERE task_id = 'work' AND key = 'return_value'")
    assert str(value).count("in-use/leased-") == 1, "taken twice, it was one tag"
    tries = dict(real.rows("SELECT task_id, try_number FROM task_instance WHERE dag_id = 'leased'"))
    assert tries == {"lease_take": 2, "work": 1, "lease_return": 2}

    world.paperspace.add_tag("leased", {"name": "in-use/of-another-run"})
    real.command("dags", "trigger", "leased", "--run-id", "second")
    state = "SELECT state FROM task_instance WHERE dag_id = 'leased' AND run_id = 'second' AND task_id = ?"
    real.wait("a refusal", lambda: real.rows(state, "lease_take") == [("up_for_retry",)])
    assert world.paperspace.tag_names("leased") == ["in-use/of-another-run"]
    world.paperspace.remove_tag("leased", {"name": "in-use/of-another-run"})
    real.wait("the second lease", lambda: real.rows(state, "lease_return") == [("success",)])
    assert world.paperspace.tag_names("leased") == []


@pytest.mark.skipif(ON_AIRFLOW_2, reason="on SQLite, Airflow 2 runs one task at a time")
def test_one_trigger_waits_for_many_projects(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    real.wait("the DAG", lambda: real.rows("SELECT 1 FROM serialized_dag WHERE dag_id = 'waiting_for_many'"))
    real.command("dags", "trigger", "waiting_for_many")
    real.wait_for_deferral("waiting_for_many", "wait")
    world.paperspace.add_tag("many-1", {"name": "go"})
    before = polls(world, "many-1")
    real.wait("two polls", lambda: polls(world, "many-1") > before + 1)
    assert real.states("waiting_for_many") == {"wait": "deferred"}, "the other project is not ready"
    world.paperspace.add_tag("many-2", {"name": "go"})
    real.wait("the end", lambda: real.states("waiting_for_many") == {"wait": "success"})
    ((value,),) = real.rows("SELECT value FROM xcom WHERE dag_id = 'waiting_for_many' AND key = 'return_value'")
    assert "many-1" in str(value)
    assert "many-2" in str(value)


def test_callbacks_of_a_task_and_a_run_tag_the_project(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    if ON_AIRFLOW_2:
        _free_the_one_worker(world)
    expected = {"task-failed:fail", "run-failed"}
    real.wait("the callbacks", lambda: set(world.paperspace.tag_names("notified")) == expected)


def test_the_key_is_in_no_table_and_no_log(real: RealAirflow) -> None:
    suffixes = {path.suffix.partition("-")[0] for path in real.files_with("waiting")}
    assert {".db", ".log", ".out"} <= suffixes, "the search finds what is there"
    assert not real.files_with(API_KEY)
