"""The same work on many projects at once: so many at a time, and none stops the others.

The workers share one client, and with it one pace. What fails is kept beside what is done. Only a key that the
service does not accept ends the whole at once, since it would fail every project alike; what was done is told then,
too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from airflow_provider_paperspace.api.errors import AuthenticationError, PaperspaceError, StoppedError

log = logging.getLogger(__name__)

C = TypeVar("C", bound="StoppableClient")
T = TypeVar("T")

DEFAULT_MAX_CONCURRENCY: Final = 8
PROGRESS_EVERY_S: Final = 5.0
GRACE_S: Final = 2.0
"""So long requests under way may take to end, once a stop was asked for: Airflow kills a task 5 s after it said so."""

_LAST_GRACE_S: Final = 0.5


class StoppableClient(Protocol):
    """What the workers share."""

    def stop(self) -> None:
        """Send no further request."""

    async def aclose(self) -> None:
        """Break off what is under way."""


@dataclass(slots=True)
class Outcome(Generic[T]):
    """What became of each project.

    :param done: the results by project id, in the order in which the projects were given.
    :param failed: the errors by project id, in that order.
    :param left: ids of projects that were not begun, or were cut off under way.
    :param cut_off: the errors of those that were cut off, which tell what had been done.
    :param ended_by: the error that ended it for all, if one did: a key that is not accepted, or one nobody foresaw.
    """

    done: dict[str, T] = field(default_factory=dict)
    failed: dict[str, PaperspaceError] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    cut_off: dict[str, PaperspaceError] = field(default_factory=dict)
    ended_by: Exception | None = None

    @property
    def broken_off(self) -> dict[str, PaperspaceError]:
        """The errors of the projects on which something may have been done all the same."""
        return {**self.failed, **self.cut_off}

    def in_order(self, project_ids: Iterable[str]) -> Outcome[T]:
        """Give it in the order in which the projects were given; what is neither done nor failed is left."""
        ids = list(project_ids)
        return Outcome(
            {id_: self.done[id_] for id_ in ids if id_ in self.done},
            {id_: self.failed[id_] for id_ in ids if id_ in self.failed},
            [id_ for id_ in ids if id_ not in self.done and id_ not in self.failed],
            {id_: self.cut_off[id_] for id_ in ids if id_ in self.cut_off},
            self.ended_by,
        )


class ManyProjects(Generic[C, T]):
    """One run over many projects, which another thread or a signal handler may stop.

    :param work: what to do with one project, over the client that all share.
    :param max_concurrency: how many projects are worked on at a time.
    :param sleep: waits so many seconds between two lines of progress.
    :raises TypeError: ``max_concurrency`` is no whole number.
    :raises ValueError: ``max_concurrency`` is below 1.
    """

    def __init__(
        self,
        work: Callable[[C, str], Awaitable[T]],
        *,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not isinstance(max_concurrency, int) or isinstance(max_concurrency, bool):
            raise TypeError(f"max_concurrency is a {type(max_concurrency).__name__}, and must be a whole number.")
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency is {max_concurrency}, and must be 1 or more.")
        self._work = work
        self._max_concurrency = max_concurrency
        self._sleep = sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._told_to_stop = False

    def stop(self) -> None:
        """Begin no further project, and end what is under way within seconds. From any thread or signal handler."""
        self._told_to_stop = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def run(self, client: C, project_ids: Iterable[str]) -> Outcome[T]:
        """Work on all projects, and tell what became of each. It raises nothing of its own."""
        ids = list(dict.fromkeys(project_ids))
        outcome: Outcome[T] = Outcome()
        self._loop = asyncio.get_running_loop()
        if self._told_to_stop:
            self._stop.set()
        began_s, queue = time.monotonic(), iter(ids)
        number = min(self._max_concurrency, len(ids))
        workers = [asyncio.create_task(self._worker(client, queue, outcome)) for _ in range(number)]
        ticker = asyncio.create_task(self._tell_progress(outcome, len(ids), began_s))
        try:
            await self._finish(client, workers)
        finally:
            self._loop = None
            for task in (*workers, ticker):
                task.cancel()
            await asyncio.gather(*workers, ticker, return_exceptions=True)
        if len(ids) > 1:
            log.info("%s", _progress(outcome, len(ids), time.monotonic() - began_s))
        return outcome.in_order(ids)

    async def _finish(self, client: C, workers: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the workers; after a stop only for so long."""
        if not workers:
            return
        stopped = asyncio.create_task(self._stop.wait())
        left: set[asyncio.Task[Any]] = set(workers)
        while left and not stopped.done():
            _, pending = await asyncio.wait([*left, stopped], return_when=asyncio.FIRST_COMPLETED)
            left = pending - {stopped}
        stopped.cancel()
        if left:
            client.stop()
            _, left = await asyncio.wait(left, timeout=GRACE_S)
        if left:
            await client.aclose()
            await asyncio.wait(left, timeout=_LAST_GRACE_S)

    async def _worker(self, client: C, queue: Iterator[str], outcome: Outcome[T]) -> None:
        while not self._stop.is_set():
            project_id = next(queue, None)
            if project_id is None:
                return
            try:
                outcome.done[project_id] = await self._work(client, project_id)
            except StoppedError as error:
                outcome.cut_off[project_id] = error
            except PaperspaceError as error:
                outcome.failed[project_id] = error
                log.warning("%s", error)
                if isinstance(error, AuthenticationError):
                    outcome.ended_by = error
                    self._stop.set()
            except Exception as error:  # noqa: BLE001  # it comes out when what was done has been kept
                outcome.ended_by = error
                self._stop.set()

    async def _tell_progress(self, outcome: Outcome[T], total: int, began_s: float) -> None:
        while True:
            await self._sleep(PROGRESS_EVERY_S)
            log.info("%s", _progress(outcome, total, time.monotonic() - began_s))


def _progress(outcome: Outcome[T], total: int, elapsed_s: float) -> str:
    done, failed = len(outcome.done), len(outcome.failed)
    rate = (done + failed) / max(elapsed_s, 1e-3)
    return f"{done:,} of {total:,} projects done{f', {failed:,} failed' if failed else ''}, {rate:,.0f} a second"
