"""Many projects in one task: time over the ideal, requests, memory, and the pace under a rate limit."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress

import httpx
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator
from tests.bench.report import Report
from tests.bench.server import API_KEY, BenchServer, bench_server
from tests.operators.task import Task

LATENCY_MS = 50
RATE_LIMIT = 50
ROUNDS = {8: 1, 32: 5}


def ids(projects: int) -> list[str]:
    return [f"p{i:05}" for i in range(projects)]


def seed(project_ids: Sequence[str], tag: str = "gpu") -> dict[str, object]:
    return {"projects": [{"id": project_id, "tags": [tag]} for project_id in project_ids]}


IDS = ids(1_000)


def through_the_operator(
    server: BenchServer, max_concurrency: int, tag: str = "x", project_ids: Sequence[str] = IDS
) -> None:
    os.environ["AIRFLOW_CONN_PAPERSPACE_DEFAULT"] = server.connection()
    AddProjectTagOperator(task_id="add", project_ids=project_ids, tags=tag, max_concurrency=max_concurrency).execute({})


def bare_loop(server: BenchServer, max_concurrency: int) -> None:
    async def add_to_all() -> None:
        turn = asyncio.Semaphore(max_concurrency)
        # By default, httpx keeps 20 connections and opens the others anew.
        limits = httpx.Limits(max_keepalive_connections=max_concurrency)
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(headers=headers, limits=limits, trust_env=False) as client:

            async def add_to(project_id: str) -> None:
                url = f"{server.url}/projects/{project_id}/tags"
                async with turn:
                    page = (await client.get(url, params={"limit": 120})).raise_for_status().json()
                    if "x" not in [tag["name"] for tag in page["items"]]:
                        (await client.post(url, json={"name": "x"})).raise_for_status()

            await asyncio.gather(*map(add_to, IDS))

    asyncio.run(add_to_all())


def requests_of(server: BenchServer, call: Callable[[], None]) -> int:
    before = server.request_count()
    call()
    return server.request_count() - before


def seconds(call: Callable[[BenchServer, int], None], max_concurrency: int) -> float:
    with bench_server(seed(IDS), latency_ms=LATENCY_MS) as server:
        through_the_operator(server, 1, "gpu", IDS[:1])  # what is loaded once is not the projects'
        began = time.perf_counter()
        assert requests_of(server, lambda: call(server, max_concurrency)) == 2 * len(IDS)
        return time.perf_counter() - began


def measure(report: Report) -> None:
    for max_concurrency, aim in ((8, 1.25), (32, 1.6)):
        # In turns, so that what else the machine does falls on both.
        pairs = [
            (seconds(bare_loop, max_concurrency), seconds(through_the_operator, max_concurrency))
            for _ in range(ROUNDS[max_concurrency])
        ]
        bare, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        ideal = 2 * len(IDS) * LATENCY_MS / 1000 / max_concurrency
        report.row(
            f"tag {len(IDS):,} projects, {max_concurrency} at a time, {LATENCY_MS} ms",
            f"{ours:.2f} s",
            f"ideal {ideal:.2f} s; bare httpx {bare:.2f} s, ratio {bare / ideal:.3f}",
            ratio=ours / ideal,
            aim=aim,
        )


def measure_requests(report: Report) -> None:
    with bench_server(seed(IDS)) as server:
        for state, aim in (("to be written", "2"), ("there already", "1")):
            count = requests_of(server, lambda: through_the_operator(server, 8))
            report.row(f"requests a project, tag {state}", f"{count / len(IDS):g}", f"{len(IDS):,} projects", aim=aim)


def peak_bytes(project_ids: Sequence[str]) -> int:
    with bench_server(seed(project_ids)) as server:
        through_the_operator(server, 8, "gpu", project_ids[:100])  # what is loaded once is not the projects'
        tracemalloc.start()
        # The tag is there: tracing is slow, and writing it would add a request and next to no memory.
        through_the_operator(server, 8, "gpu", project_ids)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def measure_memory(report: Report) -> None:
    few, many = len(IDS), 20 * len(IDS)
    small, large = peak_bytes(IDS), peak_bytes(ids(many))
    report.row(
        f"{many:,} projects in one task: peak memory",
        f"{large / 1e6:.1f} MB",
        f"{few:,} projects {small / 1e6:.1f} MB; {large / many / 1e3:.2f} and {small / few / 1e3:.2f} kB a project",
        ratio=large / many / (small / few),
        aim="flat",
    )


def measure_pace(report: Report) -> None:
    for max_concurrency in ROUNDS:
        with bench_server(seed(IDS, "x"), rate_limit=RATE_LIMIT) as server:
            os.environ["AIRFLOW_CONN_PAPERSPACE_DEFAULT"] = server.connection()
            task = Task(AddProjectTagOperator, project_ids=IDS, tags="x", max_concurrency=max_concurrency)
            began = time.perf_counter()
            with suppress(AirflowException):  # a project that fails is counted
                task.run()
            rate = len(IDS) / (time.perf_counter() - began)
            refused = server.request_count() - len(IDS)
        name = f"at most {RATE_LIMIT} requests/s, {max_concurrency} at a time"
        report.row(f"{name}: pace", f"{rate:.1f}/s", f"{refused} answers 429", ratio=rate / RATE_LIMIT, aim="> 0.80")
        report.row(f"{name}: failed", f"{len(task.pushed.get('failed', {}))}", f"{len(IDS):,} projects", aim="0")
