"""The example DAGs and the operators in a real DAG run: templates, XCom, mapping, and nothing secret left behind."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import airflow
import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.links.paperspace import PaperspaceProjectLink
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY, SecretWatch
from tests.triggers.polls import after_polls


def load(path: str) -> Any:
    """Load a DAG file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(path: str, *, change: Callable[[Any], None] = lambda dag: None, **conf: Any) -> tuple[str, dict[str, str]]:
    """Run a DAG file as ``airflow dags test`` does; give the run's state, and each task's by id and map index."""
    dag = load(path).dag
    change(dag)
    dag_run = dag.test(run_conf=conf)
    states = {
        ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": str(ti.state)
        for ti in dag_run.get_task_instances()
    }
    return str(dag_run.state), states


@pytest.fixture(autouse=True)
def world(airflow_db: Path, server: LocalPaperspaceServer, connection: str) -> LocalPaperspaceServer:
    server.reset()
    return server


def test_the_stages_tag_moves_along_with_the_pipeline(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_tag("prmximcci", {"name": "stage:failed"})
    state, tasks = run("dags/example_pipeline_stages.py")
    assert state == "success"
    assert {task for task, result in tasks.items() if result == "skipped"} == {"tag_failed", "untag_running"}
    tags = world.paperspace.tag_names("prmximcci")
    assert {"team:vision", "gpu", "production"} < set(tags)
    assert [tag for tag in tags if tag.startswith("released:")]
    assert not [tag for tag in tags if tag.startswith("stage:")]


def test_the_stages_pipeline_run_again_ends_the_same(world: LocalPaperspaceServer) -> None:
    run("dags/example_pipeline_stages.py")
    once = world.paperspace.tag_names("prmximcci")
    run("dags/example_pipeline_stages.py")
    assert world.paperspace.tag_names("prmximcci") == once


def test_a_failing_stage_is_tagged_as_failed(world: LocalPaperspaceServer) -> None:
    state, tasks = run("dags/example_pipeline_stages.py", fail=True)
    assert (state, tasks["evaluate"], tasks["tag_failed"]) == ("failed", "failed", "success")
    assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu", "stage:failed"]


def test_the_clean_up_takes_stale_tags_off_every_project_and_no_other(world: LocalPaperspaceServer) -> None:
    state, tasks = run("dags/example_tag_cleanup.py")
    assert (state, tasks["remove_stale_tags[1]"]) == ("success", "success")
    assert "remove_stale_tags[2]" not in tasks, "a project without stale tags is left out"
    assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu"]
    assert world.paperspace.tag_names("prspeech01") == ["team:speech", "gpu-demo"]
    assert world.paperspace.tag_names("prranking1") == ["production"]


def test_the_stage_board_has_one_stage_and_the_lease_is_returned(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_tag("prmximcci", {"name": "stage:new"})
    state, tasks = run("dags/example_stage_board.py")
    assert (state, tasks["back"]) == ("success", "skipped")
    assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu", "stage:evaluated"]
    written = [json.loads(r.body)["name"] for r in world.requests if r.method == "POST"]
    assert written[0].startswith("in-use:manual__")
    assert written[1:] == ["stage:training", "stage:evaluated"]


def test_a_failed_stage_goes_back_and_the_lease_is_returned(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_tag("prmximcci", {"name": "stage:new"})
    state, tasks = run("dags/example_stage_board.py", fail=True)
    assert (state, tasks["evaluate"], tasks["back"], tasks["lease_return"]) == ("failed", "failed", *["success"] * 2)
    assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu", "stage:new"]


def test_the_scheduled_clean_up_removes_and_reports(world: LocalPaperspaceServer, airflow_db: Path) -> None:
    world.paperspace.add_tag("prspeech01", {"name": "demo@2020-01-01"})
    assert run("dags/example_cleanup_schedule.py")[0] == "success"
    assert xcoms(airflow_db, "example_cleanup_schedule", "report")[-1].startswith("3 of 3 stale tags removed")
    assert world.paperspace.tag_names("prspeech01") == ["team:speech", "gpu-demo"]


def test_the_scheduled_clean_up_runs_dry_by_its_param(world: LocalPaperspaceServer, airflow_db: Path) -> None:
    assert run("dags/example_cleanup_schedule.py", dry_run=True)[0] == "success"
    assert xcoms(airflow_db, "example_cleanup_schedule", "report")[-1].startswith("0 of 2 stale tags removed")
    assert not [request for request in world.requests if request.method != "GET"]


@pytest.mark.parametrize("approved", [True, False])
def test_a_plan_goes_from_task_to_task(world: LocalPaperspaceServer, approved: bool) -> None:
    world.paperspace.add_tag("prspeech01", {"name": "stale:keep-me"})
    state, tasks = run("tests/dags/plan_approve_apply.py", approved=approved)
    assert (state, tasks["apply"]) == ("success", "success" if approved else "skipped")
    stale = [tag for id_ in ("prspeech01", "prranking1") for tag in world.paperspace.tag_names(id_) if "stale" in tag]
    assert stale == (["stale:keep-me"] if approved else ["stale:2026-01", "stale:keep-me", "stale:2025-11"])


def poll_fast(dag: Any) -> None:
    dag.task_dict["wait_for_approval"].poke_interval = 0.1


def test_the_gate_opens_when_the_project_is_approved(world: LocalPaperspaceServer, airflow_db: Path) -> None:
    after_polls(world, 1, lambda: world.paperspace.add_tag("prmximcci", {"name": "approved:ada"}))
    state, _ = run("dags/example_approval_gate.py", change=poll_fast)
    assert state == "success"
    assert xcoms(airflow_db, "example_approval_gate", "publish")[-1] == "ada"
    assert "stage:production" in world.paperspace.tag_names("prmximcci")


@pytest.mark.skipif(airflow.__version__ < "3", reason="event-driven scheduling begins with Airflow 3")
def test_a_run_by_an_event_takes_the_tag_off_again(world: LocalPaperspaceServer) -> None:
    """The tasks alone; that an event starts the run is seen with a real scheduler and triggerer."""
    world.paperspace.add_tag("prmximcci", {"name": "ready"})
    assert run("dags/example_tag_driven.py")[0] == "success"
    assert "ready" not in world.paperspace.tag_names("prmximcci")


@pytest.mark.skipif(airflow.__version__ >= "3", reason="Airflow 3 has event-driven scheduling")
def test_on_airflow_2_the_example_of_events_holds_no_dag_and_breaks_nothing() -> None:
    assert not hasattr(load("dags/example_tag_driven.py"), "dag")


@pytest.mark.parametrize(("fail", "tag"), [(True, "failed"), (False, "healthy")])
def test_callbacks_tag_the_project_however_it_ends(world: LocalPaperspaceServer, fail: bool, tag: str) -> None:
    state, _ = run("dags/example_tag_on_failure.py", fail=fail)
    assert state == ("failed" if fail else "success")
    if fail or airflow.__version__ < "3":  # Airflow 3 calls a DAG's own callbacks in its DAG processor alone
        assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu", tag]


def test_a_sensor_waits_in_each_of_its_ways(world: LocalPaperspaceServer) -> None:
    world.reset(seed={"projects": [{"id": "p1", "tags": ["go:poke", "go:reschedule"]}]})
    after_polls(world, 3, lambda: world.paperspace.add_tag("p1", {"name": "go:deferred"}))
    state, tasks = run("tests/dags/sensors_under_test.py")
    assert (state, set(tasks.values())) == ("success", {"success"})


def test_operators_are_fed_by_templates_xcom_and_mapping(world: LocalPaperspaceServer, airflow_db: Path) -> None:
    world.reset(seed={"projects": [{"id": "p1", "tags": ["gpu"]}, {"id": "p2", "tags": []}]})
    state, tasks = run("tests/dags/operators_under_test.py")
    assert (state, set(tasks.values())) == ("success", {"success"})
    added = {json.loads(r.body)["name"] for r in world.requests if r.method == "POST"}
    assert {"templated", "everywhere", "one", "two", "three", "four", "gpu"} < added
    assert [name for name in added if name.startswith("day:2")]
    assert world.paperspace.tag_names("p1") == world.paperspace.tag_names("p2") == []
    for row in xcoms(airflow_db, "operators_under_test", "listed"):
        assert [tag["name"] for tag in row][:2] == ["gpu", "templated"]
        assert set(row[0]) == {"id", "name", "dtCreated"}


def test_the_button_leads_to_the_project_from_what_the_task_left(
    world: LocalPaperspaceServer, airflow_db: Path
) -> None:
    run("dags/example_approval_gate.py", change=approve_at_once(world))
    url = "https://console.paperspace.com/acme/projects/prmximcci"
    for task_id in ("wait_for_approval", "release"):
        left = xcoms(airflow_db, "example_approval_gate", task_id, key=PaperspaceProjectLink.xcom_key)
        assert left[-1].strip('"') == url


def approve_at_once(world: LocalPaperspaceServer) -> Callable[[Any], None]:
    world.paperspace.add_tag("prmximcci", {"name": "approved:ada"})
    return lambda dag: None


@pytest.mark.skipif(airflow.__version__ >= "3", reason="Airflow 3 reads the link where the task left it")
def test_airflow_2_builds_the_button_in_its_webserver_without_the_api(world: LocalPaperspaceServer) -> None:
    from airflow.models.taskinstancekey import TaskInstanceKey
    from airflow.serialization.serialized_objects import SerializedDAG

    dag = load("dags/example_approval_gate.py").dag
    approve_at_once(world)
    run_id = dag.test().run_id
    requests = len(world.requests)
    (link,) = SerializedDAG.from_dict(SerializedDAG.to_dict(dag)).task_dict["release"].operator_extra_links
    url = link.get_link(None, ti_key=TaskInstanceKey(dag.dag_id, "release", run_id))
    assert url == "https://console.paperspace.com/acme/projects/prmximcci"
    assert link.get_link(None, ti_key=TaskInstanceKey(dag.dag_id, "release", "no-such-run")) == ""
    assert len(world.requests) == requests


@pytest.mark.skipif(airflow.__version__ < "3", reason="Airflow 2 builds the link in its webserver")
def test_airflow_3_knows_the_button_from_the_serialized_dag() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.from_dict(DagSerialization.to_dict(load("dags/example_approval_gate.py").dag))
    for task_id in ("wait_for_approval", "release"):
        (link,) = dag.task_dict[task_id].operator_extra_links
        assert (link.name, link.xcom_key) == ("Paperspace project", PaperspaceProjectLink.xcom_key)


def test_what_a_task_did_in_two_tries_is_taken_back_as_one(world: LocalPaperspaceServer) -> None:
    world.reset(seed={"projects": [{"id": "p1", "tags": ["gpu"]}]})
    world.fault("500", method="POST", at=2, times=2)
    state, _ = run("tests/dags/tried_again.py")
    assert state == "success"
    # Airflow before 3.3 keeps nothing between two tries: what the first had added stays.
    assert world.paperspace.tag_names("p1") == (["gpu", "x"] if airflow.__version__ < "3.3" else ["gpu"])


@pytest.mark.parametrize(
    "dag_id",
    [
        *("example_pipeline_stages", "example_tag_cleanup", "example_stage_board", "example_cleanup_schedule"),
        *("example_tag_on_failure", "operators_under_test"),
    ],
)
def test_the_key_is_nowhere_in_airflows_database_nor_in_its_logs(
    airflow_db: Path, dag_id: str, secret_watch: SecretWatch
) -> None:
    run(f"{'tests/dags' if dag_id.startswith('op') else 'dags'}/{dag_id}.py")
    assert secret_watch.searched
    database = airflow_db.read_bytes()
    assert dag_id.encode() in database, "the search would find what is there"
    assert API_KEY.encode() not in database
    assert not [path for path in airflow_db.parent.rglob("*.log") if API_KEY.encode() in path.read_bytes()]


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text()
    for example in (REPOSITORY / "dags").glob("*.py"):
        assert f"dags/{example.name}" in source


def xcoms(airflow_db: Path, dag_id: str, task_id: str, key: str = "return_value") -> list[Any]:
    with sqlite3.connect(airflow_db) as database:
        query = "SELECT value FROM xcom WHERE dag_id = ? AND task_id = ? AND key = ?"
        rows = database.execute(query, (dag_id, task_id, key)).fetchall()
    database.close()
    assert rows
    values = [json.loads(value) for (value,) in rows]
    # 2.11 stores JSON, 3 the text of it, as JSON once more.
    return [json.loads(value) if isinstance(value, str) and value[:1] in '[{"' else value for value in values]
