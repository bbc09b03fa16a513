"""An event loop full of waiting triggers, in a process of its own: prints as JSON what they took."""

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

    # A 404 is what it goes on waiting at.
    return [HttpSensorTrigger(f"projects/missing{i}/tags", poke_interval=POKE_INTERVAL_S) for i in range(WAITS)]


TRIGGERS = {
    "many projects": lambda: waits_on_projects(WAITS),
    "one project": lambda: waits_on_projects(1),
    "http": http_sensors,
}


def note_lateness() -> list[float]:
    """Note by how many seconds each poll begins after the instant that was drawn for it."""
    from airflow_provider_paperspace.triggers.watch import _Poll

    late_s: list[float] = []
    wait_until_due = _Poll._wait_until_due

    async def noting(self: _Poll, began_s: float, fraction: float) -> None:
        await wait_until_due(self, began_s, fraction)
        late_s.append(asyncio.get_running_loop().time() - began_s - POKE_INTERVAL_S * fraction)

    _Poll._wait_until_due = noting  # type: ignore[method-assign]
    return late_s


async def run(trigger: BaseTrigger) -> None:
    async for event in trigger.run():
        raise AssertionError(event)


async def wait(name: str, seconds: float) -> dict[str, Any]:
    process = psutil.Process()
    # Before the triggers' libraries are loaded, as each loads its own at another time.
    before = peak = process.memory_info().rss
    began_s, cpu_before_s = time.monotonic(), time.process_time()
    late_s = note_lateness() if name != "http" else []
    tasks = [asyncio.create_task(run(trigger)) for trigger in TRIGGERS[name]()]
    while time.monotonic() < began_s + seconds:
        await asyncio.sleep(1)
        # Sampled, since the peak that the system keeps begins with that of the process that started this one.
        peak = max(peak, process.memory_info().rss)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_before_s
    for task in tasks:
        assert not task.done(), task
    return {"cpu": cpu_s / took_s, "peak": peak, "growth": peak - before, "late_s": late_s}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(wait(sys.argv[1], float(sys.argv[2])))))
