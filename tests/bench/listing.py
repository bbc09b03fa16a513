"""Listing 10,000 tags with the hook, over a bare ``requests.Session`` loop; memory while iterating."""

from __future__ import annotations

import os
import statistics
import time
import tracemalloc
from collections.abc import Callable

import requests

from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook
from tests.bench.report import Report
from tests.bench.server import API_KEY, BenchServer, bench_server

TAGS = 10_000
ROUNDS = {0: 9, 20: 3}


def seed(tags: int) -> dict[str, object]:
    return {"projects": [{"id": "p", "tags": [f"tag-{i:06}" for i in range(tags)]}]}


def bare_loop(server: BenchServer) -> int:
    count = 0
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {API_KEY}"
        params: dict[str, str | int] = {"limit": 120, "orderBy": "dtCreated", "order": "desc"}
        while True:
            page = session.get(f"{server.url}/projects/p/tags", params=params, timeout=30).json()
            count += len(page["items"])
            if not page["hasMore"]:
                return count
            params["after"] = page["nextPage"]


def list_with_the_hook() -> int:
    with PaperspaceHook() as hook:
        return len(hook.list_project_tags("p"))


def seconds(call: Callable[[], int]) -> float:
    started_s = time.perf_counter()
    assert call() == TAGS
    return time.perf_counter() - started_s


def measure(report: Report) -> None:
    for latency_ms, aim in ((0, 1.15), (20, 1.02)):
        with bench_server(seed(TAGS), latency_ms=latency_ms) as server:
            os.environ["AIRFLOW_CONN_PAPERSPACE_DEFAULT"] = server.connection()
            bare_loop(server)
            list_with_the_hook()
            before = server.request_count()
            list_with_the_hook()
            requests_sent = server.request_count() - before
            # Both loops take turns, because the machine does other things as well.
            pairs = [
                (seconds(lambda: bare_loop(server)), seconds(list_with_the_hook)) for _ in range(ROUNDS[latency_ms])
            ]
            bare, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
            name = f"list {TAGS:,} tags, {latency_ms} ms latency"
            report.row(f"{name}: requests", f"{requests_sent}", "84 pages", aim="84")
            report.row(f"{name}: time", f"{ours:.3f} s", f"bare requests {bare:.3f} s", ratio=ours / bare, aim=aim)


def peak_bytes(tags: int) -> int:
    with bench_server(seed(tags)) as server:
        os.environ["AIRFLOW_CONN_PAPERSPACE_DEFAULT"] = server.connection()
        with PaperspaceHook() as hook:
            next(hook.iter_project_tags("p"))  # loads modules, which do not count
            tracemalloc.start()
            count = sum(1 for _ in hook.iter_project_tags("p"))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert count == tags
    return peak


def measure_memory(report: Report) -> None:
    large = peak_bytes(100_000)
    # In fewer than ten pages, less garbage waits for its collector.
    for tags in (1_000, 10_000):
        small = peak_bytes(tags)
        against = f"{tags:,} tags {small / 1e6:.2f} MB"
        report.row(
            "iterate 100,000 tags: peak memory", f"{large / 1e6:.2f} MB", against, ratio=large / small, aim="flat"
        )
