"""Readings: polls of a project, each shared by everyone in the event loop who waits on that project.

A triggerer may hold a thousand waits. Those on the same project through the same connection share its readings, and
all through the same connection share one client, and with it one rate limiter. Nothing here blocks the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.api.models import Tag

JITTER: Final = 0.1
"""Relative jitter of the interval, so that projects with the same interval are not polled in step."""

MAX_SLOWDOWN: Final = 8
"""While a project cannot be read, its interval doubles up to this multiple."""

MIN_INTERVAL_S: Final = 0.1

MAX_CONCURRENCY: Final = 32
"""Maximum number of concurrent polls per connection."""

MAX_ATTEMPTS: Final = 2
"""A failed poll is followed by the next one. One quick retry covers a connection that was closed while idle."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of one poll of a project: its tags, or an error.

    :param failures: number of failed polls in a row, this one included.
    """

    tags: tuple[Tag, ...] = ()
    error: Exception | None = None
    failures: int = 0


class Subscription:
    """One waiter's share in the polls of a project."""

    def __init__(self, poller: _ProjectPoller, interval_s: float) -> None:
        self.interval_s = interval_s
        self._poller = poller

    async def next_reading(self, timeout_s: float | None = None) -> Reading | None:
        """Wait for the next reading; return None if it does not come in time."""
        published = self._poller.published
        try:
            async with asyncio.timeout(timeout_s):
                await published.wait()
        except TimeoutError:
            return None
        return self._poller.latest

    async def poll_now(self, timeout_s: float) -> Reading | None:
        """Poll at once, together with all who ask for that at the same time; None if no answer comes in time."""
        self._poller.poll_now()
        return await self.next_reading(timeout_s)


class PollingHub:
    """All polls of one event loop."""

    def __init__(self) -> None:
        self._pollers: dict[tuple[str, str], _ProjectPoller] = {}
        self._clients: dict[str, _SharedClient] = {}

    @asynccontextmanager
    async def subscribed(self, conn_id: str, project_id: str, interval_s: float) -> AsyncIterator[Subscription]:
        """Share the polls of a project, which run at the shortest interval that anybody asks for."""
        poller = self._pollers.get((conn_id, project_id))
        if poller is None:
            client = self._clients.setdefault(conn_id, _SharedClient(conn_id))
            poller = self._pollers[conn_id, project_id] = _ProjectPoller(lambda: client.list_tags(project_id))
        subscription = Subscription(poller, max(MIN_INTERVAL_S, interval_s))
        poller.add(subscription)
        try:
            yield subscription
        finally:
            poller.remove(subscription)
            if not poller.subscriptions:
                self._pollers.pop((conn_id, project_id), None)
                await poller.close()
                await self._close_unused_client(conn_id)

    async def _close_unused_client(self, conn_id: str) -> None:
        if not any(conn == conn_id for conn, _ in self._pollers):
            client = self._clients.pop(conn_id, None)
            if client is not None:
                await client.close()


def polling_hub() -> PollingHub:
    """Return the hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _HUBS:
        _HUBS[loop] = PollingHub()
    return _HUBS[loop]


_HUBS: WeakKeyDictionary[asyncio.AbstractEventLoop, PollingHub] = WeakKeyDictionary()


class _ProjectPoller:
    """Polls one project again and again while anybody is subscribed."""

    def __init__(self, read_tags: Callable[[], Awaitable[tuple[Tag, ...]]]) -> None:
        self.subscriptions: set[Subscription] = set()
        self.latest = Reading()
        self.published = asyncio.Event()
        self._read_tags = read_tags
        self._woken = asyncio.Event()
        self._poll_now = False
        # In a context of its own: its log lines do not belong to the task that subscribed first.
        self._task = asyncio.create_task(self._run(), context=contextvars.Context())

    def add(self, subscription: Subscription) -> None:
        self.subscriptions.add(subscription)
        self._woken.set()

    def remove(self, subscription: Subscription) -> None:
        self.subscriptions.discard(subscription)

    def poll_now(self) -> None:
        """Poll at once; a poll that is in flight counts."""
        self._poll_now = True
        self._woken.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # Waits that start together, after a restart for example, must not poll together.
        fraction, started_s = random.random(), loop.time()  # noqa: S311  # jitter, not a secret
        while True:
            await self._wait_until_due(started_s, fraction)
            started_s, fraction = loop.time(), random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # jitter
            try:
                self._publish(Reading(await self._read_tags()))
            except Exception as error:  # noqa: BLE001  # each subscriber decides what it means
                self._publish(Reading(error=error, failures=self.latest.failures + 1))

    async def _wait_until_due(self, started_s: float, fraction: float) -> None:
        loop = asyncio.get_running_loop()
        while not self._poll_now:
            interval_s = min((one.interval_s for one in self.subscriptions), default=MIN_INTERVAL_S)
            slowdown = min(MAX_SLOWDOWN, 2 ** max(0, self.latest.failures - 1))
            left_s = started_s + interval_s * slowdown * fraction - loop.time()
            if left_s <= 0:
                break
            self._woken.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._woken.wait()
            except TimeoutError:
                break
        self._poll_now = False

    def _publish(self, reading: Reading) -> None:
        self._poll_now = False
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

    async def list_tags(self, project_id: str) -> tuple[Tag, ...]:
        from airflow_provider_paperspace.api.errors import AuthenticationError

        async with self._slots:
            client = await self._open()
            try:
                return tuple(await client.list_project_tags(project_id))
            except AuthenticationError:
                # The connection may have a new key by now, which is none of the waiters' business.
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
        """Read the connection again; return a client with its present settings, or the same one if unchanged."""
        async with self._opening:
            if self._client is None or self._client is refused:
                client = await self._new_client()
                if client.settings == refused.settings:
                    await client.aclose()
                    return refused
                # Other polls may still be in flight over the old one.
                self._outdated.append(refused)
                self._client = client
            return self._client

    async def _new_client(self) -> AsyncPaperspaceClient:
        hook_class: Any = await asyncio.to_thread(_load_hook)
        client: AsyncPaperspaceClient = await hook_class(self._conn_id).get_async_conn(max_attempts=MAX_ATTEMPTS)
        return client


def _load_hook() -> Any:
    """Import what is slow to import, away from the event loop."""
    import airflow_provider_paperspace.api.async_client  # noqa: F401  # brings aiohttp
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

    return PaperspaceHook
