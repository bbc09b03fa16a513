"""Poll projects for all waits in an event loop. Waits on the same project share each poll, whose result is a reading.

A triggerer may hold a thousand waits. Those on the same project through the same connection share its polls, and
all waits through one connection share one client, and with it one rate limiter. Nothing here blocks the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from airflow_provider_paperspace.api.errors import PaperspaceError
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook, is_permanent

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

MAX_AGE_S: Final = 60.0
"""Maximum age of a connection's settings when a project is polled."""

MAX_ATTEMPTS: Final = 2
"""Maximum number of attempts per request. The next poll is a retry anyway; the second attempt is for a connection that
was closed while idle."""


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
        """Poll at once, together with everyone who asks for that at the same time; None if no answer comes in time.

        While the service wants clients to wait, nothing is sent, and the reading contains the error that said so.
        """
        if (refusal := self._poller.refusal) is not None:
            return Reading(error=refusal, failures=self._poller.latest.failures)
        self._poller.poll_now()
        return await self.next_reading(timeout_s)


class PollingHub:
    """All polls of one event loop."""

    def __init__(self) -> None:
        self._pollers: dict[tuple[str, str], _ProjectPoller] = {}
        self._connections: dict[str, _SharedConnection] = {}

    @asynccontextmanager
    async def subscribed(self, conn_id: str, project_id: str, interval_s: float) -> AsyncIterator[Subscription]:
        """Share the polls of a project, which run at the shortest interval that anybody asks for."""
        connection = self._connections.setdefault(conn_id, _SharedConnection(conn_id))
        connection.users += 1
        try:
            await connection.look_up()
            poller = self._pollers.get((conn_id, project_id))
            if poller is None:
                poller = self._pollers[conn_id, project_id] = _ProjectPoller(connection, project_id)
            subscription = Subscription(poller, max(MIN_INTERVAL_S, interval_s))
            poller.add(subscription)
            try:
                yield subscription
            finally:
                poller.remove(subscription)
                if not poller.subscriptions:
                    self._pollers.pop((conn_id, project_id), None)
                    await poller.close()
        finally:
            connection.users -= 1
            if not connection.users:
                self._connections.pop(conn_id, None)
                await connection.close()


