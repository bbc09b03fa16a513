"""Many requests at once over several httpx clients, a few on each.

At every request httpx's connection pool looks at each of its connections, and that in several passes: the cost of a
request grows with the number of connections, and beyond some 30 at a time more concurrency makes it slower. So no
client gets more than a few requests at a time, and another is opened when all are busy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx

WIDTH: Final = 8

IDLE_S: Final = 30.0
"""A client that was of no use for so long is closed, but for the first."""


@dataclass(slots=True)
class _Lane:
    http: httpx.AsyncClient
    busy: int = 0
    idle_since_s: float = 0.0


class Lanes:
    """As many httpx clients as the requests under way need.

    :param open_client: opens one more.
    :param clock: tells the seconds of a monotonic clock.
    """

    def __init__(
        self, open_client: Callable[[], httpx.AsyncClient], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_client = open_client
        self._clock = clock
        self._closing: set[asyncio.Task[None]] = set()
        self._lanes: list[_Lane] = [_Lane(open_client())]

    @contextmanager
    def one(self) -> Iterator[httpx.AsyncClient]:
        """Give a client for one request: the first with room, so that few connections are kept warm."""
        self._close_idle()
        lane = next((lane for lane in self._lanes if lane.busy < WIDTH), None)
        if lane is None:
            lane = _Lane(self._open_client())
            self._lanes.append(lane)
        lane.busy += 1
        try:
            yield lane.http
        finally:
            lane.busy -= 1
            lane.idle_since_s = self._clock()

    async def aclose(self) -> None:
        """Close all of them."""
        for lane in self._lanes:
            await lane.http.aclose()
        await asyncio.gather(*self._closing)

    def _close_idle(self) -> None:
        if len(self._lanes) == 1:
            return
        since_s = self._clock() - IDLE_S
        for lane in self._lanes[1:]:
            if not lane.busy and lane.idle_since_s < since_s:
                self._lanes.remove(lane)
                closing = asyncio.create_task(lane.http.aclose())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
