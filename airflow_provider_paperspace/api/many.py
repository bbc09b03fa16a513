"""The same work on many projects at once: so many at a time, and none stops the others.

The workers share one client, and with it one pace. What fails is kept beside what is done. Only a key that the
service does not accept ends the whole at once, since it would fail every project alike.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from airflow_provider_paperspace.api.errors import AuthenticationError, PaperspaceError

log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_MAX_CONCURRENCY: Final = 8
PROGRESS_EVERY_S: Final = 5.0
GRACE_S: Final = 5.0
"""So long what is under way may take to end, once a stop was asked for."""


@dataclass(slots=True)
class Outcome(Generic[T]):
    """What became of each project.

    :param done: the results by project id, in the order in which the projects were given.
    :param failed: the errors by project id, in that order.
    :param left: ids of projects that were not begun, or were cut off under way, because a stop was asked for.
    """

    done: dict[str, T] = field(default_factory=dict)
    failed: dict[str, PaperspaceError] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


class ManyProjects(Generic[T]):
    """One run over many projects, which another thread or a signal handler may stop.

    :param work: what to do with one project.
    :param max_concurrency: how many projects are worked on at a time.
    :param sleep: waits so many seconds between two lines of progress.
    :raises TypeError: ``max_concurrency`` is no whole number.
    :raises ValueError: ``max_concurrency`` is below 1.
    """

    def __init__(
        self,
        work: Callable[[str], Awaitable[T]],
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
        self._stop: asyncio.Event | None = None
        self._stopped = False
        self._key_refused: AuthenticationError | None = None

    def stop(self) -> None:
        """Begin no further project, and end what is under way within seconds. From any thread or signal handler."""
        self._stopped = True
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def run(self, project_ids: Iterable[str]) -> Outcome[T]:
        """Work on all projects.

        :raises AuthenticationError: the service does not accept the key.
        """
        ids = list(dict.fromkeys(project_ids))
        outcome: Outcome[T] = Outcome()
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._stopped:
            self._stop.set()
        began_s = time.monotonic()
        queue = iter(ids)
        workers = [
            asyncio.create_task(self._worker(queue, outcome)) for _ in range(min(self._max_concurrency, len(ids)))
        ]
        ticker = asyncio.create_task(self._tell_progress(outcome, len(ids), began_s))
        try:
            await self._finish(workers)
        finally:
            for task in (*workers, ticker):
                task.cancel()
            await asyncio.gather(*workers, ticker, return_exceptions=True)
            self._loop = None
        if self._key_refused is not None:
            raise self._key_refused
        for worker in workers:
            if not worker.cancelled() and (error := worker.exception()) is not None:
                raise error
        if len(ids) > 1:
            log.info("%s", _progress(outcome, len(ids), time.monotonic() - began_s))
        return Outcome(
            {id_: outcome.done[id_] for id_ in ids if id_ in outcome.done},
            {id_: outcome.failed[id_] for id_ in ids if id_ in outcome.failed},
            [id_ for id_ in ids if id_ not in outcome.done and id_ not in outcome.failed],
        )

    async def _finish(self, workers: list[asyncio.Task[None]]) -> None:
        """Wait for the workers, and after a stop only for so long."""
        assert self._stop is not None
        stopped: asyncio.Future[Any] = asyncio.create_task(self._stop.wait())
        all_done: asyncio.Future[Any] = asyncio.gather(*workers, return_exceptions=True)
        try:
            await asyncio.wait([stopped, all_done], return_when=asyncio.FIRST_COMPLETED)
            if not all_done.done():
                await asyncio.wait([all_done], timeout=GRACE_S)
        finally:
            stopped.cancel()
            all_done.cancel()
            await asyncio.gather(stopped, all_done, return_exceptions=True)

    async def _worker(self, queue: Iterator[str], outcome: Outcome[T]) -> None:
        assert self._stop is not None
        while not self._stop.is_set():
            project_id = next(queue, None)
            if project_id is None:
                return
            try:
                outcome.done[project_id] = await self._work(project_id)
            except AuthenticationError as error:
                self._key_refused = error
                self._stop.set()
            except PaperspaceError as error:
                outcome.failed[project_id] = error
                log.warning("%s", error)
            except Exception:
                self._stop.set()
                raise

    async def _tell_progress(self, outcome: Outcome[T], total: int, began_s: float) -> None:
        while True:
            await self._sleep(PROGRESS_EVERY_S)
            log.info("%s", _progress(outcome, total, time.monotonic() - began_s))


def _progress(outcome: Outcome[T], total: int, elapsed_s: float) -> str:
    done, failed = len(outcome.done), len(outcome.failed)
    rate = (done + failed) / max(elapsed_s, 1e-3)
    return f"{done:,} of {total:,} projects done{f', {failed:,} failed' if failed else ''}, {rate:,.0f} a second"