def polling_hub() -> PollingHub:
    """Return the hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _HUBS:
        _HUBS[loop] = PollingHub()
    return _HUBS[loop]


_HUBS: WeakKeyDictionary[asyncio.AbstractEventLoop, PollingHub] = WeakKeyDictionary()


class _ProjectPoller:
    """Polls one project again and again while anybody is subscribed."""

    def __init__(self, connection: _SharedConnection, project_id: str) -> None:
        self.subscriptions: set[Subscription] = set()
        self.latest = Reading()
        self.published = asyncio.Event()
        self._connection = connection
        self._project_id = project_id
        self._woken = asyncio.Event()
        self._poll_now = False
        # In a context of its own: its log lines do not belong to the task that subscribed first.
        self._task = asyncio.create_task(self._run(), context=contextvars.Context())

    @property
    def refusal(self) -> PaperspaceError | None:
        """The error in which the service asked for a wait; None once that wait is over."""
        return self._connection.refusal

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
                reading = Reading(await self._connection.list_tags(self._project_id))
            except Exception as error:  # noqa: BLE001  # each subscriber decides what it means
                reading = Reading(error=error, failures=self.latest.failures + 1)
            # If the service asked for a wait, the poll counts as started when that wait ended.
            started_s = max(started_s, min(self._connection.resumes_at_s, loop.time()))
            self._publish(reading)

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
                pass  # it is due, unless the interval has become longer
        self._poll_now = False

    def _publish(self, reading: Reading) -> None:
        self._poll_now = False
        self.latest = reading
        published, self.published = self.published, asyncio.Event()
        published.set()


class _SharedConnection:
    """One connection id, for all who poll through it: its settings as they are now, and one client for them.

    The connection is looked up when a wait joins, at the first poll more than a minute after the last look-up, and
    before an error counts as permanent: its host or its key can change while tasks wait. Those who ask for a look-up at
    the same time share one. If the settings changed while tags were being read, the result is dropped and the tags are
    read again.

    If the service asks for a longer wait than a client accepts, no project is polled until that time is over, unless
    the settings change: the request to wait does not apply to a new host or key.
    """

    def __init__(self, conn_id: str) -> None:
        self.users = 0
        self.resumes_at_s = float("-inf")
        self._conn_id = conn_id
        self._client: AsyncPaperspaceClient | None = None
        self._outdated: list[AsyncPaperspaceClient] = []
        self._looked_up_at_s = float("-inf")
        self._looking_up = asyncio.Lock()
        self._next_look_up: asyncio.Task[AsyncPaperspaceClient] | None = None
        self._look_ups: set[asyncio.Task[AsyncPaperspaceClient]] = set()
        self._slots = asyncio.Semaphore(MAX_CONCURRENCY)
        self._refusal: PaperspaceError | None = None

    @property
    def refusal(self) -> PaperspaceError | None:
        """The error in which the service asked for a wait; None once that wait is over."""
        return self._refusal if self._left_s > 0 else None

    @property
    def _left_s(self) -> float:
        return self.resumes_at_s - asyncio.get_running_loop().time()

    async def list_tags(self, project_id: str) -> tuple[Tag, ...]:
        """Read a project's tags through the connection, with settings that are at most a minute old.

        :raises Exception: the connection cannot be looked up, or the project cannot be read.
        """
        async with self._slots:
            while True:
                client = await self._recent_client()
                if (left_s := self._left_s) > 0:
                    await asyncio.sleep(min(left_s, MAX_AGE_S))
                    continue
                try:
                    tags = tuple(await client.list_project_tags(project_id))
                except Exception as error:
                    # Permanent for this key and host, but these may have changed.
                    if is_permanent(error):
                        await self._current_client()
                    if client is self._client:
                        self._note_wait(error)
                        raise
                else:
                    if client is self._client:
                        return tags

    async def look_up(self) -> None:
        """Look up the connection. If that fails, the next poll fails in the same way, and reports it to everyone."""
        try:
            await self._current_client()
        except Exception:  # noqa: BLE001  # see above
            self._outdate_client()

    async def close(self) -> None:
        for look_up in self._look_ups:
            look_up.cancel()
        await asyncio.gather(*self._look_ups, return_exceptions=True)
        self._outdate_client()
        clients, self._outdated = self._outdated, []
        for client in clients:
            await client.aclose()

    def _note_wait(self, error: Exception) -> None:
        if isinstance(error, PaperspaceError) and error.is_for_later and error.retry_after_s is not None:
            resumes_at_s = asyncio.get_running_loop().time() + error.retry_after_s
            if resumes_at_s > self.resumes_at_s:
                self._refusal, self.resumes_at_s = error, resumes_at_s

    async def _recent_client(self) -> AsyncPaperspaceClient:
        """Return the client for the settings as they were within the last minute."""
        now_s = asyncio.get_running_loop().time()
        if self._client is not None and now_s - self._looked_up_at_s < MAX_AGE_S:
            return self._client
        return await self._current_client()

    async def _current_client(self) -> AsyncPaperspaceClient:
        """Return the client for the settings as they are now: those of a look-up that starts after this call."""
        if self._next_look_up is None:
            self._next_look_up = asyncio.create_task(self._look_up(), context=contextvars.Context())
            self._look_ups.add(self._next_look_up)
            self._next_look_up.add_done_callback(self._end_look_up)
        return await asyncio.shield(self._next_look_up)

    async def _look_up(self) -> AsyncPaperspaceClient:
        await asyncio.sleep(0)  # all waits that join at the same time share this look-up
        async with self._looking_up:
            # Callers that ask from here on may know of a later change, so they start a new look-up.
            self._next_look_up = None
            looked_up_at_s = asyncio.get_running_loop().time()
            client = await PaperspaceHook(self._conn_id).get_async_conn(max_attempts=MAX_ATTEMPTS)
            self._looked_up_at_s = looked_up_at_s
            if self._client is not None and client.settings == self._client.settings:
                await client.aclose()
                return self._client
            self._outdate_client()
            self._client = client
            return client

    def _end_look_up(self, look_up: asyncio.Task[AsyncPaperspaceClient]) -> None:
        self._look_ups.discard(look_up)
        if not look_up.cancelled():
            look_up.exception()  # if all waiters are gone, asyncio would log "Task exception was never retrieved"

    def _outdate_client(self) -> None:
        """Stop using this client. Its polls may still be in flight, so it is closed later."""
        self._refusal, self.resumes_at_s = None, float("-inf")
        if self._client is not None:
            self._outdated.append(self._client)
            self._client = None
