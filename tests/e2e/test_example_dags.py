"""Each example DAG as a user runs it: with and without a logical date, to its good end and to the failure it offers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.real_airflow import ON_AIRFLOW_2

if TYPE_CHECKING:
    from tests.e2e.cluster import Cluster
    from tests.e2e.sqlite_airflow import SqliteAirflow

    Deployment = Cluster | SqliteAirflow

NEEDS_3 = pytest.mark.skipif(ON_AIRFLOW_2, reason="event-driven scheduling and approvals begin with Airflow 3")
# A run of Airflow 2 always has a logical date.
DATED = (True,) if ON_AIRFLOW_2 else (True, False)
DATES = (f"2026-{month:02}-{day:02}T00:00:00Z" for month in range(2, 12) for day in range(1, 29))


@dataclass(frozen=True)
class Example:
    """A run of an example DAG with a project of its own.

    :param project: the name of the param that says which project.
    :param before: the project's tags before the run.
    :param after: those after it; what looks like a date is ``DATE``.
    :param states: the states of some of its tasks.
    """

    dag_id: str
    before: str
    after: str
    project: str = "project_id"
    params: Mapping[str, Any] = field(default_factory=dict)
    state: str = "success"
    states: Mapping[str, str] = field(default_factory=dict)

    def conf(self, project_id: str) -> dict[str, Any]:
        return {self.project: [project_id] if self.project == "project_ids" else project_id, **self.params}


FAIL = {"fail": True}
EXAMPLES = {
    "stages": Example("example_pipeline_stages", "gpu stage:failed", "gpu production released:DATE"),
    "stages that fail": Example(
        "example_pipeline_stages",
        "gpu",
        "gpu stage:failed",
        params=FAIL,
        state="failed",
        states={"evaluate": "failed", "tag_failed": "success", "list_tags": "upstream_failed"},
    ),
    "board": Example("example_stage_board", "gpu stage:new", "gpu stage:evaluated", "project_name"),
    "board that fails": Example(
        "example_stage_board",
        "gpu stage:new",
        "gpu stage:new",
        "project_name",
        params=FAIL,
        state="failed",
        states={"evaluate": "failed", "undo": "success", "lease_return": "success"},
    ),
    "callback": Example("example_tag_on_failure", "failed", "healthy"),
    "callback after a failure": Example(
        "example_tag_on_failure", "healthy", "failed", params=FAIL, state="failed", states={"train": "failed"}
    ),
    "mapped clean-up": Example(
        "example_tag_cleanup", "gpu old:1 old:2", "gpu", "project_ids", params={"stale_prefix": "old:"}
    ),
    "mapped clean-up of nothing": Example(
        "example_tag_cleanup",
        "gpu",
        "gpu",
        "project_ids",
        params={"stale_prefix": "old:"},
        states={"remove_stale_tags": "skipped"},
    ),
    "producer": Example("example_asset_producer", "stage:a", "stage:b", params={"stage": "b"}),
    "gate": Example("example_approval_gate", "stage:a approved:ada", "stage:production"),
}
CASES = [(name, has_date) for name in EXAMPLES for has_date in DATED]


def project_of(name: str, has_date: bool) -> str:
    return f"{name} {'with' if has_date else 'without'} a date".replace(" ", "-")


@pytest.fixture(scope="module")
def started(deployment: Deployment) -> dict[str, str]:
    """Start all of them side by side, and return the id of each run by its project."""
    run_ids = {}
    for name, has_date in CASES:
        example, project_id = EXAMPLES[name], project_of(name, has_date)
        deployment.paperspace.paperspace.add_project(project_id, project_id, example.before.split())
        date = next(DATES) if has_date else None
        run_ids[project_id] = deployment.trigger(example.dag_id, example.conf(project_id), date)
    return run_ids


def tags_of(deployment: Deployment, project_id: str) -> set[str]:
    names = deployment.paperspace.paperspace.tag_names(project_id)
    return {re.sub(r"\d{4}-\d\d-\d\d$", "DATE", name) for name in names}


@pytest.mark.parametrize(("name", "has_date"), CASES)
def test_an_example_leaves_the_tags_that_it_promises(
    deployment: Deployment, started: dict[str, str], name: str, has_date: bool
) -> None:
    example, project_id = EXAMPLES[name], project_of(name, has_date)
    run_id = started[project_id]
    assert deployment.wait_for_run(example.dag_id, run_id) == example.state
    states = deployment.task_states(example.dag_id, run_id)
    assert {task_id: states[task_id] for task_id in example.states} == example.states
    expected = set(example.after.split())
    # Airflow calls the callbacks of a run after its end.
    deployment.wait(f"the tags of {project_id}", lambda: tags_of(deployment, project_id) == expected)


@pytest.mark.parametrize("has_date", DATED)
def test_a_clean_up_fails_at_its_limit_and_obeys_a_dry_run(deployment: Deployment, has_date: bool) -> None:
    stale = ["stale:1", "stale:2", "demo@2020-01-01"]
    project_id = f"clean-up-{has_date}"
    world = deployment.paperspace.paperspace
    for id_ in ("prspeech01", "prranking1"):  # of the default seed
        for name in [name for name in world.tag_names(id_) if name.startswith("stale:")]:
            world.remove_tag(id_, {"name": name})
    world.add_project(project_id, project_id, ["gpu", "keep@2020-01-01", *stale])
    run = partial(end_of_a_run, deployment, "example_cleanup_schedule", has_date)
    assert run(max_removals=2) == "failed"
    assert run(dry_run=True) == "success"
    assert set(stale) < set(world.tag_names(project_id))
    assert run() == "success"
    assert world.tag_names(project_id) == ["gpu", "keep@2020-01-01"]


def end_of_a_run(deployment: Deployment, dag_id: str, has_date: bool, **conf: Any) -> str:
    return deployment.wait_for_run(dag_id, deployment.trigger(dag_id, conf, next(DATES) if has_date else None))


@NEEDS_3
@pytest.mark.parametrize("has_date", DATED)
@pytest.mark.parametrize("option", ["Approve", "Reject"])
def test_a_clean_up_waits_for_its_approval(cluster: Cluster, option: str, has_date: bool) -> None:
    dag_id, project_id = "example_cleanup_with_approval", f"{option}-{has_date}"
    cluster.paperspace.paperspace.add_project(project_id, project_id, ["gpu", "stale:1", "stale:keep"])
    run_id = cluster.trigger(dag_id, logical_date=next(DATES) if has_date else None)
    cluster.wait("the question", lambda: cluster.task_states(dag_id, run_id).get("approve") == "awaiting_input")
    cluster.answer(dag_id, run_id, "approve", option)
    assert cluster.wait_for_run(dag_id, run_id) == "success"
    rejected = option == "Reject"
    assert cluster.task_states(dag_id, run_id)["apply"] == ("skipped" if rejected else "success")
    tags = ["gpu", "stale:1", "stale:keep"] if rejected else ["gpu", "stale:keep"]
    assert cluster.paperspace.paperspace.tag_names(project_id) == tags
    cluster.paperspace.paperspace.delete_project(project_id)


def new_runs(deployment: Deployment, dag_id: str, before: Mapping[str, str]) -> list[str]:
    return [state for run_id, state in deployment.runs(dag_id).items() if run_id not in before]


@pytest.mark.parametrize("has_date", DATED)
def test_a_producer_starts_its_consumer(deployment: Deployment, has_date: bool) -> None:
    consumer = "example_asset_consumer"
    before = deployment.runs(consumer)
    conf = {"project_id": "prmximcci", "stage": f"of-{has_date}"}
    assert end_of_a_run(deployment, "example_asset_producer", has_date, **conf) == "success"
    deployment.wait("its consumer", lambda: new_runs(deployment, consumer, before) == ["success"])
    assert f"stage:of-{has_date}" in deployment.paperspace.paperspace.tag_names("prmximcci")
    assert end_of_a_run(deployment, "example_asset_producer", has_date, **conf) == "success"
    assert new_runs(deployment, consumer, before) == ["success"], "nothing changed, so nothing was announced"


@pytest.mark.parametrize("has_date", DATED)
@pytest.mark.parametrize("dag_id", ["example_asset_consumer", pytest.param("example_tag_driven", marks=NEEDS_3)])
def test_what_events_start_can_be_started_by_hand(deployment: Deployment, dag_id: str, has_date: bool) -> None:
    assert end_of_a_run(deployment, dag_id, has_date) == "success"


@NEEDS_3
@pytest.mark.parametrize(
    ("dag_id", "tag"), [("example_tag_driven", "ready"), ("example_asset_consumer", "approved:ada")]
)
def test_a_tag_starts_the_run_that_watches_for_it(cluster: Cluster, dag_id: str, tag: str) -> None:
    before = cluster.runs(dag_id)
    cluster.wait("the baseline", lambda: cluster.rows("SELECT count(*) FROM asset_state_store") == [(2,)])
    cluster.paperspace.paperspace.add_tag("prmximcci", {"name": tag})
    cluster.wait("its run", lambda: new_runs(cluster, dag_id, before) == ["success"])
    is_used_up = tag not in cluster.paperspace.paperspace.tag_names("prmximcci")
    assert is_used_up == (dag_id == "example_tag_driven")
