"""Run one flow for each of many projects at once: workers, progress, stopping and failures.

The workers share one asynchronous client, and with it one rate limiter. A project that fails does not stop the others.
Only a rejected API key or a bug ends the batch at once: every other project would fail, too. If the service asks for a
longer wait than a client accepts, no more projects are started: they would be refused, too.

The event loop runs in a thread of its own. Airflow interrupts a task by raising an exception in the main thread, and an
event loop there could lose that exception, or raise it in one of its tasks.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from airflow_provider_paperspace._compat import AirflowException
from airflow_provider_paperspace._quoting import count_of, escaped, in_log_lines
from airflow_provider_paperspace.api.errors import AuthenticationError, PaperspaceError, StoppedError, TransportError

if TYPE_CHECKING:
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.settings import ClientSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_MAX_CONCURRENCY: Final = 8

PROGRESS_INTERVAL_S: Final = 5.0

GRACE_PERIOD_S: Final = 2.0
"""Grace period for in-flight requests after a stop. Airflow 3 kills a task 5 s after asking it to stop."""

_CLOSE_GRACE_S: Final = 0.5
_SIGNAL_CHECK_S: Final = 1.0
_MAX_CELL_WIDTH: Final = 100


@dataclass(slots=True)
class BatchResult(Generic[T]):
    """The result for each project, in the given order.

    :param done: results by project id.
    :param failed: errors by project id.
    :param remaining: ids of projects that were not started, or were interrupted.
    :param fatal: the error that ended the batch for all projects: a rejected API key, or a bug.
    :param interrupted: the exception that interrupted the task, such as Airflow's task timeout.
    """

    done: dict[str, T] = field(default_factory=dict)
    failed: dict[str, PaperspaceError] = field(default_factory=dict)
    remaining: list[str] = field(default_factory=list)
    fatal: Exception | None = None
    interrupted: BaseException | None = None

    @property
    def total(self) -> int:
        """Number of projects in the batch."""
        return len(self.done) + len(self.failed) + len(self.remaining)

    @property
    def is_for_later(self) -> bool:
        """Whether the service asked for a longer wait than a client accepts."""
        return any(error.is_for_later for error in self.failed.values())

    @property
    def retry_after_s(self) -> float | None:
        """The longest wait in seconds that was asked for in failures that a retry may fix; None if there is none."""
        waits = [error.retry_after_s for error in self.failed.values() if not error.is_permanent]
        return max((seconds for seconds in waits if seconds is not None), default=None)

    @property
    def is_permanent(self) -> bool:
        """Whether a retry is pointless: no project remains, and every failure is permanent."""
        return bool(self.failed) and not self.remaining and all(error.is_permanent for error in self.failed.values())


class StopSignal:
    """Set once, from any thread or signal handler, to stop a task. It has no lock, so operators can be copied."""

    def __init__(self) -> None:
        self.is_set = False
        self._callback: Callable[[], object] | None = None

    def set(self) -> None:
        """Stop the batch or the block that is running, or the next one that starts."""
        self.is_set = True
        callback = self._callback
        if callback is not None:
            with suppress(RuntimeError):  # the event loop has just been closed
                callback()

    def notify(self, callback: Callable[[], object] | None) -> None:
        """Call ``callback`` when the signal is set, or at once if it already is; None removes the callback."""
        self._callback = callback
        if self.is_set and callback is not None:
            callback()


@contextmanager
def stopping_this_thread(stop: StopSignal) -> Iterator[None]:
    """In a ``with`` block, let the stop signal raise in the main thread, where Airflow's signal handler sets it.

    To stop a task, Airflow 3 only calls ``on_kill``; it does not interrupt the task.

    :raises AirflowException: the task was stopped, before or in the block.
    """

    def interrupt() -> None:
        if threading.current_thread() is threading.main_thread():
            message = "The task was stopped. A retry completes the work."
            log.error("%s", message)
            raise AirflowException(message)

    try:
        stop.notify(interrupt)
        yield
    finally:
        stop.notify(None)


class StoppableClient(Protocol):
    """What the workers need from the client that they share."""

    async def run(self, flow: Any) -> Any:
        """Run a flow to completion."""

    def stop(self) -> None:
        """Send no further request."""

    async def aclose(self) -> None:
        """Close the connections, in-flight requests included."""


def run_batch(
    settings: ClientSettings,
    project_ids: Iterable[str],
    flow_for: Callable[[str], Flow[T]],
    *,
    max_concurrency: int,
    stop: StopSignal,
) -> BatchResult[T]:
    """Run one flow per project through one client, and return the results.

    An exception that interrupts the calling thread stops the batch and is returned in the result.

    :param flow_for: returns the flow for a project id.
    :param max_concurrency: maximum number of projects at a time.
    """
    batch = Batch(project_ids, flow_for, max_concurrency=max_concurrency, stop=stop)
    finished: Future[None] = Future()

    async def run() -> None:
        from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient

        async with AsyncPaperspaceClient(settings) as client:
            await batch.run(client)
            finished.set_result(None)  # before the loop is closed, which may wait for a DNS lookup

    def run_in_thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  # raised in the calling thread
            if not finished.done():
                finished.set_exception(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run_in_thread,), name="paperspace-batch", daemon=True)
    interruption: BaseException | None = None
    try:
        thread.start()
        # A signal that arrives just before the thread blocks is handled only once it wakes up.
        while wait([finished], timeout=_SIGNAL_CHECK_S).not_done:
            pass
    except BaseException as error:  # noqa: BLE001  # a signal handler of Airflow raised it; returned in the result
        log.info("Interrupted: starting no more projects")
        interruption = error
        stop.set()
        wait([finished], timeout=2 * GRACE_PERIOD_S)
    if finished.done():
        thread.join(_CLOSE_GRACE_S)
    if interruption is None:
        finished.result()
    result = batch.result()
    result.interrupted = interruption
    return result


class Batch(Generic[T]):
    """Runs one flow per project in an event loop.

    :param flow_for: returns the flow for a project id.
    :param max_concurrency: maximum number of projects at a time.
    :param stop: ends the batch early.
    :param sleep: called with the number of seconds to wait between two progress lines.
    """

    def __init__(
        self,
        project_ids: Iterable[str],
        flow_for: Callable[[str], Flow[T]],
        *,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        stop: StopSignal | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ids = list(dict.fromkeys(project_ids))
        self._flow_for = flow_for
        self._max_concurrency = max_concurrency
        self._stop = stop or StopSignal()
        self._sleep = sleep
        self._done: dict[str, T] = {}
        self._failed: dict[str, PaperspaceError] = {}
        self._fatal: Exception | None = None

    def result(self) -> BatchResult[T]:
        """Return the results so far, in the given order. It may be called from any thread."""
        return BatchResult(
            {id_: self._done[id_] for id_ in self._ids if id_ in self._done},
            {id_: self._failed[id_] for id_ in self._ids if id_ in self._failed},
            [id_ for id_ in self._ids if id_ not in self._done and id_ not in self._failed],
            self._fatal,
        )

    async def run(self, client: StoppableClient) -> None:
        """Run all flows until they end or the batch is stopped. Errors are kept for the result, not raised."""
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop.notify(lambda: loop.call_soon_threadsafe(stopped.set))
        started_s, queue = time.monotonic(), iter(self._ids)
        workers = [
            asyncio.create_task(self._work(client, queue, stopped))
            for _ in range(min(self._max_concurrency, len(self._ids)))
        ]
        progress = asyncio.create_task(self._log_progress(started_s))
        try:
            await _finish(client, workers, stopped)
        finally:
            self._stop.notify(None)
            for task in (*workers, progress):
                task.cancel()
            await asyncio.gather(*workers, progress, return_exceptions=True)
        if len(self._ids) > 1:
            log.info("%s", self._progress_line(started_s))

    async def _work(self, client: StoppableClient, queue: Iterator[str], stopped: asyncio.Event) -> None:
        while not (self._stop.is_set or stopped.is_set()):
            project_id = next(queue, None)
            if project_id is None:
                return
            try:
                self._done[project_id] = await client.run(self._flow_for(project_id))
            except StoppedError:
                return
            except PaperspaceError as error:
                if stopped.is_set() and isinstance(error, TransportError):
                    return  # the stop closed its connection
                self._failed[project_id] = error
                log.warning("%s", in_log_lines(str(error)))
                if isinstance(error, AuthenticationError):
                    self._fatal = error
                    stopped.set()
                elif error.is_for_later:
                    for _ in queue:  # empty the queue, so that the other workers start no more projects
                        pass
            except Exception as error:  # noqa: BLE001  # raised once the other workers have ended
                self._fatal = error
                stopped.set()

    async def _log_progress(self, started_s: float) -> None:
        while True:
            await self._sleep(PROGRESS_INTERVAL_S)
            log.info("%s", self._progress_line(started_s))

    def _progress_line(self, started_s: float) -> str:
        done, failed = len(self._done), len(self._failed)
        rate = (done + failed) / max(time.monotonic() - started_s, 1e-3)
        failures = f", {failed:,} failed" if failed else ""
        return f"{done:,} of {count_of(len(self._ids), 'project')} done{failures}, {rate:,.0f}/s"


async def _finish(client: StoppableClient, workers: Sequence[asyncio.Task[None]], stopped: asyncio.Event) -> None:
    """Wait for the workers; after a stop only for the grace period."""
    if not workers:
        return
    stopping = asyncio.create_task(stopped.wait())
    running: set[asyncio.Task[Any]] = set(workers)
    while running and not stopping.done():
        _, pending = await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
        running = pending - {stopping}
    stopping.cancel()
    if running:
        client.stop()
        _, running = await asyncio.wait(running, timeout=GRACE_PERIOD_S)
    if running:
        await client.aclose()
        await asyncio.wait(running, timeout=_CLOSE_GRACE_S)


def failure_table(failed: dict[str, PaperspaceError], *, max_rows: int | None = None) -> str:
    """Return a table of the projects that failed, with what happened and what to do."""
    rows = [_failure_row(project_id, error) for project_id, error in failed.items()]
    return table(("project", "what happened", "what to do"), rows, max_rows=max_rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, max_rows: int | None = None) -> str:
    """Return the rows as a plain-text table, for a task's log.

    :param max_rows: maximum number of rows to show; the last line counts the rest.
    """
    shown = [[*map(escaped, row)] for row in rows[:max_rows]]
    widths = [min(_MAX_CELL_WIDTH, max(map(len, column))) for column in zip(header, *shown, strict=True)]
    lines = [header, ["-" * width for width in widths], *shown]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    hidden = len(rows) - len(shown)
    return f"{text}\nand {hidden:,} more" if hidden else text


def _failure_row(project_id: str, error: PaperspaceError) -> tuple[str, str, str]:
    action = f"could not {error.action}: " if error.action else ""
    return project_id, " ".join([f"{action}{error.problem}.", *error.notes]), error.advice
