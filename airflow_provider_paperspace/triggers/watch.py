"""Watching projects from an event loop: one poll of a project for all who watch it, one client for each connection.

A triggerer may hold a thousand waits. Those on the same project through the same connection share its readings, and
all through the same connection share one HTTP client, and with it one pace. Nothing here blocks the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.api.models import Tag

log = logging.getLogger(__name__)

JITTER: Final = 0.1
"""Two projects with one interval are not to be read in step for ever."""

SLOWEST: Final = 8
"""While a project cannot be read, the interval doubles up to so many times its length."""

MIN_INTERVAL_S: Final = 0.1
MAX_CONCURRENCY: Final = 32
"""So many polls at most are under way at once through one connection."""

ATTEMPTS: Final = 2
"""A poll is repeated by the next poll. One quick retry mends a connection that was closed while idle."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one poll of a project came to: its tags, or the error.

    :param failures: how many polls in a row have failed, this one included.
    """

    tags: tuple[Tag, ...] = ()
    error: Exception | None = None
    failures: int = 0


class Watch:
    """One watcher's place at a project's poll."""

    def __init__(self, poll: _Poll, interval_s: float) -> None:
        self.interval_s = interval_s
        self._poll = poll

    async def next(self, timeout_s: float | None = None) -> Reading | None:
        """Wait for the next reading; None when it does not come in time."""
        published = self._poll.published
        try:
            async with asyncio.timeout(timeout_s):
                await published.wait()
        except TimeoutError:
            return None
        return self._poll.latest

    async def now(self, timeout_s: float) -> Reading | None:
        """Read at once, together with all who ask for that at the same time; None when no answer comes in time."""
        self._poll.hurry()
        return await self.next(timeout_s)


class Hub:
    """All polls of one event loop."""

    def __init__(self) -> None:
        self._polls: dict[tuple[str, str], _Poll] = {}
        self._clients: dict[str, _SharedClient] = {}

    @asynccontextmanager
    async def watching(self, conn_id: str, project_id: str, interval_s: float) -> AsyncIterator[Watch]:
        """Take part in the poll of a project, which goes at the pace of its most eager watcher."""
        poll = self._polls.get((conn_id, project_id))
        if poll is None:
            client = self._clients.setdefault(conn_id, _SharedClient(conn_id))
            poll = self._polls[conn_id, project_id] = _Poll(lambda: client.read(project_id))
        watch = Watch(poll, max(MIN_INTERVAL_S, interval_s))
        poll.join(watch)
        try:
            yield watch
        finally:
            poll.leave(watch)
            if not poll.watches:
                self._polls.pop((conn_id, project_id), None)
                await poll.end()
                await self._close_if_idle(conn_id)

    async def _close_if_idle(self, conn_id: str) -> None:
        if not any(conn == conn_id for conn, _ in self._polls):
            client = self._clients.pop(conn_id, None)
            if client is not None:
                await client.close()


def hub() -> Hub:
    """Give the running event loop's hub."""
    loop = asyncio.get_running_loop()
    if loop not in _HUBS:
        _HUBS[loop] = Hub()
    return _HUBS[loop]


_HUBS: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


class _Poll:
    """Reads one project again and again while somebody watches."""

    def __init__(self, read: Callable[[], Awaitable[tuple[Tag, ...]]]) -> None:
        self.watches: set[Watch] = set()
        self.latest = Reading()
        self.published = asyncio.Event()
        self._read = read
        self._woken = asyncio.Event()
        self._hurry = False
        # Outside any watcher's context: its log lines are not those of the task that came first.
        self._task = asyncio.create_task(self._run(), context=contextvars.Context())

    def join(self, watch: Watch) -> None:
        self.watches.add(watch)
        self._woken.set()

    def leave(self, watch: Watch) -> None:
        self.watches.discard(watch)

    def hurry(self) -> None:
        """Read at once; a reading that is under way will do."""
        self._hurry = True
        self._woken.set()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # Those who come together, after a restart say, are not to read together.
        fraction, began_s = random.random(), loop.time()  # noqa: S311  # jitter, no secret
        while True:
            await self._wait_until_due(began_s, fraction)
            began_s, fraction = loop.time(), random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # jitter, no secret
            try:
                self._publish(Reading(await self._read()))
            except Exception as error:  # noqa: BLE001  # who watches decides what it means
                self._publish(Reading(error=error, failures=self.latest.failures + 1))

    async def _wait_until_due(self, began_s: float, fraction: float) -> None:
        loop = asyncio.get_running_loop()
        while not self._hurry:
            interval_s = min((watch.interval_s for watch in self.watches), default=MIN_INTERVAL_S)
            slower = min(SLOWEST, 2 ** max(0, self.latest.failures - 1))
            left_s = began_s + interval_s * slower * fraction - loop.time()
            if left_s <= 0:
                break
            self._woken.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._woken.wait()
            except TimeoutError:
                break
        self._hurry = False

    def _publish(self, reading: Reading) -> None:
        self._hurry = False
        self.latest = reading
        published, self.published = self.published, asyncio.Event()
        published.set()


class _SharedClient:
    """The one client of a connection, opened when it is first needed."""

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._client: AsyncPaperspaceClient | None = None
        self._outdated: list[AsyncPaperspaceClient] = []
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(MAX_CONCURRENCY)

    async def read(self, project_id: str) -> tuple[Tag, ...]:
        from airflow_provider_paperspace.api.errors import AuthenticationError

        async with self._slots:
            client = await self._open()
            try:
                return tuple(await client.list_project_tags(project_id))
            except AuthenticationError:
                # The connection may have got a new key since. Who waits has nothing to do with that.
                renewed = await self._renew(client)
                if renewed is client:
                    raise
                return tuple(await renewed.list_project_tags(project_id))

    async def close(self) -> None:
        clients, self._client, self._outdated = [*self._outdated, self._client], None, []
        for client in clients:
            if client is not None:
                await client.aclose()

    async def _open(self) -> AsyncPaperspaceClient:
        async with self._opening:
            if self._client is None:
                self._client = await self._new_client()
            return self._client

    async def _renew(self, refused: AsyncPaperspaceClient) -> AsyncPaperspaceClient:
        """Read the connection again: give a client with what it says now, or the same where that has not changed."""
        async with self._opening:
            if self._client is None or self._client is refused:
                client = await self._new_client()
                if client.settings == refused.settings:
                    await client.aclose()
                    return refused
                # Others may still be reading over the old one.
                self._outdated.append(refused)
                self._client = client
            return self._client

    async def _new_client(self) -> AsyncPaperspaceClient:
        hook_class: Any = await asyncio.to_thread(_load_hook)
        client: AsyncPaperspaceClient = await hook_class(self._conn_id).get_async_conn(max_attempts=ATTEMPTS)
        return client


def _load_hook() -> Any:
    """Import what is slow to import away from the event loop."""
    import airflow_provider_paperspace.api.async_client  # noqa: F401  # brings httpx
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

    return PaperspaceHook
