"""A notifier for many projects: one project's error does not keep it from the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.notifications.project_tags import ProjectTagNotifier

FAILED = "Project 'nope': could not make all tag changes (add 'failed', remove ()): "


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer) -> LocalPaperspaceServer:
    server.reset(seed={"projects": [{"id": id_, "tags": ["gpu"]} for id_ in ("p1", "p2")]})
    return server


def notify(way: str, **arguments: Any) -> None:
    context: Any = {"dag": DAG("d", schedule=None)}
    notifier = ProjectTagNotifier(**arguments)
    if way == "blocking":
        notifier(context)
    else:
        asyncio.run(notifier.async_notify(context))


@pytest.mark.parametrize("way", ["blocking", "asynchronous"])
def test_each_project_is_changed(world: LocalPaperspaceServer, way: str) -> None:
    notify(way, project_ids=["p1", {"id": "p2", "name": "two"}], add="failed", remove="gpu")
    assert [world.paperspace.tag_names(id_) for id_ in ("p1", "p2")] == [["failed"], ["failed"]]


@pytest.mark.parametrize("way", ["blocking", "asynchronous"])
def test_an_error_of_one_project_is_logged_and_the_others_go_on(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    notify(way, project_ids=["nope", "p2"], add="failed")
    assert world.paperspace.tag_names("p2") == ["gpu", "failed"]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith(FAILED)
    assert "404" in line


@pytest.mark.parametrize("value", [None, "", "p1", 7])
def test_an_empty_argument_is_logged_and_changes_nothing(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    notify("blocking", project_ids=value, add="failed")
    assert "project_ids is " in caplog.text
    assert not world.requests
