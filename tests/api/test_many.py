"""The same work on many projects: how many at a time, what fails, what is told, and how it stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.api.errors import AuthenticationError, ServerError, api_error
from airflow_provider_paperspace.api.many import ManyProjects, Outcome
from airflow_provider_paperspace.api.settings import ClientSettings
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer

IDS = [f"p{i}" for i in range(20)]


def run(work: Callable[[str], Awaitable[Any]], ids: list[str] = IDS, **options: Any) -> Outcome[Any]:
    return asyncio.run(ManyProjects(work, **options).run(ids), debug=True)


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

    with pytest.raises(AuthenticationError):
        run(work, max_concurrency=2)
    assert len(begun) <= 3


def test_an_error_that_nobody_foresaw_comes_out() -> None:
    begun: list[str] = []

    async def work(project_id: str) -> None:
        begun.append(project_id)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(work, max_concurrency=1)
    assert begun == ["p0"]


def test_a_stop_begins_no_further_project_and_lets_those_under_way_end() -> None:
    runner: ManyProjects[str]

    async def work(project_id: str) -> str:
        if project_id == "p4":
            runner.stop()
        for _ in range(3):
            await asyncio.sleep(0)
        return project_id

    runner = ManyProjects(work, max_concurrency=2)
    outcome = asyncio.run(runner.run(IDS))
    assert {"p4"} < set(outcome.done) <= set(IDS[:7])
    assert outcome.left == [id_ for id_ in IDS if id_ not in outcome.done]


def test_what_does_not_end_after_a_stop_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api.many.GRACE_S", 0)
    runner: ManyProjects[str]

    async def work(project_id: str) -> str:
        runner.stop()
        await asyncio.Event().wait()
        return project_id

    runner = ManyProjects(work, max_concurrency=2)
    assert asyncio.run(runner.run(IDS)) == Outcome(left=IDS)


def test_a_stop_before_the_start_leaves_all() -> None:
    runner = ManyProjects(upper)
    runner.stop()
    assert asyncio.run(runner.run(IDS)).left == IDS


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
        ManyProjects(upper, max_concurrency=limit)


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
            return await ManyProjects(client.list_project_tags, max_concurrency=8).run(ids)

    with caplog.at_level(logging.INFO):
        outcome = asyncio.run(list_all(), debug=True)
    assert len(outcome.done) == 60
    assert len([m for m in caplog.messages if "all requests wait 100.0 s" in m]) == 1
    assert now_s >= 100
