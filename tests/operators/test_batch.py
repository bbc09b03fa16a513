"""One flow per project, for many projects: how many at a time, what fails, what is logged, and how it stops."""

from __future__ import annotations

import _thread
import asyncio
import copy
import logging
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from airflow_provider_paperspace.api.errors import (
    ApiError,
    AuthenticationError,
    InvalidArgumentError,
    NotFoundError,
    PaperspaceError,
    ServerError,
    StoppedError,
    TransportError,
)
from airflow_provider_paperspace.api.project_tags import list_project_tags
from airflow_provider_paperspace.api.settings import ClientSettings
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators import _batch
from airflow_provider_paperspace.operators._batch import (
    Batch,
    BatchResult,
    StopSignal,
    count_of,
    failure_table,
    run_batch,
    table,
)
from airflow_provider_paperspace.operators.project_tags import ListProjectTagsOperator

IDS = [f"p{i}" for i in range(20)]

ANSWER, STOP, CLOSE, NEVER = "at once", "by the stop", "by the closed connection", "never"

FakeFlow = Generator[str, None, str]
"""Yields when its request is answered, instead of the request itself."""


class FakeClient:
    """Answers each request when the flow says, or after one turn of the event loop."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.closed = asyncio.Event()
        self.running = 0
        self.max_running = 0

    async def run(self, flow: FakeFlow) -> Any:
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            while True:
                answered = next(flow)
                await asyncio.sleep(0)
                if answered == STOP:
                    await self.stopped.wait()
                    raise StoppedError("the client was stopped", subject="Project 'p'", action="add tag 'x'")
                if answered == CLOSE:
                    await self.closed.wait()
                    raise TransportError("the connection failed or was closed")
                if answered == NEVER:
                    await asyncio.Event().wait()
        except StopIteration as end:
            return end.value
        finally:
            self.running -= 1

    def stop(self) -> None:
        self.stopped.set()

    async def aclose(self) -> None:
        self.closed.set()


def run(flow_for: Callable[[str], Any], ids: list[str] = IDS, **options: Any) -> tuple[BatchResult[Any], FakeClient]:
    """Run a batch over a fake client."""
    client = FakeClient()
    batch: Batch[Any] = Batch(ids, flow_for, **options)
    asyncio.run(batch.run(client), debug=True)
    return batch.result(), client


def upper(project_id: str) -> FakeFlow:
    yield ANSWER
    return project_id.upper()


def test_results_come_once_per_project_in_the_given_order() -> None:
    started: list[str] = []

    def flow(project_id: str) -> FakeFlow:
        started.append(project_id)
        return (yield from upper(project_id))

    result, _ = run(flow, ["b", "a", "b"])
    assert started == ["b", "a"]
    assert list(result.done.items()) == [("b", "B"), ("a", "A")]
    assert not result.failed
    assert not result.remaining
    assert result.total == 2
    assert run(upper, [])[0] == BatchResult()


def test_results_keep_the_given_order_whoever_ends_first() -> None:
    def flow(project_id: str) -> FakeFlow:
        for _ in range(5 if project_id == "a" else 1):
            yield ANSWER
        if project_id in ("b", "d"):
            raise ApiError.of(404, b"")
        return project_id

    result, _ = run(flow, ["d", "a", "c", "b"])
    assert (list(result.done), list(result.failed)) == (["a", "c"], ["d", "b"])


@pytest.mark.parametrize("limit", [1, 3, 8, 50])
def test_a_batch_never_exceeds_its_concurrency(limit: int) -> None:
    _, client = run(upper, max_concurrency=limit)
    assert client.max_running == min(limit, len(IDS))


def test_a_failed_project_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def flow(project_id: str) -> FakeFlow:
        if project_id in ("p3", "p7"):
            raise ApiError.of(500, b"", subject=f"Project {project_id!r}", action="list its tags")
        return (yield from upper(project_id))

    result, _ = run(flow)
    assert list(result.failed) == ["p3", "p7"]
    assert isinstance(result.failed["p3"], ServerError)
    assert len(result.done) == 18
    assert result.total == 20
    assert "Project 'p7': could not list its tags" in caplog.text


def test_a_refused_key_ends_the_batch_at_once() -> None:
    started: list[str] = []

    def flow(project_id: str) -> FakeFlow:
        started.append(project_id)
        yield ANSWER
        raise ApiError.of(401, b"")

    result, _ = run(flow, max_concurrency=2)
    assert isinstance(result.fatal, AuthenticationError)
    assert list(result.failed) == started == ["p0", "p1"]
    assert result.remaining == IDS[2:]


@pytest.mark.parametrize("error", [ZeroDivisionError, TypeError, ValueError])
def test_a_bug_ends_the_batch_and_keeps_what_was_done(error: type[Exception]) -> None:
    started: list[str] = []

    def flow(project_id: str) -> FakeFlow:
        started.append(project_id)
        if project_id == "p2":
            raise error
        return (yield from upper(project_id))

    result, _ = run(flow, max_concurrency=1)
    assert type(result.fatal) is error
    assert list(result.done) == ["p0", "p1"]
    assert started == ["p0", "p1", "p2"]
    assert result.remaining == IDS[2:]
    assert not result.failed


@pytest.mark.parametrize(
    ("failed", "remaining", "is_permanent"),
    [
        ({}, [], False),
        ({}, ["c"], False),
        ({"a": 404}, [], True),
        ({"a": 404, "b": 403}, [], True),
        ({"a": 404, "b": 500}, [], False),
        ({"a": 404}, ["c"], False),
        ({"a": 429}, [], False),
    ],
)
def test_a_failure_is_permanent_if_a_retry_fixes_nothing(
    failed: dict[str, int], remaining: list[str], is_permanent: bool
) -> None:
    errors: dict[str, PaperspaceError] = {project_id: ApiError.of(status, b"") for project_id, status in failed.items()}
    assert BatchResult({"d": 1}, errors, remaining).is_permanent is is_permanent


def test_a_stop_starts_no_further_project() -> None:
    stop = StopSignal()

    def flow(project_id: str) -> FakeFlow:
        if project_id == "p4":
            stop.set()
        for _ in range(3):
            yield ANSWER
        return project_id

    result, client = run(flow, max_concurrency=2, stop=stop)
    assert {"p4"} < set(result.done) <= set(IDS[:7])
    assert result.remaining == [id_ for id_ in IDS if id_ not in result.done]
    assert client.stopped.is_set()
    assert not client.closed.is_set()


def test_a_stop_interrupts_a_flow_that_waits() -> None:
    stop = StopSignal()
    written: list[str] = []

    def flow(project_id: str) -> FakeFlow:
        yield ANSWER
        written.append(project_id)
        stop.set()
        yield STOP
        return project_id

    result, _ = run(flow, max_concurrency=2, stop=stop)
    assert written == ["p0", "p1"]
    assert result == BatchResult(remaining=IDS)


@pytest.mark.parametrize(("ending", "close_grace_s"), [(NEVER, 0.0), (CLOSE, _batch._CLOSE_GRACE_S)])
def test_a_project_that_a_stop_cuts_off_remains_and_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ending: str, close_grace_s: float
) -> None:
    """A flow that waits for no connection is cancelled; any other fails when the stop closes its connection."""
    monkeypatch.setattr(_batch, "GRACE_PERIOD_S", 0)
    monkeypatch.setattr(_batch, "_CLOSE_GRACE_S", close_grace_s)
    stop = StopSignal()

    def flow(project_id: str) -> FakeFlow:
        stop.set()
        yield ending
        return project_id

    result, client = run(flow, max_concurrency=2, stop=stop)
    assert result == BatchResult(remaining=IDS)
    assert client.closed.is_set()
    assert "the connection failed" not in caplog.text


def test_a_stop_before_the_start_leaves_all_projects() -> None:
    stop = StopSignal()
    stop.set()
    started: list[str] = []

    def flow(project_id: str) -> FakeFlow:
        started.append(project_id)
        return (yield from upper(project_id))

    assert run(flow, stop=stop)[0] == BatchResult(remaining=IDS)
    assert not started


def test_a_stop_after_the_end_changes_nothing() -> None:
    stop = StopSignal()
    result, client = run(upper, stop=stop)
    stop.set()
    assert len(result.done) == len(IDS)
    assert not client.stopped.is_set()


def test_a_stop_signal_calls_back_once_it_is_set() -> None:
    called: list[int] = []
    stop = StopSignal()
    stop.notify(lambda: called.append(1))
    assert (stop.is_set, called) == (False, [])
    stop.set()
    assert (stop.is_set, called) == (True, [1])
    stop.notify(lambda: called.append(2))
    assert called == [1, 2], "at once, because it is set"
    stop.notify(None)
    stop.set()
    assert called == [1, 2]


def test_a_stop_signal_survives_a_closed_event_loop() -> None:
    loop = asyncio.new_event_loop()
    stop = StopSignal()
    stop.notify(lambda: loop.call_soon_threadsafe(print))
    loop.close()
    stop.set()
    assert stop.is_set


def test_an_operator_is_copied_with_its_stop_signal() -> None:
    operator = ListProjectTagsOperator(task_id="t", project_id="p")
    copied = copy.deepcopy(operator)
    copied.on_kill()
    assert (operator._stop.is_set, copied._stop.is_set) == (False, True)
    assert copy.deepcopy(copied)._stop.is_set


def test_an_operator_is_copied_while_its_batch_runs() -> None:
    operator = ListProjectTagsOperator(task_id="t", project_id="p")
    copies = []

    def flow(project_id: str) -> FakeFlow:
        copies.append(copy.deepcopy(operator))
        return (yield from upper(project_id))

    result, _ = run(flow, ["p"], stop=operator._stop)
    assert result.done == {"p": "P"}
    assert [copied.project_id for copied in copies] == ["p"]


def test_progress_is_logged_with_a_count_and_a_rate(caplog: pytest.LogCaptureFixture) -> None:
    ticks: list[float] = []

    async def tick(seconds: float) -> None:
        ticks.append(seconds)
        await asyncio.sleep(0)

    def flow(project_id: str) -> FakeFlow:
        if project_id == "p0":
            raise ApiError.of(500, b"")
        return (yield from upper(project_id))

    with caplog.at_level(logging.INFO):
        run(flow, max_concurrency=2, sleep=tick)
    assert set(ticks) == {5.0}
    lines = [message for message in caplog.messages if "projects done" in message]
    assert len(lines) > 3
    assert lines[-1].startswith("19 of 20 projects done, 1 failed, ")
    assert lines[-1].endswith("/s")


def test_a_count_has_the_noun_in_its_number() -> None:
    assert [count_of(number, "project") for number in (0, 1, 2, 1_200)] == [
        "0 projects",
        "1 project",
        "2 projects",
        "1,200 projects",
    ]


def test_a_table_has_columns_and_counts_hidden_rows() -> None:
    rows = [("a", "short"), ("bbb", "two\nlines"), ("c", "x" * 101), ("d", "")]
    assert table(("id", "what"), rows).splitlines() == [
        "id   what",
        f"---  {'-' * 100}",
        "a    short",
        r"bbb  two\nlines",
        f"c    {'x' * 101}",
        "d",
    ]
    assert table(("id", "what"), rows, max_rows=1).splitlines() == ["id  what", "--  -----", "a   short", "and 3 more"]


def test_a_failure_says_what_happened_and_what_to_do() -> None:
    error = ApiError.of(404, b"", action="add tag 'x'")
    error.notes.append("Already added: 'y'.")
    header, _, row = failure_table({"p1": error}).splitlines()
    assert header.split() == ["project", "what", "happened", "what", "to", "do"]
    assert row.startswith("p1       could not add tag 'x': the service answered 404. Already added: 'y'.  Check the")


def list_tags(project_id: str) -> Any:
    return list_project_tags(project_id)


def test_a_batch_runs_over_one_real_client(settings: ClientSettings, server: LocalPaperspaceServer) -> None:
    ids = [*(f"m{i}" for i in range(10)), "nope"]
    server.reset(seed={"projects": [{"id": id_, "tags": ["gpu"]} for id_ in ids[:-1]]})
    result = run_batch(settings, ids, list_tags, max_concurrency=3, stop=StopSignal())
    assert {id_: [tag.name for tag in tags] for id_, tags in result.done.items()} == {id_: ["gpu"] for id_ in ids[:-1]}
    assert isinstance(result.failed["nope"], NotFoundError)
    assert (result.remaining, result.fatal, result.interrupted) == ([], None, None)


@pytest.mark.parametrize("error", [ZeroDivisionError, TypeError, ValueError])
def test_a_bug_in_a_flow_comes_out_as_fatal(settings: ClientSettings, error: type[Exception]) -> None:
    def flow(project_id: str) -> Any:
        yield from list_tags("p1")
        raise error

    result = run_batch(settings, ["p1", "p2"], flow, max_concurrency=1, stop=StopSignal())
    assert type(result.fatal) is error
    assert result.remaining == ["p1", "p2"]


def test_a_client_that_cannot_be_made_raises(settings: ClientSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    remote = ClientSettings(api_key=settings.api_key, base_url="https://paperspace.invalid/v1")
    with pytest.raises(InvalidArgumentError, match="proxy with socks5://"):
        run_batch(remote, ["p1"], list_tags, max_concurrency=1, stop=StopSignal())


def test_a_stop_from_another_thread_ends_a_batch(settings: ClientSettings) -> None:
    stop = StopSignal()

    def flow(project_id: str) -> Any:
        if project_id == "p1":
            thread = threading.Thread(target=stop.set)
            thread.start()
            thread.join()
        return (yield from list_tags(project_id))

    result = run_batch(settings, ["p1", "p2", "p3"], flow, max_concurrency=1, stop=stop)
    assert not result.failed
    assert {"p2", "p3"} <= set(result.remaining)


class Interruption(BaseException):
    """Airflow interrupts a task with such an exception, out of a signal handler."""


@pytest.fixture(params=["while it waits", "just before it waits"])
def interrupt(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Return a function that interrupts the main thread, from any thread."""

    def handler(*_: Any) -> None:
        raise Interruption

    before = signal.signal(signal.SIGUSR1, handler)
    if request.param == "while it waits":
        yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    else:  # does not wake a thread that is blocked already
        yield lambda: _thread.interrupt_main(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Return the event on which hanging work waits; it is set once the test is over."""
    monkeypatch.setattr(_batch, "GRACE_PERIOD_S", 0.01)
    monkeypatch.setattr(_batch, "_CLOSE_GRACE_S", 0.01)
    monkeypatch.setattr(_batch, "_SIGNAL_CHECK_S", 0.01)
    event = threading.Event()
    yield event
    event.set()
    for thread in threading.enumerate():
        if thread.name == "paperspace-batch":
            thread.join()


def test_an_interruption_does_not_wait_for_a_name_lookup(
    monkeypatch: pytest.MonkeyPatch, interrupt: Callable[[], None], release: threading.Event
) -> None:
    looked_up: list[Any] = []

    def hang(host: Any, *_: Any, **__: Any) -> Any:
        looked_up.append(host)
        if len(looked_up) == 1:
            interrupt()
        release.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    stop, settings = StopSignal(), ClientSettings(api_key="k", base_url="https://paperspace.invalid/v1")
    result = run_batch(settings, IDS, list_tags, max_concurrency=2, stop=stop)
    assert not release.is_set(), "the look-up still hangs"
    assert looked_up[0] == "paperspace.invalid"
    assert isinstance(result.interrupted, Interruption)
    assert (result.done, result.failed, result.remaining, result.fatal) == ({}, {}, IDS, None)
    assert stop.is_set


def test_an_interruption_does_not_wait_for_a_blocked_loop(
    settings: ClientSettings, interrupt: Callable[[], None], release: threading.Event
) -> None:
    def flow(project_id: str) -> Any:
        tags = yield from list_tags("p1")
        if project_id == "p2":
            interrupt()
            release.wait()
        return tags

    result = run_batch(settings, ["p1", "p2", "p3"], flow, max_concurrency=1, stop=StopSignal())
    assert not release.is_set(), "the event loop still hangs"
    assert isinstance(result.interrupted, Interruption)
    assert (list(result.done), result.remaining) == (["p1"], ["p2", "p3"])


def test_an_interruption_wins_over_an_error_of_the_loop(
    settings: ClientSettings, interrupt: Callable[[], None], release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        interrupt()
        raise ZeroDivisionError

    monkeypatch.setattr("airflow_provider_paperspace.api.async_client.AsyncPaperspaceClient", fail)
    result = run_batch(settings, IDS, list_tags, max_concurrency=1, stop=StopSignal())
    assert isinstance(result.interrupted, Interruption)
    assert result.remaining == IDS
