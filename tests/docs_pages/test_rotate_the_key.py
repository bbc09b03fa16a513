"""The page *Rotate the key*. Deferred sensors and their connections are in ``tests/triggers``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from airflow_provider_paperspace import __main__ as command_line
from airflow_provider_paperspace._compat import AirflowFailException
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from tests.conftest import REPOSITORY
from tests.operators.task import Task
from tests.secret_watch import API_KEY
from tests.triggers.polls import after_polls

PAGE = (REPOSITORY / "docs/how-to/rotate-the-key.md").read_text()


@pytest.fixture
def world(server: LocalPaperspaceServer, connection: str) -> Iterator[LocalPaperspaceServer]:
    yield server
    server.app.api_key = API_KEY


def rotate(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch | None) -> None:
    """Delete the old key in the service, and with ``monkeypatch`` replace it in the connection."""
    server.app.api_key = "a-new-key-of-the-team"
    if monkeypatch is not None:
        monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json(max_attempts=2))


def test_the_check_of_the_page_tells_a_good_key(
    world: LocalPaperspaceServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    airflow_db: object,
) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    export, check = (line.removeprefix("$ ") for line in block.splitlines())
    name, _, value = shlex.split(export)[1].partition("=")
    assert value == "paperspace://:NEW_KEY@"
    arguments = shlex.split(check.replace("prmximcci", "p1"))[3:]

    monkeypatch.setenv(name, world.connection_uri())
    assert command_line.main(arguments) == 0
    assert all(line.startswith("  ok ") for line in capsys.readouterr().out.splitlines()[-2:])
    rotate(world, None)
    assert command_line.main(arguments) == 1


def test_a_task_that_starts_uses_the_new_key(world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    rotate(world, monkeypatch)
    Task(AddProjectTagOperator, project_id="p1", tags="x").run()
    assert "x" in world.paperspace.tag_names("p1")


def test_each_poke_reads_the_connection(world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = ProjectTagSensor(task_id="wait", project_id="p1", tags="x")
    assert not sensor.poke({}).is_done
    rotate(world, monkeypatch)
    world.paperspace.add_tag("p1", {"name": "x"})
    assert sensor.poke({}).is_done


def test_a_task_whose_key_is_deleted_stops_and_can_be_cleared(
    world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"p{number}" for number in range(1, 6)]
    world.reset(seed={"projects": [{"id": id_, "tags": []} for id_ in ids]})
    arguments = {"project_ids": ids, "tags": "x", "max_concurrency": 1}
    after_polls(world, 2, lambda: rotate(world, monkeypatch))
    task = Task(AddProjectTagOperator, **arguments)
    with pytest.raises(AirflowFailException, match="401"):
        task.run()
    tagged = [id_ for id_ in ids if world.paperspace.tag_names(id_) == ["x"]]
    assert tagged == [id_ for id_, change in task.pushed["change"].items() if change["added"]] == ["p1"]
    refused = len(world.requests)
    Task(AddProjectTagOperator, **arguments).run()
    assert all(world.paperspace.tag_names(id_) == ["x"] for id_ in ids)
    assert len(world.requests) > refused
