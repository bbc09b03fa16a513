"""Asset events in a real Airflow: which changes are announced, by whom, how often, and what they start."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_paperspace.assets import project_asset
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY
from tests.system.real_airflow import ON_AIRFLOW_2, RealAirflow

pytestmark = pytest.mark.timeout(900)

EVENTS = """
    SELECT asset.uri, asset_event.source_task_id, asset_event.extra
    FROM asset_event JOIN asset ON asset.id = asset_event.asset_id ORDER BY asset_event.id
"""
if ON_AIRFLOW_2:
    EVENTS = EVENTS.replace("asset", "dataset")


@pytest.fixture(scope="module")
def world() -> Iterator[LocalPaperspaceServer]:
    projects = [
        {"id": "plain", "tags": []},
        {"id": "has-it", "tags": ["a"]},
        {"id": "odd id/ä", "tags": []},
        {"id": "watched", "tags": ["old"]},
        {"id": "prmximcci", "tags": ["gpu"]},
    ]
    with LocalPaperspaceServer(api_key=API_KEY, seed={"projects": projects}) as server:
        yield server


@pytest.fixture(scope="module")
def real(world: LocalPaperspaceServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAirflow]:
    """An Airflow with the DAG file of this test and the two example DAGs."""
    dags = tmp_path_factory.mktemp("dags")
    shutil.copy(REPOSITORY / "tests/system/asset_dags/announced.py", dags)
    for name in ("example_asset_producer", "example_asset_consumer"):
        text = (REPOSITORY / f"dags/{name}.py").read_text()
        (dags / f"{name}.py").write_text(text.replace("poke_interval=30", "poke_interval=0.2"))
    home = tmp_path_factory.mktemp("airflow")
    connection = world.connection_json(max_attempts=2)
    with RealAirflow(home, dags, AIRFLOW_CONN_PAPERSPACE_DEFAULT=connection) as real:
        real.wait("the DAGs", lambda: parsed(real, "announced", "example_asset_producer", "example_asset_consumer"))
        # Without it, a task of Airflow 3 fails before it has begun.
        real.wait("the API server", lambda: ON_AIRFLOW_2 or "startup complete" in (home / "api-server.out").read_text())
        yield real


def parsed(real: RealAirflow, *dag_ids: str) -> bool:
    return set(dag_ids) <= {dag_id for (dag_id,) in real.rows("SELECT dag_id FROM serialized_dag")}


def events(real: RealAirflow) -> list[tuple[str, str | None, Any]]:
    """Return the asset, the task and the extra of each event."""
    return [(uri, task_id, json.loads(extra)) for uri, task_id, extra in real.rows(EVENTS)]


def events_of(real: RealAirflow, asset: str) -> list[tuple[str | None, Any]]:
    return [(task_id, extra) for uri, task_id, extra in events(real) if uri == asset]


def runs(real: RealAirflow, dag_id: str) -> list[str]:
    """Return the states of a DAG's runs."""
    return [state for (state,) in real.rows("SELECT state FROM dag_run WHERE dag_id = ? ORDER BY id", dag_id)]


def test_only_changes_are_announced(real: RealAirflow) -> None:
    real.command("dags", "trigger", "announced")
    real.wait("the end of the run", lambda: runs(real, "announced") == ["failed"])
    assert real.states("announced") == {
        **dict.fromkeys(("add", "add_again", "dry", "many"), "success"),
        "fails": "failed",
    }
    ((task_id, record),) = events_of(real, "paperspace://projects/plain")
    assert (task_id, record["project_id"], record["added"], record["task_id"]) == ("add", "plain", ["a"], "add")

    board = [(task_id, extra["added"], extra["dry_run"]) for task_id, extra in events_of(real, "board")]
    expected = [("add", ["a"], False), ("add_again", [], False), ("dry", ["stage:b"], True)]
    assert board == expected, "Airflow emits these events in any case"


def test_an_alias_announces_each_changed_project(real: RealAirflow) -> None:
    (odd,) = events_of(real, "paperspace://projects/odd%20id%2F%C3%A4")
    assert (odd[0], odd[1]["project_id"], odd[1]["added"]) == ("many", "odd id/ä", ["a"])
    assert events_of(real, "paperspace://projects/has-it") == [], "unchanged, and then changed by a task that failed"


def test_an_event_starts_a_run_of_each_consumer(real: RealAirflow) -> None:
    for name in ("plain", "odd", "alias"):
        real.wait(f"the run of {name}", lambda name=name: runs(real, f"consumer-{name}") == ["success"])  # type: ignore[misc]


def test_the_examples_work_together(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    for number in (1, 2):
        real.command("dags", "trigger", "example_asset_producer")
        done = ["success"] * number
        real.wait(f"run {number}", lambda done=done: runs(real, "example_asset_producer") == done)  # type: ignore[misc]
    assert [extra["added"] for _, extra in events_of(real, project_asset("prmximcci").uri)] == [["stage:evaluated"]]
    real.wait("the consumer", lambda: runs(real, "example_asset_consumer") == ["success"])
    assert reported(real) == ["set_stage added ['stage:evaluated'] and removed []"]


def reported(real: RealAirflow) -> Any:
    """Return what the last run of the consumer returned."""
    query = "SELECT value FROM xcom WHERE dag_id = 'example_asset_consumer' AND task_id = 'report' ORDER BY timestamp"
    value = json.loads(real.rows(query)[-1][0])
    return json.loads(value) if isinstance(value, str) else value


def wait_for_the_baselines(real: RealAirflow) -> None:
    """Wait until both watchers have seen the tags that are no news."""
    real.wait("the baselines", lambda: real.rows("SELECT count(*) FROM asset_state_store") == [(2,)])


@pytest.mark.skipif(ON_AIRFLOW_2, reason="event-driven scheduling begins with Airflow 3")
def test_the_console_starts_the_same_consumer(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    wait_for_the_baselines(real)
    world.paperspace.add_tag("prmximcci", {"name": "approved:ada"})
    real.wait("the consumer", lambda: runs(real, "example_asset_consumer") == ["success", "success"])
    assert reported(real) == ["approved:ada appeared"]


@pytest.mark.skipif(ON_AIRFLOW_2, reason="event-driven scheduling begins with Airflow 3")
def test_a_watcher_repeats_what_a_task_announces_and_says_so(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    wait_for_the_baselines(real)
    world.paperspace.add_tag("watched", {"name": "by-hand"})
    asset = "paperspace://projects/watched"
    real.wait("the first event", lambda: len(events_of(real, asset)) == 1)
    real.command("dags", "trigger", "watched-producer")
    real.wait("two more", lambda: len(events_of(real, asset)) == 3)
    (by_hand, *by_task) = events_of(real, asset)
    assert (by_hand[0], by_hand[1]["from_trigger"], by_hand[1]["payload"]["tag"]["name"]) == (None, True, "by-hand")
    by_trigger = [extra for _, extra in by_task if extra.get("from_trigger")]
    of_task = [(task_id, extra["added"]) for task_id, extra in by_task if not extra.get("from_trigger")]
    assert of_task == [("add", ["by-task"])]
    assert [extra["payload"]["tag"]["name"] for extra in by_trigger] == ["by-task"]


def test_the_key_is_in_no_table_and_no_log(real: RealAirflow) -> None:
    assert real.files_with("paperspace://projects/plain"), "the search finds what is there"
    assert not real.files_with(API_KEY)
