"""The example DAGs and the operators in real DAG runs: templates, XCom, mapping, and no trace of the API key.

``dag.test()`` takes seconds, so each scenario runs once and its test looks at all that the run left behind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import airflow
import pytest

from airflow_provider_paperspace.emulator.pytest_plugin import FinishedRun, run_in_process
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.links.paperspace import PaperspaceProjectLink
from tests.conftest import REPOSITORY
from tests.processes import content_of_database
from tests.secret_watch import API_KEY, SecretWatch
from tests.triggers.polls import after_polls

pytestmark = pytest.mark.uncovered

ON_AIRFLOW_2 = airflow.__version__ < "3"
NEEDS_3 = pytest.mark.skipif(ON_AIRFLOW_2, reason="before Airflow 3, each run has a logical date")


def load(path: str) -> Any:
    """Load a DAG file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(
    path: str, *, change: Callable[[Any], None] = lambda dag: None, has_date: bool = True, **conf: Any
) -> FinishedRun:
    """Run a DAG file as ``airflow dags test`` does, and search what it leaves behind for the API key.

    :param has_date: whether the run has a logical date. On Airflow 3, a run that an event or a person starts has none.
    """
    dag = load(path).dag
    change(dag)
    result = run_in_process(dag, conf, **({} if has_date else {"logical_date": None}))
    assert has_date is (getattr(result.dag_run, "logical_date", None) is not None)
    home = Path(os.environ["AIRFLOW_HOME"])
    database = content_of_database(home)
    assert dag.dag_id.encode() in database, "the search would find what is there"
    assert API_KEY.encode() not in database
    assert not [log for log in home.rglob("*.log") if API_KEY.encode() in log.read_bytes()]
    return result


def xcoms(airflow_db: Path, dag_id: str, task_id: str, key: str = "return_value") -> list[Any]:
    with sqlite3.connect(airflow_db) as database:
        query = "SELECT value FROM xcom WHERE dag_id = ? AND task_id = ? AND key = ?"
        rows = database.execute(query, (dag_id, task_id, key)).fetchall()
    database.close()
    assert rows
    values = [json.loads(value) for (value,) in rows]
    # 2.11 stores JSON, 3 the text of it, as JSON once more.
    return [json.loads(value) if isinstance(value, str) and value[:1] in '[{"' else value for value in values]


@pytest.fixture(autouse=True)
def world(
    airflow_db: Path, server: LocalPaperspaceServer, connection: str, monkeypatch: pytest.MonkeyPatch
) -> LocalPaperspaceServer:
    """The local Paperspace with its default projects. Retries wait for nothing."""
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset()
    return server


def test_the_stage_tag_moves_with_the_pipeline(world: LocalPaperspaceServer, secret_watch: SecretWatch) -> None:
    world.paperspace.add_tag("prmximcci", {"name": "stage:failed"})
    result = run("dags/example_pipeline_stages.py")
    assert result.state == "success"
    assert {task for task, state in result.tasks.items() if state == "skipped"} == {"tag_failed", "untag_running"}
    tags = world.paperspace.tag_names("prmximcci")
    assert {"team:vision", "gpu", "production"} < set(tags)
    assert [tag for tag in tags if tag.startswith("released:")]
    assert not [tag for tag in tags if tag.startswith("stage:")]

    run("dags/example_pipeline_stages.py")
    assert world.paperspace.tag_names("prmximcci") == tags, "a second run ends the same"
    assert secret_watch.searched


def test_a_failed_stage_is_tagged_as_failed(world: LocalPaperspaceServer) -> None:
    result = run("dags/example_pipeline_stages.py", fail=True)
    assert (result.state, result.tasks["evaluate"], result.tasks["tag_failed"]) == ("failed", "failed", "success")
    assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu", "stage:failed"]


def test_the_mapped_clean_up_removes_stale_tags_only(world: LocalPaperspaceServer) -> None:
    result = run("dags/example_tag_cleanup.py")
    assert (result.state, result.tasks["remove_stale_tags[1]"]) == ("success", "success")
    assert "remove_stale_tags[2]" not in result.tasks, "a project without stale tags is left out"
    assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu"]
    assert world.paperspace.tag_names("prspeech01") == ["team:speech", "gpu-demo"]
    assert world.paperspace.tag_names("prranking1") == ["production"]


