"""Waiting in the triggerer: what ends a wait, what does not, and how few requests a thousand waits cost."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_paperspace.api import async_client
from airflow_provider_paperspace.api.errors import ServerError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.triggers._polling import JITTER, MAX_SLOWDOWN, polling_hub
from airflow_provider_paperspace.triggers.project_tags import LAST_POLL_TIMEOUT_S, ProjectTagTrigger
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY
from tests.triggers import virtual_time
from tests.triggers.polls import after_polls, events_of, first_event, poll_count

pytestmark = pytest.mark.usefixtures("connection", "polls_at_once", "retries_at_once")

PASSED = (datetime.now(UTC) - timedelta(seconds=100)).isoformat()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> virtual_time.Service:
    """A service without a socket, and a wall clock, for the tests in virtual time."""
    service = virtual_time.Service("gpu")
    monkeypatch.setattr("airflow_provider_paperspace.triggers._polling._SharedConnection", service.connection)
    monkeypatch.setattr("airflow_provider_paperspace.triggers.project_tags.datetime", virtual_time.VirtualDatetime)
    return service


def trigger(**arguments: Any) -> ProjectTagTrigger:
    return ProjectTagTrigger(**{"project_id": "p1", "tags": ["approved"], "poke_interval": 0, **arguments})


def deadline(seconds: float) -> str:
    return virtual_time.instant(seconds).isoformat()


def first_event_in_virtual_time(wait: ProjectTagTrigger) -> Any:
    (payload,) = virtual_time.run(events_of(wait.run()))
    return payload


def test_a_wait_ends_with_the_matching_tags(server: LocalPaperspaceServer) -> None:
    after_polls(server, 3, lambda: server.paperspace.add_tag("p1", {"name": "approved"}))
    payload = first_event(trigger(tags=["app*"]))
    assert json.loads(json.dumps(payload)) == payload
    assert (payload["status"], payload["project_id"], payload["tags"][0]["name"]) == ("met", "p1", "approved")
    assert poll_count(server) == 4


def test_a_wait_for_no_tags_ends_when_they_are_gone(server: LocalPaperspaceServer) -> None:
    after_polls(server, 2, lambda: server.paperspace.remove_tag("p1", {"name": "gpu"}))
    assert first_event(trigger(tags=["gpu"], mode_of_match="none")) == {"status": "met", "project_id": "p1", "tags": []}


def test_a_trigger_is_stored_as_json_without_the_key() -> None:
    original = trigger(mode_of_match="any", deadline=PASSED, max_failures=3, paperspace_conn_id="other")
    path, arguments = original.serialize()
    module, _, name = path.rpartition(".")
    assert json.loads(json.dumps(arguments)) == arguments
    again = getattr(sys.modules[module], name)(**arguments)
    assert again.serialize() == original.serialize()
    assert API_KEY not in repr(original)


@pytest.mark.parametrize(("poke_interval", "polls"), [(600, 1), (60, 5)])
def test_a_wait_polls_once_more_at_its_deadline(
    service: virtual_time.Service, monkeypatch: pytest.MonkeyPatch, poke_interval: float, polls: int
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.75)
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)
    payload = first_event_in_virtual_time(trigger(poke_interval=poke_interval, deadline=deadline(240)))
    assert payload["status"] == "timeout"
    assert (
        payload["message"]
        == f"Project 'p1': its tags did not meet the condition (all of 'approved') by {deadline(240)}."
    )
    assert len(service.polled_at_s) == polls
    assert service.polled_at_s[-1] == 240


def test_a_wait_whose_deadline_has_passed_polls_once(server: LocalPaperspaceServer) -> None:
    server.paperspace.add_tag("p1", {"name": "approved"})
    assert first_event(trigger(poke_interval=60, deadline=PASSED))["status"] == "met"
    assert poll_count(server) == 1


def test_a_last_poll_that_fails_is_part_of_the_timeout(server: LocalPaperspaceServer) -> None:
    server.fault("500", times=0)
    payload = first_event(trigger(deadline=PASSED))
    assert payload["status"] == "timeout"
    assert "The last poll failed: Project 'p1': could not list its tags" in payload["message"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("500", {}), ("429", {"retry_after": "0"}), ("reset", {}), ("502", {}), ("wrong-types", {})],
)
def test_errors_that_pass_cost_one_warning_and_one_line(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, kind: str, options: dict[str, Any]
) -> None:
    server.fault(kind, at=2, times=6, **options)
    # An answer of wrong types is read from the project's state, too; the other faults never reach it.
    after_polls(
        server, 11 if kind == "wrong-types" else 5, lambda: server.paperspace.add_tag("p1", {"name": "approved"})
    )
    with caplog.at_level(logging.INFO):
        assert first_event(trigger())["status"] == "met"
    ours = [record for record in caplog.records if record.name.endswith("triggers.project_tags")]
    assert [record.levelname for record in ours] == ["WARNING", "INFO"]
    assert "cannot be polled; up to 10 failed polls in a row are tolerated" in ours[0].getMessage()
    assert "can be polled again" in ours[1].getMessage()


def test_too_many_failed_polls_in_a_row_end_the_wait(server: LocalPaperspaceServer) -> None:
    server.fault("500", times=0)
    payload = first_event(trigger(max_failures=1))
    assert (payload["status"], payload["permanent"]) == ("error", False)
    assert "2 polls in a row failed. The last error: Project 'p1'" in payload["message"]


@pytest.mark.parametrize(("kind", "status"), [("401", "401"), ("403", "403")])
def test_a_permanent_error_ends_the_wait_at_once(server: LocalPaperspaceServer, kind: str, status: str) -> None:
    server.fault(kind, times=0)
    payload = first_event(trigger())
    assert (payload["status"], payload["permanent"]) == ("error", True)
    assert f"the service answered {status}" in payload["message"]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"project_id": "nope"}, "Project 'nope': could not list its tags: the service answered 404"),
        ({"paperspace_conn_id": "bad_conn"}, "Connection 'bad_conn' has no API key"),
    ],
)
def test_a_missing_project_or_key_ends_the_wait_at_once(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BAD_CONN", "paperspace://")
    payload = first_event(trigger(**arguments))
    assert (payload["status"], payload["permanent"]) == ("error", True)
    assert message in payload["message"]


@pytest.mark.parametrize("arguments", [{"mode_of_match": "most"}, {"deadline": "soon"}, {"deadline": "2026-01-01"}])
def test_stored_arguments_that_make_no_sense_end_the_wait(
    caplog: pytest.LogCaptureFixture, arguments: dict[str, Any]
) -> None:
    payload = first_event(trigger(**arguments))
    assert payload["status"] == "error"
    assert "Traceback" in caplog.text


def test_waits_on_one_project_share_polls_and_a_client(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0
    new_session = async_client._new_session

    def count(*args: Any) -> Any:
        nonlocal opened
        opened += 1
        return new_session(*args)

    monkeypatch.setattr(async_client, "_new_session", count)
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
    assert poll_count(server) <= 12, "8 until the tags came, and a poll or two of each project after that"


def test_polls_come_at_the_shortest_interval(service: virtual_time.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    service.tags.append("approved")

    async def wait() -> list[Any]:
        patient = asyncio.create_task(events_of(trigger(poke_interval=600).run()))
        await asyncio.sleep(5)
        (eager,) = await events_of(trigger(poke_interval=10).run())
        return [eager, *await patient]

    assert [payload["status"] for payload in virtual_time.run(wait())] == ["met", "met"]
    assert service.polled_at_s == [10]


def test_a_cancelled_wait_leaves_nothing_behind(server: LocalPaperspaceServer) -> None:
    async def cancel() -> tuple[int, int, int]:
        polled = asyncio.Event()
        loop = asyncio.get_running_loop()
        after_polls(server, 1, lambda: loop.call_soon_threadsafe(polled.set))
        waits = [asyncio.create_task(events_of(trigger().run())) for _ in range(3)]
        await polled.wait()
        busy = len(polling_hub()._pollers)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        return busy, len(polling_hub()._pollers) + len(polling_hub()._connections), len(others)

    assert asyncio.run(cancel()) == (1, 0, 0)


def test_waits_go_on_with_a_new_key_of_the_connection(
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


def test_a_key_that_stays_rejected_opens_no_new_client(server: LocalPaperspaceServer) -> None:
    server.fault("401", times=0)

    async def watch() -> tuple[int, int]:
        async with polling_hub().subscribed("paperspace_default", "p1", 0) as polls:
            for _ in range(3):
                reading = await polls.next_reading()
                assert reading is not None
                assert "401" in str(reading.error)
            connection = polling_hub()._connections["paperspace_default"]
            return len(connection._outdated), len(polling_hub()._connections)

    assert asyncio.run(watch()) == (0, 1)


def test_a_wait_counts_failed_polls_at_its_own_interval(service: virtual_time.Service) -> None:
    service.error = ServerError(500, "", "")

    async def join_late() -> tuple[Any, bool, Any]:
        async with polling_hub().subscribed("paperspace_default", "p1", 10) as eager:
            for _ in range(4):
                await eager.next_reading()
            patient = asyncio.create_task(events_of(trigger(poke_interval=600, max_failures=1).run()))
            reading = None
            for _ in range(2):
                reading = await eager.next_reading()
            was_waiting = not patient.done()
            (payload,) = await patient
            return reading, was_waiting, payload

    reading, was_waiting, payload = virtual_time.run(join_late())
    assert reading.failures == 6
    assert was_waiting
    assert payload["message"].startswith("2 polls in a row failed.")
    assert service.polled_at_s[-1] - service.polled_at_s[4] >= 600 * (1 - 2 * JITTER)


def test_a_last_poll_without_an_answer_ends_the_wait(service: virtual_time.Service) -> None:
    service.answers = False

    async def wait() -> tuple[Any, float]:
        (payload,) = await events_of(trigger(deadline=deadline(-1)).run())
        return payload, asyncio.get_running_loop().time()

    payload, ended_at_s = virtual_time.run(wait())
    assert payload["status"] == "timeout"
    assert payload["message"].endswith("The last poll got no answer within 30 s.")
    assert ended_at_s == LAST_POLL_TIMEOUT_S == 30


def poll_times(service: virtual_time.Service, ends_s: float, **arguments: Any) -> list[float]:
    """Return when a wait polls, without jitter, up to its deadline."""
    first_event_in_virtual_time(trigger(deadline=deadline(ends_s), **arguments))
    return service.polled_at_s


@pytest.fixture
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)


@pytest.mark.usefixtures("_no_jitter")
@pytest.mark.parametrize(
    ("arguments", "polled_at_s"),
    [
        ({}, [10, 20, 30, 40, 50]),
        ({"exponential_backoff": True}, [10, 30, 70, 150, 310]),
        ({"exponential_backoff": True, "max_wait": 50.0}, [10, 30, 70, 120, 170]),
        ({"exponential_backoff": True, "max_wait": 5.0}, [10, 15, 20, 25, 30]),
        ({"exponential_backoff": False, "max_wait": 5.0}, [10, 20, 30, 40, 50]),
    ],
)
def test_exponential_backoff_is_honoured(
    service: virtual_time.Service, arguments: dict[str, Any], polled_at_s: list[float]
) -> None:
    assert poll_times(service, 1000, poke_interval=10, **arguments)[:5] == polled_at_s


@pytest.mark.usefixtures("_no_jitter")
def test_a_growing_interval_stops_at_a_day(service: virtual_time.Service) -> None:
    times = poll_times(service, 20 * 86_400, poke_interval=3600, exponential_backoff=True)
    assert max(later - earlier for earlier, later in pairwise(times)) == 86_400


@pytest.mark.usefixtures("_no_jitter")
def test_polls_of_other_waits_do_not_grow_an_interval(service: virtual_time.Service) -> None:
    async def wait() -> None:
        eager = asyncio.create_task(events_of(trigger(poke_interval=1, deadline=deadline(100)).run()))
        await events_of(trigger(poke_interval=20, exponential_backoff=True, deadline=deadline(300)).run())
        await eager

    virtual_time.run(wait())
    # It doubled at 1 s, 33 s (of 40 s, less the jitter) and 97 s: by its own clock, not a hundred times.
    assert [at_s for at_s in service.polled_at_s if at_s > 100] == [260, 300]


PATTERN, NAME = "exp[1]", {"name": "exp[1]"}


@pytest.mark.parametrize(
    ("tags", "is_met"),
    [(PATTERN, True), ([PATTERN], True), (NAME, False), ([NAME], False), ({**NAME, "id": 7, "dtCreated": "x"}, False)],
)
def test_names_stay_literal_through_the_triggerer(service: virtual_time.Service, tags: Any, is_met: bool) -> None:
    """Only the tag ``exp1`` is there: it matches the pattern, not the name."""
    service.tags.append("exp1")
    stored = through_the_database(trigger(tags=tags, poke_interval=10, deadline=deadline(100)))
    assert first_event_in_virtual_time(stored)["status"] == ("met" if is_met else "timeout")


def through_the_database(wait: ProjectTagTrigger) -> ProjectTagTrigger:
    """Return the trigger as the triggerer makes it, from what Airflow stored."""
    from airflow.models.trigger import Trigger

    path, arguments = wait.serialize()
    row = Trigger(classpath=path, kwargs=arguments)
    return ProjectTagTrigger(**row.kwargs)


def test_a_failing_project_is_polled_less_and_less_often(service: virtual_time.Service) -> None:
    service.error = ServerError(500, "", "")

    async def watch() -> list[int]:
        async with polling_hub().subscribed("paperspace_default", "p1", 10) as polls:
            failures = []
            for _ in range(6):
                reading = await polls.next_reading()
                assert reading is not None
                failures.append(reading.failures)
        return failures

    assert virtual_time.run(watch()) == [1, 2, 3, 4, 5, 6]
    pauses = [later - earlier for earlier, later in pairwise(service.polled_at_s)]
    for pause, slowdown in zip(pauses, [1, 2, 4, MAX_SLOWDOWN, MAX_SLOWDOWN], strict=True):
        assert pause / slowdown == pytest.approx(10, rel=JITTER)


def test_projects_with_one_interval_are_not_polled_in_step(service: virtual_time.Service) -> None:
    async def watch() -> None:
        waits = [asyncio.create_task(events_of(trigger(project_id=f"p{i}", poke_interval=60).run())) for i in range(50)]
        await asyncio.sleep(60)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    virtual_time.run(watch())
    assert len({round(at_s, 3) for at_s in service.polled_at_s[:50]}) > 40


BLOCKING_CALLS = """
import asyncio, json, logging, os, ssl, sys, threading
import asgiref.sync  # a triggerer has loaded it
from airflow.providers.common.compat.sdk import BaseHook
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger

