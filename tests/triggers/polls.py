"""Changes the project while triggers poll it, and collects their events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer


def after_polls(server: LocalPaperspaceServer, number: int, act: Callable[[], object]) -> None:
    """Call ``act`` once this many lists of tags have been answered."""
    state, seen = server.paperspace, 0
    read = state.list_tags

    def read_and_count(project_id: str, query: Any) -> Any:
        nonlocal seen
        page = read(project_id, query)
        seen += 1
        if seen == number:
            act()
        return page

    state.list_tags = read_and_count  # type: ignore[method-assign]


async def events_of(events: AsyncIterator[Any], number: int = 1) -> list[Any]:
    """Return the payloads of the first events."""
    payloads: list[Any] = []
    async for event in events:
        payloads.append(event.payload)
        if len(payloads) == number:
            break
    await events.aclose()  # type: ignore[attr-defined]
    return payloads


def first_event(trigger: Any) -> Any:
    """Run a trigger to its first event.

    Its first poll comes at a random part of the interval, so that must be 0, unless the deadline has passed.
    """
    if trigger.poke_interval != 0:
        has_passed = trigger.deadline is not None and datetime.fromisoformat(trigger.deadline) <= datetime.now(UTC)
        assert has_passed, "the test would wait for the clock"
    (payload,) = asyncio.run(events_of(trigger.run()), debug=True)
    return payload


def poll_count(server: LocalPaperspaceServer) -> int:
    return len([request for request in server.requests if "/tags?" in request.target and request.method == "GET"])
