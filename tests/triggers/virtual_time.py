"""An event loop whose clock jumps to its next timer, and a service that answers polls without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from airflow_provider_paperspace.api.models import Tag

T = TypeVar("T")

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
"""The instant at which the clock starts."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop without waiting: an hour passes as soon as nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._select = self._selector.select  # type: ignore[attr-defined]  # asyncio's own
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now_s

    def _jump(self, timeout_s: float | None = None) -> Any:
        events = self._select(0)
        if not events:
            assert timeout_s is not None, "every task waits for something that no timer brings"
            self._now_s += timeout_s
        return events


class VirtualDatetime(datetime):
    """The wall clock of a virtual loop."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return instant(asyncio.get_running_loop().time())


def instant(seconds: float) -> datetime:
    """Return the instant this many seconds after the clock starts."""
    return START + timedelta(seconds=seconds)


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=True) as runner:
        return runner.run(main)


class Service:
    """What a hub polls in place of the API.

    :param tags: names of the tags that every project has.
    """

    def __init__(self, *tags: str) -> None:
        self.tags = list(tags)
        self.error: Exception | None = None
        self.answers = True
        self.polled_at_s: list[float] = []

    def client(self, conn_id: str) -> Service:
        return self

    async def list_tags(self, project_id: str) -> tuple[Tag, ...]:
        self.polled_at_s.append(asyncio.get_running_loop().time())
        if not self.answers:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error
        return tuple(Tag(1, name, "2026-03-02T09:15:00.000Z") for name in self.tags)

    async def close(self) -> None:
        pass
