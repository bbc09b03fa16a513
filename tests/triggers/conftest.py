"""Triggers that poll without a pause, and clients that never wait: a test ends by what happens, not by the clock."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.triggers import _polling


@pytest.fixture
def polls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an interval of 0 mean 0: the next poll starts as soon as all subscribers have seen the last one."""
    wait_until_due = _polling._ProjectPoller._wait_until_due

    async def wait_for_subscribers(self: _polling._ProjectPoller, started_s: float, fraction: float) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await wait_until_due(self, started_s, fraction)

    monkeypatch.setattr(_polling, "MIN_INTERVAL_S", 0.0)
    monkeypatch.setattr(_polling._ProjectPoller, "_wait_until_due", wait_for_subscribers)


@pytest.fixture
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clients' clock advance by their sleeps alone."""
    now_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    defaults = AsyncPaperspaceClient.__init__.__kwdefaults__
    assert {"sleep", "clock"} <= set(defaults)
    monkeypatch.setitem(defaults, "sleep", sleep)
    monkeypatch.setitem(defaults, "clock", lambda: now_s)
