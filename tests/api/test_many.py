"""The same work on many projects: how many at a time, what fails, what is told, and how it stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.api.errors import AuthenticationError, ServerError, StoppedError, api_error
from airflow_provider_paperspace.api.lanes import IDLE_S, WIDTH, Lanes
from airflow_provider_paperspace.api.many import ManyProjects, Outcome
from airflow_provider_paperspace.api.settings import ClientSettings
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer

IDS = [f"p{i}" for i in range(20)]


class Client:
    """What the workers share, as far as a stop is concerned."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.closed = False

    def stop(self) -> None:
        self.stopped.set()

    async def aclose(self) -> None:
        self.closed = True


def run(work: Callable[[str], Awaitable[Any]], ids: list[str] = IDS, **options: Any) -> Outcome[Any]:
    many: ManyProjects[Client, Any] = ManyProjects(lambda client, id_: work(id_), **options)
    return asyncio.run(many.run(Client(), ids), debug=True)


async def upper(project_id: str) -> str:
    await asyncio.sleep(0)
    return project_id.upper()


def test_results_come_by_project_in_the_order_given_each_once() -> None:
    outcome = run(upper, ["b", "a", "b"])
    assert list(outcome.done.items()) == [("b", "B"), ("a", "A")]
    assert not outcome.failed
    assert not outcome.left
    assert run(upper, []) == Outcome()


@pytest.mark.parametrize("limit", [1, 3, 8, 50])
def test_so_many_are_worked_on_at_a_time_and_no_more(limit: int) -> None:
    under_way, most = 0, 0

    async def work(project_id: str) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    run(work, max_concurrency=limit)
    assert most == min(limit, len(IDS))


def test_a_project_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def work(project_id: str) -> str:
        if project_id in ("p3", "p7"):
            raise api_error(500, b"", subject=f"Project {project_id!r}", action="list its tags")
        return await upper(project_id)

    outcome = run(work)
    assert list(outcome.failed) == ["p3", "p7"]
    assert isinstance(outcome.failed["p3"], ServerError)
    assert len(outcome.done) == 18
    assert "Project 'p7': could not list its tags" in caplog.text


def test_a_key_that_is_not_accepted_ends_it_at_once() -> None:
    begun: list[str] = []

    async def work(project_id: str) -> None:
        begun.append(project_id)
        await asyncio.sleep(0)
        raise api_error(401, b"")

    outcome = run(work, max_concurrency=2)
    assert isinstance(outcome.ended_by, AuthenticationError)
    assert list(outcome.failed) == begun == ["p0", "p1"]
    assert outcome.left == IDS[2:]


def test_an_error_that_nobody_foresaw_ends_it_and_is_told_with_what_was_done() -> None:
    begun: list[str] = []

    async def work(project_id: str) -> None:
        begun.append(project_id)
        if project_id == "p2":
            raise ZeroDivisionError

    outcome = run(work, max_concurrency=1)
    assert isinstance(outcome.ended_by, ZeroDivisionError)
    assert list(outcome.done) == ["p0", "p1"]
    assert begun == ["p0", "p1", "p2"]
    assert outcome.left == IDS[2:]


def stopping(act: Callable[[ManyProjects[Client, str], Client, str], Awaitable[str]], limit: int = 2) -> Any:
    """Run work that may stop the run; give the outcome and the client."""
    many: ManyProjects[Client, str] = ManyProjects(lambda client, id_: act(many, client, id_), max_concurrency=limit)
    client = Client()
    return asyncio.run(many.run(client, IDS)), client


def test_a_stop_begins_no_further_project_and_lets_those_under_way_end() -> None:
    async def work(many: ManyProjects[Client, str], client: Client, project_id: str) -> str:
        if project_id == "p4":
            many.stop()
        for _ in range(3):
            await asyncio.sleep(0)
        return project_id

    outcome, client = stopping(work)
    assert {"p4"} < set(outcome.done) <= set(IDS[:7])
    assert outcome.left == [id_ for id_ in IDS if id_ not in outcome.done]
    assert not client.closed


def test_what_waits_is_told_of_the_stop_and_what_it_had_done_is_kept() -> None:
    async def work(many: ManyProjects[Client, str], client: Client, project_id: str) -> str:
        many.stop()
        await client.stopped.wait()
        raise StoppedError("the work was told to stop", subject=f"Project {project_id!r}", action="add tag 'x'")

    outcome, _ = stopping(work)
    assert list(outcome.cut_off) == ["p0", "p1"]
    assert outcome.left == IDS
    assert not outcome.failed


def test_what_does_not_end_after_a_stop_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api.many.GRACE_S", 0)
    monkeypatch.setattr("airflow_provider_paperspace.api.many._LAST_GRACE_S", 0)

    async def work(many: ManyProjects[Client, str], client: Client, project_id: str) -> str:
        many.stop()
        await asyncio.Event().wait()
        return project_id

    outcome, client = stopping(work)
    assert outcome == Outcome(left=IDS)
    assert client.closed


def test_a_stop_before_the_start_leaves_all() -> None:
    many: ManyProjects[Client, str] = ManyProjects(lambda client, id_: upper(id_))
    many.stop()
    assert asyncio.run(many.run(Client(), IDS)).left == IDS