BaseHook.get_connection("paperspace_default")  # so have Airflow's own modules been
logging.getLogger("airflow").warning("Airflow 2 looks up the time zone for its first log line")
event_loop, running = threading.get_ident(), False
seen, threads_of_tls = [], []
EVENTS = {"import", "open", "os.listdir", "os.scandir", "socket.getaddrinfo", "subprocess.Popen", "time.sleep"}

def note(event, args):
    if running and threading.get_ident() == event_loop:
        if event in EVENTS or event == "socket.connect" and args[0].gettimeout() != 0:
            seen.append(f"{event} {args[0]}")

def note_tls(*args, create=ssl.create_default_context, **kwargs):
    threads_of_tls.append(threading.get_ident())
    return create(*args, **kwargs)

async def end(trigger):
    async for event in trigger.run():
        return event.payload["status"]

async def main():
    global running
    waits = [ProjectTagTrigger(project_id=f"p{i}", tags=["approved"], poke_interval=0.1) for i in range(30)]
    https = ProjectTagTrigger(
        project_id="p", tags=["approved"], paperspace_conn_id="https", poke_interval=0.1, max_failures=0
    )
    running = True
    tasks = [asyncio.create_task(end(wait)) for wait in waits]
    statuses = [await tasks[29], await end(https)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    running = False
    return statuses

ssl.create_default_context = note_tls
sys.addaudithook(note)
statuses = asyncio.run(main())
print(json.dumps([statuses, seen, len(threads_of_tls), event_loop in threads_of_tls]))
"""


def test_the_event_loop_is_never_blocked(server: LocalPaperspaceServer) -> None:
    """The imports, the certificates and the name look-ups of the first poll are for other threads."""
    server.reset(seed={"projects": [{"id": f"p{i}", "tags": ["approved"] if i == 29 else []} for i in range(30)]})
    https = {"conn_type": "paperspace", "host": "https://localhost:1", "password": API_KEY}
    https["extra"] = {"timeout": 60, "max_attempts": 1}
    environment = {**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING", "AIRFLOW_CONN_HTTPS": json.dumps(https)}
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", BLOCKING_CALLS], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    statuses, blocking, tls_contexts, are_in_the_loop = json.loads(run.stdout.splitlines()[-1])
    assert statuses == ["met", "error"]
    assert blocking == []
    assert tls_contexts > 0
    assert not are_in_the_loop