def test_the_board_shows_one_stage_and_returns_the_lease(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_tag("prmximcci", {"name": "stage:new"})
    result = run("dags/example_stage_board.py")
    assert (result.state, result.tasks["undo"]) == ("success", "skipped")
    assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu", "stage:evaluated"]
    written = [json.loads(r.body)["name"] for r in world.requests if r.method == "POST"]
    assert re.fullmatch(r"in-use/example_stage_board-[0-9a-f]{8}", written[0])
    assert written[1:] == ["stage:training", "stage:evaluated"]


def test_a_failed_board_goes_back_and_returns_the_lease(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_tag("prmximcci", {"name": "stage:new"})
    result = run("dags/example_stage_board.py", fail=True)
    states = [result.tasks[task_id] for task_id in ("evaluate", "undo", "lease_return")]
    assert (result.state, states) == ("failed", ["failed", "success", "success"])
    assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu", "stage:new"]


def test_the_scheduled_clean_up_removes_and_reports(world: LocalPaperspaceServer, airflow_db: Path) -> None:
    world.paperspace.add_tag("prspeech01", {"name": "demo@2020-01-01"})
    assert run("dags/example_cleanup_schedule.py").state == "success"
    assert xcoms(airflow_db, "example_cleanup_schedule", "report")[-1].startswith("3 of 3 stale tags removed")
    assert world.paperspace.tag_names("prspeech01") == ["team:speech", "gpu-demo"]


def test_a_param_makes_the_clean_up_a_dry_run(world: LocalPaperspaceServer, airflow_db: Path) -> None:
    assert run("dags/example_cleanup_schedule.py", dry_run=True).state == "success"
    assert xcoms(airflow_db, "example_cleanup_schedule", "report")[-1].startswith("0 of 2 stale tags removed")
    assert not [request for request in world.requests if request.method != "GET"]


@pytest.mark.parametrize("approved", [True, False])
def test_an_approved_plan_is_carried_out(world: LocalPaperspaceServer, approved: bool) -> None:
    world.paperspace.add_tag("prspeech01", {"name": "stale:keep-me"})
    result = run("tests/dags/plan_approve_apply.py", approved=approved)
    assert (result.state, result.tasks["apply"]) == ("success", "success" if approved else "skipped")
    stale = [tag for id_ in ("prspeech01", "prranking1") for tag in world.paperspace.tag_names(id_) if "stale" in tag]
    assert stale == (["stale:keep-me"] if approved else ["stale:2026-01", "stale:keep-me", "stale:2025-11"])


def poll_fast(dag: Any) -> None:
    for task in dag.task_dict.values():
        if hasattr(task, "poke_interval"):
            task.poke_interval = 0.1


def test_an_approval_opens_the_gate_and_links_lead_there(world: LocalPaperspaceServer, airflow_db: Path) -> None:
    after_polls(world, 1, lambda: world.paperspace.add_tag("prmximcci", {"name": "approved:ada"}))
    result = run("dags/example_approval_gate.py", change=poll_fast)
    assert result.state == "success"
    assert xcoms(airflow_db, "example_approval_gate", "publish")[-1] == "ada"
    assert "stage:production" in world.paperspace.tag_names("prmximcci")
    url = "https://console.paperspace.com/acme/projects/prmximcci"
    # On Airflow 3, dag.test() drops what a deferred task passes to itself, which includes its button. A triggerer does
    # not, as tests/system shows.
    for task_id in ("release", "use_up_approval", *(["wait_for_approval"] if ON_AIRFLOW_2 else [])):
        stored = xcoms(airflow_db, "example_approval_gate", task_id, key=PaperspaceProjectLink.xcom_key)
        assert stored[-1].strip('"') == url
    if ON_AIRFLOW_2:
        assert_the_webserver_builds_the_link_without_the_api(world, result.dag_run.run_id, url)


def assert_the_webserver_builds_the_link_without_the_api(world: LocalPaperspaceServer, run_id: str, url: str) -> None:
    from airflow.models.taskinstancekey import TaskInstanceKey
    from airflow.serialization.serialized_objects import SerializedDAG

    requests = len(world.requests)
    dag = SerializedDAG.from_dict(SerializedDAG.to_dict(load("dags/example_approval_gate.py").dag))
    (link,) = dag.task_dict["release"].operator_extra_links
    assert link.get_link(None, ti_key=TaskInstanceKey(dag.dag_id, "release", run_id)) == url
    assert link.get_link(None, ti_key=TaskInstanceKey(dag.dag_id, "release", "no-such-run")) == ""
    assert len(world.requests) == requests


@pytest.mark.skipif(ON_AIRFLOW_2, reason="Airflow 2 builds the link in its webserver")
def test_airflow_3_reads_the_link_from_the_serialized_dag() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.from_dict(DagSerialization.to_dict(load("dags/example_approval_gate.py").dag))
    for task_id in ("wait_for_approval", "release"):
        (link,) = dag.task_dict[task_id].operator_extra_links
        assert (link.name, link.xcom_key) == ("Paperspace project", PaperspaceProjectLink.xcom_key)


@pytest.mark.skipif(ON_AIRFLOW_2, reason="event-driven scheduling begins with Airflow 3")
def test_a_run_by_an_event_removes_its_tag(world: LocalPaperspaceServer) -> None:
    """The tasks alone; that an event starts the run is tested with a real scheduler and triggerer."""
    world.paperspace.add_tag("prmximcci", {"name": "ready"})
    assert run("dags/example_tag_driven.py").state == "success"
    assert "ready" not in world.paperspace.tag_names("prmximcci")


@pytest.mark.skipif(not ON_AIRFLOW_2, reason="Airflow 3 has event-driven scheduling, and approvals")
@pytest.mark.parametrize("example", ["example_tag_driven", "example_cleanup_with_approval"])
def test_on_airflow_2_an_example_for_airflow_3_has_no_dag(example: str) -> None:
    assert not hasattr(load(f"dags/{example}.py"), "dag")


def answer(option: str) -> Callable[[Any], None]:
    """Return a change to a DAG: its approval gets this answer at once. A real one is in tests/e2e."""

    def change(dag: Any) -> None:
        approve = dag.task_dict["approve"]
        event = {"chosen_options": [option], "params_input": {}, "responded_by_user": None}
        event["responded_at"] = datetime(2026, 12, 1, tzinfo=UTC)
        approve.execute = lambda context: approve.execute_complete(context, event)

    return change


@NEEDS_3
@pytest.mark.parametrize("option", ["Approve", "Reject"])
def test_a_clean_up_waits_for_an_approval(world: LocalPaperspaceServer, option: str) -> None:
    world.paperspace.add_tag("prspeech01", {"name": "stale:keep-me"})
    result = run("dags/example_cleanup_with_approval.py", change=answer(option))
    assert (result.state, result.tasks["approve"]) == ("success", "success")
    assert result.tasks["apply"] == ("success" if option == "Approve" else "skipped")
    stale = [tag for id_ in ("prspeech01", "prranking1") for tag in world.paperspace.tag_names(id_) if "stale" in tag]
    assert stale == (["stale:keep-me"] if option == "Approve" else ["stale:2026-01", "stale:keep-me", "stale:2025-11"])


@NEEDS_3
def test_without_stale_tags_nobody_is_asked(world: LocalPaperspaceServer) -> None:
    world.reset(seed={"projects": [{"id": "p1", "tags": ["gpu", "stale:keep-me"]}]})
    result = run("dags/example_cleanup_with_approval.py")
    assert (result.state, result.tasks["approve"], result.tasks["apply"]) == ("success", "skipped", "skipped")


def test_a_new_stage_is_announced_once(world: LocalPaperspaceServer, airflow_db: Path) -> None:
    """The events; that they start a run of ``dags/example_asset_consumer.py`` is tested with a real scheduler."""
    for _ in range(2):
        assert run("dags/example_asset_producer.py", stage="new").state == "success"
    table = "dataset_event" if ON_AIRFLOW_2 else "asset_event"
    with sqlite3.connect(airflow_db) as database:
        query = f"SELECT extra FROM {table} WHERE source_dag_id = 'example_asset_producer'"  # noqa: S608
        extras = [json.loads(extra) for (extra,) in database.execute(query)]
    database.close()
    assert [extra["added"] for extra in extras if "stage:new" in extra["added"]] == [["stage:new"]]


@pytest.mark.parametrize(("fail", "tag"), [(True, "failed"), (False, "healthy")])
def test_callbacks_tag_the_project_at_the_end(world: LocalPaperspaceServer, fail: bool, tag: str) -> None:
    result = run("dags/example_tag_on_failure.py", fail=fail)
    assert result.state == ("failed" if fail else "success")
    if fail or ON_AIRFLOW_2:  # Airflow 3 renders a DAG's own notifier in its DAG processor only
        assert world.paperspace.tag_names("prmximcci") == ["team:vision", "gpu", tag]


def test_a_sensor_waits_in_each_mode(world: LocalPaperspaceServer) -> None:
    world.reset(seed={"projects": [{"id": "p1", "tags": ["go:poke", "go:reschedule"]}]})
    after_polls(world, 3, lambda: world.paperspace.add_tag("p1", {"name": "go:deferred"}))
    result = run("tests/dags/sensors_under_test.py", change=poll_fast)
    assert (result.state, set(result.tasks.values())) == ("success", {"success"})


def test_operators_accept_templates_xcom_and_mapping(world: LocalPaperspaceServer, airflow_db: Path) -> None:
    world.reset(seed={"projects": [{"id": "p1", "tags": ["gpu"]}, {"id": "p2", "tags": []}]})
    result = run("tests/dags/operators_under_test.py")
    assert (result.state, set(result.tasks.values())) == ("success", {"success"})
    added = {json.loads(r.body)["name"] for r in world.requests if r.method == "POST"}
    assert {"templated", "everywhere", "one", "two", "three", "four", "gpu"} < added
    assert [name for name in added if name.startswith("day:2")]
    assert world.paperspace.tag_names("p1") == world.paperspace.tag_names("p2") == []
    for row in xcoms(airflow_db, "operators_under_test", "listed"):
        assert [tag["name"] for tag in row][:2] == ["gpu", "templated"]
        assert set(row[0]) == {"id", "name", "dtCreated"}


def test_an_undo_covers_both_tries_of_a_task(world: LocalPaperspaceServer) -> None:
    world.reset(seed={"projects": [{"id": "p1", "tags": ["gpu"]}]})
    world.fault("500", method="POST", at=2, times=2)
    assert run("tests/dags/tried_again.py").state == "success"
    # Before 3.3, Airflow keeps nothing between two tries: what the first one added stays.
    assert world.paperspace.tag_names("p1") == (["gpu", "x"] if airflow.__version__ < "3.3" else ["gpu"])


EXAMPLES = sorted(path.stem for path in (REPOSITORY / "dags").glob("*.py"))
ONLY_ON_AIRFLOW_3 = ("example_cleanup_with_approval", "example_tag_driven")
RUNNABLE = [name for name in EXAMPLES if not (ON_AIRFLOW_2 and name in ONLY_ON_AIRFLOW_3)]


CHANGES = {"example_cleanup_with_approval": answer("Approve")}
"""What an example needs that would otherwise wait for a person."""


def prepare(world: LocalPaperspaceServer, example: str) -> None:
    """Add the tags that an example waits for or removes."""
    world.paperspace.add_tag("prmximcci", {"name": "ready" if example == "example_tag_driven" else "approved:ada"})


@pytest.mark.parametrize("has_date", [True, pytest.param(False, marks=NEEDS_3)])
@pytest.mark.parametrize("example", RUNNABLE)
def test_each_example_runs_with_or_without_a_date(world: LocalPaperspaceServer, example: str, has_date: bool) -> None:
    prepare(world, example)
    result = run(f"dags/{example}.py", change=CHANGES.get(example, lambda dag: None), has_date=has_date)
    assert result.state == "success"
    assert set(result.tasks.values()) <= {"success", "skipped"}


def give_up_at_once(dag: Any) -> None:
    dag.task_dict["wait_for_approval"].timeout = 0
    dag.task_dict["wait_for_approval"].retries = 0


FAILURES: dict[str, dict[str, Any]] = {
    "example_approval_gate": {"change": give_up_at_once},
    "example_asset_consumer": {},
    "example_asset_producer": {},
    "example_cleanup_schedule": {"max_removals": 0},
    "example_cleanup_with_approval": {},
    "example_pipeline_stages": {"fail": True},
    "example_stage_board": {"fail": True},
    "example_tag_cleanup": {},
    "example_tag_driven": {},
    "example_tag_on_failure": {"fail": True},
}
"""How each example is made to fail; the others by a service that refuses all requests."""


@pytest.mark.parametrize("example", RUNNABLE)
def test_the_failing_run_of_each_example_ends_failed(world: LocalPaperspaceServer, example: str) -> None:
    if not FAILURES[example]:
        world.fault("403", times=0)
    assert run(f"dags/{example}.py", **FAILURES[example]).state == "failed"


@pytest.mark.parametrize("example", RUNNABLE)
def test_whichever_task_fails_the_run_fails(example: str) -> None:
    """A run ends as its leaf tasks do: one of them must not run, or fail, when a task before it has failed.

    The tag of a lease is returned by a teardown, whose failure Airflow ignores.
    """
    dag = load(f"dags/{example}.py").dag
    for task in dag.tasks:
        assert task.is_teardown or keeps_failing(task), f"{example}: a run in which {task.task_id} fails is green"


def keeps_failing(task: Any) -> bool:
    """Return whether the failure of a task reaches the end of its DAG."""
    following = [other for other in task.downstream_list if not other.is_teardown]
    return not following or any(other.trigger_rule == "all_success" and keeps_failing(other) for other in following)


def test_an_approval_opens_the_gate_for_one_run_only(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_tag("prmximcci", {"name": "approved:ada"})
    assert run("dags/example_approval_gate.py", change=give_up_at_once).state == "success"
    assert "approved:ada" not in world.paperspace.tag_names("prmximcci")
    second = run("dags/example_approval_gate.py", change=give_up_at_once)
    assert (second.state, second.tasks["wait_for_approval"]) == ("failed", "failed"), "it waited until its timeout"
    assert second.tasks["release"] == "upstream_failed"


def test_every_example_has_a_test_here() -> None:
    assert sorted(FAILURES) == EXAMPLES
    source = Path(__file__).read_text()
    for example in EXAMPLES:
        assert f"dags/{example}.py" in source
