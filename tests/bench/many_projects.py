"""Many projects in one task: time over the ideal, requests, memory, and the rate under a rate limit."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress

import aiohttp
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator, SetProjectTagsOperator
from tests.bench.report import Report
from tests.bench.server import API_KEY, BenchServer, bench_server, plain_server
from tests.operators.task import Task

LATENCY_MS = 50
RATE_LIMIT = 50
ROUNDS = {8: 1, 32: 5}
AIMS = {8: 1.08, 32: 1.08}


def ids(projects: int) -> list[str]:
    return [f"p{i:05}" for i in range(projects)]


def seed(project_ids: Sequence[str], tag: str = "gpu") -> dict[str, object]:
    return {"projects": [{"id": project_id, "tags": [tag]} for project_id in project_ids]}


IDS = ids(1_000)


def run_the_operator(
    server: BenchServer, max_concurrency: int, tag: str = "x", project_ids: Sequence[str] = IDS
) -> None:
    os.environ["AIRFLOW_CONN_PAPERSPACE_DEFAULT"] = server.connection()
    AddProjectTagOperator(task_id="add", project_ids=project_ids, tags=tag, max_concurrency=max_concurrency).execute({})


def set_one_tag(server: BenchServer) -> None:
    """Replace ``gpu``, the only tag with its prefix."""
    os.environ["AIRFLOW_CONN_PAPERSPACE_DEFAULT"] = server.connection()
    SetProjectTagsOperator(task_id="set", project_ids=IDS, tags="gpu-new", within="gpu").execute({})


def bare_loop(server: BenchServer, max_concurrency: int) -> None:
    async def add_to_all() -> None:
        slots = asyncio.Semaphore(max_concurrency)
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:

            async def add_to(project_id: str) -> None:
                url = f"{server.url}/projects/{project_id}/tags"
                async with slots:
                    async with session.get(url, params={"limit": 120}) as answer:
                        page = await answer.json()
                    if "x" not in [tag["name"] for tag in page["items"]]:
                        async with session.post(url, json={"name": "x"}) as answer:
                            await answer.json()

            await asyncio.gather(*map(add_to, IDS))

    asyncio.run(add_to_all())


def requests_of(server: BenchServer, call: Callable[[], None]) -> int:
    before = server.request_count()
    call()
    return server.request_count() - before


def seconds(call: Callable[[BenchServer, int], None], max_concurrency: int) -> float:
    with plain_server(LATENCY_MS) as server:
        run_the_operator(server, 1, "gpu", IDS[:1])  # loads modules, which do not count
        started_s = time.perf_counter()
        assert requests_of(server, lambda: call(server, max_concurrency)) == 2 * len(IDS)
        return time.perf_counter() - started_s


def measure(report: Report) -> None:
    for max_concurrency, rounds in ROUNDS.items():
        # Both loops take turns, because the machine does other things as well.
        pairs = [
            (seconds(bare_loop, max_concurrency), seconds(run_the_operator, max_concurrency)) for _ in range(rounds)
        ]
        bare, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        ideal = 2 * len(IDS) * LATENCY_MS / 1000 / max_concurrency
        report.row(
            f"tag {len(IDS):,} projects, {max_concurrency} at a time, {LATENCY_MS} ms",
            f"{ours:.2f} s",
            f"requests x latency / {max_concurrency} = {ideal:.2f} s; bare aiohttp {bare:.2f} s, {bare / ideal:.3f}",
            ratio=ours / ideal,
            aim=AIMS[max_concurrency],
        )


def measure_requests(report: Report) -> None:
    with bench_server(seed(IDS)) as server:
        for state, aim in (("is missing", "2"), ("is there", "1")):
            count = requests_of(server, lambda: run_the_operator(server, 8))
            report.row(f"requests per project, tag {state}", f"{count / len(IDS):g}", f"{len(IDS):,} projects", aim=aim)
        for state, aim in (("changes", "4"), ("stays", "1")):
            count = requests_of(server, lambda: set_one_tag(server))
            against = "read, add, remove, and read once more" if state == "changes" else "read"
            report.row(f"requests per project, exclusive set that {state}", f"{count / len(IDS):g}", against, aim=aim)


def peak_bytes(project_ids: Sequence[str]) -> int:
    with bench_server(seed(project_ids)) as server:
        run_the_operator(server, 8, "gpu", project_ids[:100])  # loads modules, which do not count
        tracemalloc.start()
        # The tag is there already: tracing is slow, and a write would add a request but hardly any memory.
        run_the_operator(server, 8, "gpu", project_ids)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def measure_memory(report: Report) -> None:
    few, many = len(IDS), 20 * len(IDS)
    small, large = peak_bytes(IDS), peak_bytes(ids(many))
    report.row(
        f"{many:,} projects in one task: peak memory",
        f"{large / 1e6:.1f} MB",
        f"{few:,} projects {small / 1e6:.1f} MB; {large / many / 1e3:.2f} and {small / few / 1e3:.2f} kB per project",
        ratio=large / many / (small / few),
        aim="flat",
    )


def measure_rate_limit(report: Report) -> None:
    for max_concurrency in ROUNDS:
        with bench_server(seed(IDS, "x"), rate_limit=RATE_LIMIT) as server:
            os.environ["AIRFLOW_CONN_PAPERSPACE_DEFAULT"] = server.connection()
            task = Task(AddProjectTagOperator, project_ids=IDS, tags="x", max_concurrency=max_concurrency)
            started_s = time.perf_counter()
            with suppress(AirflowException):  # failed projects are counted below
                task.run()
            rate = len(IDS) / (time.perf_counter() - started_s)
            refused = server.request_count() - len(IDS)
        name = f"limit of {RATE_LIMIT} requests/s, {max_concurrency} at a time"
        report.row(f"{name}: rate", f"{rate:.1f}/s", f"{refused} answers 429", ratio=rate / RATE_LIMIT, aim="> 0.80")
        report.row(f"{name}: failed", f"{len(task.pushed.get('failed', {}))}", f"{len(IDS):,} projects", aim="0")
