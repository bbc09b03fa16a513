"""An event loop full of waiting triggers, in its own process: print as JSON what they cost."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import psutil
from airflow.triggers.base import BaseTrigger

WAITS = 1_000
POKE_INTERVAL_S = 10


def waits_on_projects(count: int) -> list[BaseTrigger]:
    from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger

    return [
        ProjectTagTrigger(project_id=f"p{i % count}", tags=["approved"], poke_interval=POKE_INTERVAL_S)
        for i in range(WAITS)
    ]


def http_sensors() -> list[BaseTrigger]:
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    # On a 404 it keeps waiting.
    return [HttpSensorTrigger(f"projects/missing{i}/tags", poke_interval=POKE_INTERVAL_S) for i in range(WAITS)]


TRIGGERS = {
    "many projects": lambda: waits_on_projects(WAITS),
    "one project": lambda: waits_on_projects(1),
    "http": http_sensors,
}


def note_lateness() -> list[float]:
    """Record how many seconds each poll starts after it was due."""
    from airflow_provider_paperspace.triggers._polling import _ProjectPoller

    late_s: list[float] = []
    wait_until_due = _ProjectPoller._wait_until_due

    async def noting(self: _ProjectPoller, started_s: float, fraction: float) -> None:
        await wait_until_due(self, started_s, fraction)
        late_s.append(asyncio.get_running_loop().time() - started_s - POKE_INTERVAL_S * fraction)

    _ProjectPoller._wait_until_due = noting  # type: ignore[method-assign]
    return late_s


async def run(trigger: BaseTrigger) -> None:
    async for event in trigger.run():
        raise AssertionError(event)


async def wait(name: str, seconds: float) -> dict[str, Any]:
    process = psutil.Process()
    # Before the triggers load their libraries, which each of them does at another time.
    before = peak = process.memory_info().rss
    started_s, cpu_before_s = time.monotonic(), time.process_time()
    late_s = note_lateness() if name != "http" else []
    tasks = [asyncio.create_task(run(trigger)) for trigger in TRIGGERS[name]()]
    while time.monotonic() < started_s + seconds:
        await asyncio.sleep(1)
        # Sampled, because the peak that the system records includes the process that started this one.
        peak = max(peak, process.memory_info().rss)
    took_s, cpu_s = time.monotonic() - started_s, time.process_time() - cpu_before_s
    for task in tasks:
        assert not task.done(), task
    return {"cpu": cpu_s / took_s, "peak": peak, "growth": peak - before, "late_s": late_s}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(wait(sys.argv[1], float(sys.argv[2])))))
