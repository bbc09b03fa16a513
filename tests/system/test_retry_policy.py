"""A real Airflow retries a task when Paperspace asks for it, and not by the task's own delay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY
from tests.system.real_airflow import ON_AIRFLOW_2, RealAirflow

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(ON_AIRFLOW_2, reason="retry policies begin with Airflow 3.3"),
]

HOUR_S = 3600


@pytest.fixture
def world() -> Iterator[LocalPaperspaceServer]:
    projects = [{"id": id_} for id_ in ("one", "busy", "other", "soon", "failing")]
    with LocalPaperspaceServer(api_key=API_KEY, seed={"projects": projects}) as server:
        yield server


@pytest.fixture
def real(world: LocalPaperspaceServer, tmp_path: object) -> Iterator[RealAirflow]:
    connection = world.connection_json(max_attempts=1)
    with RealAirflow(
        tmp_path,  # type: ignore[arg-type]
        REPOSITORY / "tests/system/later_dags",
        AIRFLOW_CONN_PAPERSPACE_DEFAULT=connection,
    ) as real:
        yield real


def test_a_task_comes_back_when_the_service_asks(real: RealAirflow, world: LocalPaperspaceServer) -> None:
    world.fault("429", path="/one/", times=0, retry_after=HOUR_S)
    world.fault("429", path="/busy/", times=0, retry_after=2 * HOUR_S)
    world.fault("429", path="/soon/", retry_after=2)
    world.fault("500", path="/failing/", times=0)
    real.wait("the DAG", lambda: real.rows("SELECT 1 FROM serialized_dag WHERE dag_id = 'later'"))
    real.command("dags", "trigger", "later")

    waits = {"one": "up_for_retry", "many": "up_for_retry", "failing": "up_for_retry", "soon": "success"}
    real.wait("the tasks", lambda: real.states("later") == waits)
    query = "SELECT task_id, retry_delay_override, retry_reason FROM task_instance WHERE dag_id = 'later'"
    decided = {task_id: (delay_s, reason) for task_id, delay_s, reason in real.rows(query)}
    assert decided["one"] == (HOUR_S, "Paperspace asked to wait 3600 s")
    assert decided["many"] == (2 * HOUR_S, "Paperspace asked to wait 7200 s"), "the wait of the batch's project"
    assert decided["failing"] == (None, None), "left to the task's own delay"
    tries = dict(real.rows("SELECT task_id, try_number FROM task_instance WHERE dag_id = 'later'"))
    assert tries["soon"] == 2, "Airflow waited two seconds, not its five minutes"
    asked = [request.target for request in world.requests if "/one/" in request.target]
    assert len(asked) == 1, "no request before the hour is over"
    assert world.paperspace.tag_names("soon") == ["done"]
    assert world.paperspace.tag_names("other") == [], "the batch did not start it"
    assert not [path for path in real.home.rglob("*.log") if API_KEY.encode() in path.read_bytes()]
