"""CPU time per request of the asynchronous client, over a bare ``aiohttp.ClientSession`` loop."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp

from airflow_provider_paperspace.api import AsyncPaperspaceClient, ClientSettings
from tests.bench.report import Report
from tests.bench.server import API_KEY, BenchServer, bench_server

TAGS = [f"tag-{i}" for i in range(5)]
REQUESTS, ROUNDS = 500, 15


def measure(report: Report) -> None:
    with bench_server({"projects": [{"id": "p", "tags": TAGS}]}) as server:
        bare, ours = asyncio.run(cpu_s_per_request(server))
    report.row(
        f"list {len(TAGS)} tags with AsyncPaperspaceClient: CPU",
        f"{ours * 1e6:.0f} µs",
        f"per request, one by one; bare aiohttp {bare * 1e6:.0f} µs",
        ratio=ours / bare,
        aim=1.5,
    )


async def cpu_s_per_request(server: BenchServer) -> tuple[float, float]:
    """Return the medians of both loops, which take turns because the machine does other things as well."""
    url = f"{server.url}/projects/p/tags?limit=120&orderBy=dtCreated&order=desc"
    settings = ClientSettings(api_key=API_KEY, base_url=server.url)
    headers = {"Authorization": settings.authorization}
    async with AsyncPaperspaceClient(settings) as client, aiohttp.ClientSession(headers=headers) as session:

        async def get() -> int:
            async with session.get(url) as answer:
                return len(json.loads(await answer.read())["items"])

        async def list_tags() -> int:
            return len(await client.list_project_tags("p"))

        pairs = [(await cpu_s(get), await cpu_s(list_tags)) for _ in range(ROUNDS + 1)][1:]
    bare, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    return bare, ours


async def cpu_s(call: Callable[[], Awaitable[int]]) -> float:
    started_s = time.process_time()
    for _ in range(REQUESTS):
        assert await call() == len(TAGS)
    return (time.process_time() - started_s) / REQUESTS