def test_progress_is_told_with_done_total_and_rate(caplog: pytest.LogCaptureFixture) -> None:
    ticks: list[float] = []

    async def tick(seconds: float) -> None:
        ticks.append(seconds)
        await asyncio.sleep(0)

    async def work(project_id: str) -> str:
        if project_id == "p0":
            raise api_error(500, b"")
        return await upper(project_id)

    with caplog.at_level(logging.INFO):
        run(work, max_concurrency=2, sleep=tick)
    assert set(ticks) == {5.0}
    lines = [message for message in caplog.messages if "projects done" in message]
    assert len(lines) > 3
    assert lines[-1].startswith("19 of 20 projects done, 1 failed, ")
    assert lines[-1].endswith(" a second")


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_concurrency_that_makes_no_sense_is_refused(limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_concurrency is"):
        ManyProjects(lambda client, id_: upper(id_), max_concurrency=limit)


def test_all_requests_of_a_client_wait_for_one_pause_and_every_project_is_done(
    settings: ClientSettings, server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [f"many-{i}" for i in range(60)]
    server.reset(seed={"projects": [{"id": id_, "tags": ["gpu"]} for id_ in ids]})
    server.fault("429", at=20, times=8, retry_after="100")
    now_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        until_s = now_s + seconds
        await asyncio.sleep(0)
        now_s = max(now_s, until_s)

    async def list_all() -> Outcome[Any]:
        async with AsyncPaperspaceClient(settings, sleep=sleep, clock=lambda: now_s) as client:
            return await ManyProjects(AsyncPaperspaceClient.list_project_tags, max_concurrency=8).run(client, ids)

    with caplog.at_level(logging.INFO):
        outcome = asyncio.run(list_all(), debug=True)
    assert len(outcome.done) == 60
    assert len([m for m in caplog.messages if "all requests wait 100.0 s" in m]) == 1
    assert now_s >= 100


def test_so_many_requests_at_a_time_get_as_many_connections_and_keep_them(
    settings: ClientSettings, server: LocalPaperspaceServer
) -> None:
    ids = [f"many-{i}" for i in range(200)]
    server.reset(seed={"projects": [{"id": id_, "tags": []} for id_ in ids]}, latency_ms=10)
    opened: list[httpx.AsyncClient] = []

    async def list_all() -> Outcome[Any]:
        async with AsyncPaperspaceClient(settings) as client:
            open_client = client._lanes._open_client
            client._lanes._open_client = lambda: opened.append(open_client()) or opened[-1]  # type: ignore[func-returns-value]
            return await ManyProjects(AsyncPaperspaceClient.list_project_tags, max_concurrency=20).run(client, ids)

    outcome = asyncio.run(list_all(), debug=True)
    assert len(outcome.done) == 200
    assert len(opened) == 2, "eight on each, the first of which was open before"
    assert all(client.is_closed for client in opened)


def test_clients_that_a_burst_had_opened_are_closed_when_they_are_of_no_use(settings: ClientSettings) -> None:
    now_s = 0.0
    opened: list[httpx.AsyncClient] = []

    async def burst_and_rest() -> tuple[int, int, list[bool]]:
        nonlocal now_s

        def open_client() -> httpx.AsyncClient:
            opened.append(httpx.AsyncClient())
            return opened[-1]

        lanes = Lanes(open_client, clock=lambda: now_s)
        with ExitStack() as busy:
            for _ in range(3 * WIDTH):
                busy.enter_context(lanes.one())
            most = len(opened)
        now_s += IDLE_S + 1
        with lanes.one():
            await asyncio.sleep(0)
        left = len(lanes._lanes)
        await lanes.aclose()
        return most, left, [client.is_closed for client in opened]

    assert asyncio.run(burst_and_rest()) == (3, 1, [True] * 3)


def test_a_client_that_is_told_to_stop_ends_its_waits_and_sends_nothing_more(
    settings: ClientSettings, server: LocalPaperspaceServer
) -> None:
    server.fault("429", at=3, times=0, retry_after="100")

    async def add_and_stop() -> StoppedError:
        asked_to_sleep = asyncio.Event()

        async def sleep(seconds: float) -> None:
            asked_to_sleep.set()
            await asyncio.Event().wait()

        async with AsyncPaperspaceClient(settings, sleep=sleep) as client:
            adding = asyncio.create_task(client.add_project_tags("p1", ["x", "y"]))
            await asked_to_sleep.wait()
            client.stop()
            with pytest.raises(StoppedError) as caught:
                await adding
            with pytest.raises(StoppedError):
                await client.list_project_tags("p1")
        return caught.value

    error = asyncio.run(add_and_stop(), debug=True)
    assert error.change is not None
    assert [tag.name for tag in error.change.added] == ["x"]
    assert "Before that, 'x' added well" in str(error)
    assert len(server.requests) == 3


def test_httpx_says_nothing_of_our_requests_and_its_usual_line_of_others(
    settings: ClientSettings, server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="httpx")

    async def ask() -> None:
        async with AsyncPaperspaceClient(settings) as client:
            await client.list_project_tags("p1")

    asyncio.run(ask())
    assert not [record for record in caplog.records if record.name == "httpx"]
    httpx.get(f"{server.url}/auth/session", trust_env=False)
    assert len([record for record in caplog.records if record.name == "httpx"]) == 1
