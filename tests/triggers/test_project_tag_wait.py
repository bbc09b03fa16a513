"""Waiting in the triggerer: what ends a wait, what does not, and how few requests a thousand waits cost."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_paperspace.api import async_client
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger
from airflow_provider_paperspace.triggers.watch import hub
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY
from tests.triggers.polls import after_polls, events_of, first_event, lists

pytestmark = pytest.mark.usefixtures("connection")


def trigger(**arguments: Any) -> ProjectTagTrigger:
    return ProjectTagTrigger(**{"project_id": "p1", "tags": ["approved"], "poke_interval": 0.1, **arguments})


def instant(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_it_ends_with_the_tags_once_they_are_there(server: LocalPaperspaceServer) -> None:
    after_polls(server, 3, lambda: server.paperspace.add_tag("p1", {"name": "approved"}))
    payload = first_event(trigger(tags=["app*"]))
    assert json.loads(json.dumps(payload)) == payload
    assert (payload["status"], payload["project_id"], payload["tags"][0]["name"]) == ("met", "p1", "approved")
    assert lists(server) == 4


def test_it_ends_when_the_tags_are_gone(server: LocalPaperspaceServer) -> None:
    after_polls(server, 2, lambda: server.paperspace.remove_tag("p1", {"name": "gpu"}))
    assert first_event(trigger(tags=["gpu"], mode_of_match="none")) == {"status": "met", "project_id": "p1", "tags": []}


def test_it_goes_on_elsewhere_with_ids_and_numbers_alone() -> None:
    original = trigger(mode_of_match="any", deadline=instant(9), max_failures=3, paperspace_conn_id="other")
    path, arguments = original.serialize()
    module, _, name = path.rpartition(".")
    assert json.loads(json.dumps(arguments)) == arguments
    again = getattr(sys.modules[module], name)(**arguments)
    assert again.serialize() == original.serialize()
    assert API_KEY not in repr(original)


def test_at_the_deadline_it_looks_once_more_and_tells_the_timeout(server: LocalPaperspaceServer) -> None:
    payload = first_event(trigger(poke_interval=60, deadline=instant(0.2)))
    assert payload["status"] == "timeout"
    assert "Project 'p1' did not have all of 'approved' by " in payload["message"]
    assert lists(server) == 1


def test_a_tag_that_came_while_no_triggerer_ran_is_not_missed_after_the_deadline(server: LocalPaperspaceServer) -> None:
    server.paperspace.add_tag("p1", {"name": "approved"})
    assert first_event(trigger(poke_interval=60, deadline=instant(-100)))["status"] == "met"


def test_a_last_look_that_fails_is_told_with_the_timeout(server: LocalPaperspaceServer) -> None:
    server.fault("500", times=0)
    payload = first_event(trigger(deadline=instant(-1)))
    assert payload["status"] == "timeout"
    assert "The last look failed: Project 'p1': could not list its tags" in payload["message"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("500", {}), ("429", {"retry_after": "0"}), ("reset", {}), ("502", {}), ("wrong-types", {})],
)
def test_passing_faults_are_survived_with_one_line_when_they_begin_and_one_when_they_end(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, kind: str, options: dict[str, Any]
) -> None:
    server.fault(kind, at=2, times=6, **options)
    # A project is read for an answer of wrong types, too, and for none of the others.
    after_polls(
        server, 11 if kind == "wrong-types" else 5, lambda: server.paperspace.add_tag("p1", {"name": "approved"})
    )
    with caplog.at_level(logging.INFO):
        assert first_event(trigger())["status"] == "met"
    ours = [record for record in caplog.records if record.name.endswith("project_tag_wait")]
    assert [record.levelname for record in ours] == ["WARNING", "INFO"]
    assert "cannot be polled; the wait goes on for up to 10 polls in a row" in ours[0].getMessage()
    assert "can be polled again" in ours[1].getMessage()


def test_more_failures_in_a_row_than_allowed_end_the_wait(server: LocalPaperspaceServer) -> None:
    server.fault("500", times=0)
    payload = first_event(trigger(max_failures=1))
    assert (payload["status"], payload["lasting"]) == ("error", False)
    assert "2 polls in a row failed, the last one so: Project 'p1'" in payload["message"]


@pytest.mark.parametrize(("kind", "status"), [("401", "401"), ("403", "403")])
def test_what_will_not_pass_ends_the_wait_at_once(server: LocalPaperspaceServer, kind: str, status: str) -> None:
    server.fault(kind, times=0)
    payload = first_event(trigger())
    assert (payload["status"], payload["lasting"]) == ("error", True)
    assert f"the service answered {status}" in payload["message"]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"project_id": "nope"}, "Project 'nope': could not list its tags: the service answered 404"),
        ({"paperspace_conn_id": "bad_conn"}, "Connection 'bad_conn' has no API key"),
    ],
)
def test_a_project_or_connection_that_is_not_there_ends_the_wait_at_once(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD_CONN", "paperspace://")
    payload = first_event(trigger(**arguments))
    assert (payload["status"], payload["lasting"]) == ("error", True)
    assert message in payload["message"]


@pytest.mark.parametrize("arguments", [{"mode_of_match": "most"}, {"deadline": "soon"}, {"deadline": "2026-01-01"}])
def test_arguments_that_did_not_travel_well_end_the_wait_with_an_error(
    caplog: pytest.LogCaptureFixture, arguments: dict[str, Any]
) -> None:
    payload = first_event(trigger(**arguments))
    assert payload["status"] == "error"
    assert "Traceback" in caplog.text


def test_many_waits_on_one_project_share_their_polls_and_one_client(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0
    open_http = async_client._new_http_client

    def count(*args: Any) -> Any:
        nonlocal opened
        opened += 1
        return open_http(*args)

    monkeypatch.setattr(async_client, "_new_http_client", count)
    server.reset(seed={"projects": [{"id": id_, "tags": []} for id_ in ("p1", "p2")]})

    def approve() -> None:
        for id_ in ("p1", "p2"):
            server.paperspace.add_tag(id_, {"name": "approved"})

    after_polls(server, 8, approve)

    async def wait() -> list[Any]:
        waits = [events_of(trigger(project_id=id_).run()) for id_ in ("p1", "p2") for _ in range(100)]
        return [payload["status"] for (payload,) in await asyncio.gather(*waits)]

    assert asyncio.run(wait()) == ["met"] * 200
    assert opened == 1
    assert lists(server) <= 12, "8 until the tags came, and a poll or two of each project after that"


def test_a_poll_goes_at_the_pace_of_its_most_eager_watcher(server: LocalPaperspaceServer) -> None:
    server.paperspace.add_tag("p1", {"name": "approved"})

    async def wait() -> list[Any]:
        slow = asyncio.create_task(events_of(trigger(poke_interval=600).run()))
        await asyncio.sleep(0)
        (eager,) = await events_of(trigger(poke_interval=0.1).run())
        return [eager, *await slow]

    assert [payload["status"] for payload in asyncio.run(wait())] == ["met", "met"]
    assert lists(server) == 1


def test_a_wait_that_is_cancelled_leaves_nothing_behind(server: LocalPaperspaceServer) -> None:
    async def cancel() -> tuple[int, int, int]:
        seen = asyncio.Event()
        loop = asyncio.get_running_loop()
        after_polls(server, 1, lambda: loop.call_soon_threadsafe(seen.set))
        waits = [asyncio.create_task(events_of(trigger().run())) for _ in range(3)]
        await seen.wait()
        busy = len(hub()._polls)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        return busy, len(hub()._polls) + len(hub()._clients), len(others)

    assert asyncio.run(cancel()) == (1, 0, 0)


def test_a_new_key_on_the_connection_is_taken_up_and_no_wait_ends_for_the_old_one(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json())
    projects = [f"p{i}" for i in range(5)]
    server.reset(seed={"projects": [{"id": id_, "tags": []} for id_ in projects]})

    def rotate() -> None:
        server.app.api_key = "a-new-key-of-the-team"
        monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json())
        for id_ in projects:
            server.paperspace.add_tag(id_, {"name": "approved"})

    after_polls(server, 8, rotate)

    async def wait() -> list[Any]:
        return [
            p["status"] for (p,) in await asyncio.gather(*(events_of(trigger(project_id=i).run()) for i in projects))
        ]

    try:
        assert asyncio.run(wait()) == ["met"] * 5
    finally:
        server.app.api_key = API_KEY


def test_a_key_that_stays_refused_opens_no_further_client(server: LocalPaperspaceServer) -> None:
    server.fault("401", times=0)

    async def watch() -> tuple[int, int]:
        async with hub().watching("paperspace_default", "p1", 0.1) as place:
            for _ in range(3):
                reading = await place.next()
                assert reading is not None
                assert "401" in str(reading.error)
            client = hub()._clients["paperspace_default"]
            return len(client._outdated), len(hub()._clients)

    assert asyncio.run(watch()) == (0, 1)


def test_a_wait_counts_the_failures_that_it_saw_itself_and_at_its_own_interval(server: LocalPaperspaceServer) -> None:
    server.fault("500", times=0)

    async def join_late() -> tuple[Any, Any]:
        async with hub().watching("paperspace_default", "p1", 0.1) as eager:
            for _ in range(4):
                await eager.next()
            patient = asyncio.create_task(events_of(trigger(poke_interval=600, max_failures=1).run()))
            reading = None
            for _ in range(2):
                reading = await eager.next()
            was_patient = not patient.done()
            patient.cancel()
            await asyncio.gather(patient, return_exceptions=True)
            return reading, was_patient

    reading, was_patient = asyncio.run(join_late())
    assert reading.failures == 6
    assert was_patient


def test_a_last_look_that_gets_no_answer_in_time_ends_the_wait(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.triggers.project_tag_wait.LAST_LOOK_S", 0.2)
    server.fault("429", times=0, retry_after="100")
    payload = first_event(trigger(deadline=instant(-1)))
    assert payload["status"] == "timeout"
    assert "The last look got no answer within 0 s" in payload["message"]


def test_a_project_that_cannot_be_read_is_polled_less_often(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api.retries.wait_s", lambda *_: 0.0)
    server.fault("500", times=0)

    async def watch() -> tuple[list[int], list[float]]:
        loop = asyncio.get_running_loop()
        async with hub().watching("paperspace_default", "p1", 0.1) as place:
            failures, at = [], []
            for _ in range(4):
                reading = await place.next()
                assert reading is not None
                failures.append(reading.failures)
                at.append(loop.time())
        return failures, at

    failures, at = asyncio.run(watch())
    assert failures == [1, 2, 3, 4]
    assert at[2] - at[1] > 0.17
    assert at[3] - at[2] > 0.35


def test_the_event_loop_is_never_blocked_for_a_tenth_of_a_second(server: LocalPaperspaceServer) -> None:
    """From the first poll on, our imports and the certificates included; Airflow's own are loaded in a triggerer."""
    server.reset(seed={"projects": [{"id": f"p{i}", "tags": ["approved"] if i == 29 else []} for i in range(30)]})
    script = """
import asyncio, logging
from airflow.providers.common.compat.sdk import BaseHook
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger

async def end(trigger):
    async for event in trigger.run():
        return event.payload["status"]

async def main():
    asyncio.get_running_loop().slow_callback_duration = 0.1
    waits = [ProjectTagTrigger(project_id=f"p{i}", tags=["approved"], poke_interval=0.5) for i in range(30)]
    tasks = [asyncio.create_task(end(wait)) for wait in waits]
    print("ended", await tasks[29])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

BaseHook.get_connection("paperspace_default")
logging.basicConfig(level="WARNING", force=True)
logging.getLogger("asyncio").setLevel("WARNING")
asyncio.run(main(), debug=True)
"""
    environment = {**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert "ended met" in run.stdout
    assert " took " not in run.stderr, f"asyncio names what blocked it: {run.stderr}"
