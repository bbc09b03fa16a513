"""A clean-up that waits for an approval, in a real Airflow: approved and rejected through its API, as its UI does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.conftest import REPOSITORY
from tests.rest_api import RestApi
from tests.secret_watch import API_KEY
from tests.system.real_airflow import ON_AIRFLOW_2, RealAirflow

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(ON_AIRFLOW_2, reason="approvals in the UI begin with Airflow 3.1"),
]

DAG_ID = "example_cleanup_with_approval"
SCHEDULE = 'schedule="30 3 * * 1"'
TASKS = ("plan", "anything_planned", "approve", "apply")
LINK = "stale:a|b`[c](https://example.com)<img>"
SEED = {
    "projects": [
        {"id": "prspeech01", "name": "Speech | R&D", "tags": ["team:speech", "stale:2026-01", "stale:keep", LINK]},
        {"id": "prranking1", "name": "Ranking", "tags": ["production", "stale:2025-11"]},
    ]
}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPaperspaceServer]:
    with LocalPaperspaceServer(api_key=API_KEY, seed=SEED) as server:
        yield server


@pytest.fixture
def world(server: LocalPaperspaceServer) -> LocalPaperspaceServer:
    server.reset(seed=SEED)
    return server


@pytest.fixture(scope="module")
def real(server: LocalPaperspaceServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAirflow]:
    """The one Airflow of this module, with the example alone, which runs only when a test triggers it."""
    source = (REPOSITORY / f"dags/{DAG_ID}.py").read_text()
    assert source.count(SCHEDULE) == 1
    dags, home = tmp_path_factory.mktemp("dags"), tmp_path_factory.mktemp("airflow")
    (dags / f"{DAG_ID}.py").write_text(source.replace(SCHEDULE, "schedule=None"))
    with RealAirflow(home, dags, AIRFLOW_CONN_PAPERSPACE_DEFAULT=server.connection_json(max_attempts=2)) as real:
        yield real


class Run:
    """A run of the example, seen through Airflow's REST API."""

    def __init__(self, real: RealAirflow) -> None:
        self._real = real
        self._api = RestApi(real.api_url)
        real.wait("the API server", self._api.is_up)
        real.wait("the DAG", lambda: real.rows("SELECT 1 FROM serialized_dag WHERE dag_id = ?", DAG_ID))
        self._id = self._call("POST", "", {"logical_date": None})["dag_run_id"]

    def question(self) -> Any:
        """Wait until somebody is asked, and return what the page shows."""
        self._real.wait("the question", lambda: self.states().get("approve") == "awaiting_input")
        # If the answer comes before the scheduler has noticed that the worker has ended, it takes the task for failed.
        self._real.wait("the end of the worker", self._worker_has_ended)
        return self._call("GET", self._path)

    def _worker_has_ended(self) -> bool:
        key = f"TaskInstanceKey(dag_id='{DAG_ID}', task_id='approve', run_id='{self._id}'"
        log = (self._real.home / "scheduler.out").read_text()
        return f"Received executor event with state success for task instance {key}" in log

    def answer(self, option: str) -> None:
        """Answer the question as the page does."""
        self._call("PATCH", self._path, {"chosen_options": [option], "params_input": {}})

    def end(self) -> dict[str, str | None]:
        """Wait until the run has ended well, and return the states of its tasks."""
        state = "SELECT state FROM dag_run WHERE run_id = ? AND state NOT IN ('queued', 'running')"
        assert self._real.wait("the end of the run", lambda: self._real.rows(state, self._id)) == [("success",)]
        return self.states()

    def states(self) -> dict[str, str | None]:
        return dict(self._real.rows("SELECT task_id, state FROM task_instance WHERE run_id = ?", self._id))

    @property
    def _path(self) -> str:
        return f"/{self._id}/taskInstances/approve/-1/hitlDetails"

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return self._api.call(method, f"/dags/{DAG_ID}/dagRuns{path}", body)


def test_an_approved_plan_is_carried_out(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    run = Run(real)
    question = run.question()
    assert (question["subject"], question["options"]) == ("Remove these tags?", ["Approve", "Reject"])
    assert question["body"].startswith("### 3 tags to remove from 2 of 2 projects\n\n| Project | Tag | Reason |")
    assert "stale:keep" not in question["body"]
    for tag in ("stale:late", "stale:late:keep"):
        world.paperspace.add_tag("prspeech01", {"name": tag})
    world.paperspace.remove_tag("prranking1", {"name": "stale:2025-11"})
    run.answer("Approve")
    assert run.end() == dict.fromkeys(TASKS, "success")
    assert set(world.paperspace.tag_names("prspeech01")) == {
        "team:speech",
        "stale:keep",
        "stale:late",
        "stale:late:keep",
    }
    assert world.paperspace.tag_names("prranking1") == ["production"]


def test_a_rejected_plan_leaves_everything(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    run = Run(real)
    run.question()
    run.answer("Reject")
    assert run.end() == dict.fromkeys(TASKS, "success") | {"apply": "skipped"}
    assert [request for request in world.requests if request.method != "GET"] == []


def test_if_nothing_is_planned_nobody_is_asked(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    world.reset(seed={"projects": [{"id": "prranking1", "name": "Ranking", "tags": ["production", "stale:keep"]}]})
    assert Run(real).end() == dict.fromkeys(TASKS, "success") | {"approve": "skipped", "apply": "skipped"}
