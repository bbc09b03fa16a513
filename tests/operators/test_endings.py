"""However a task ends, its change record is the truth: what is pushed, what is stored, and what an undo makes of it.

Every ending, in every try, with and without Airflow 3.3's store, for one project and for many.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.api.errors import PaperspaceError, ServerError
from airflow_provider_paperspace.api.project_tags import converge_project_tags
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators import _batch
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    RemoveProjectTagOperator,
    UndoProjectTagChangeOperator,
)
from tests.operators.task import Task


@pytest.fixture(autouse=True)
def _no_garbage_collection() -> Iterator[None]:
    """A signal that arrives while garbage is collected raises in a finalizer, where Python drops the exception."""
    gc.disable()
    yield
    gc.enable()


class Interruption(BaseException):
    """Airflow's task timeout is such an exception, raised by a signal handler in the main thread."""


@dataclass(frozen=True)
class Ending:
    """How a task ends at its write of ``y``, and what its record must say of it.

    :param fault: what the service answers.
    :param signal: what a signal handler does before the answer arrives.
    :param raises: the error.
    :param added: whether ``y`` is recorded as added.
    :param unsettled: whether ``y`` is recorded as unsettled.
    :param is_retried: whether Airflow tries again.
    """

    raises: type[BaseException] | None = None
    fault: str = ""
    signal: str = ""
    added: bool = False
    unsettled: bool = False
    is_retried: bool = False


ONE: Final = {
    "return": Ending(added=True),
    "error": Ending(ServerError, fault="500", is_retried=True),
    "permanent error": Ending(AirflowFailException, fault="403"),
    "timeout": Ending(Interruption, signal="interrupt", unsettled=True, is_retried=True),
    "on_kill": Ending(AirflowException, signal="on_kill", unsettled=True, is_retried=True),
}
MANY: Final = {
    "return": Ending(added=True),
    "error": Ending(AirflowException, fault="500", is_retried=True),
    "permanent error": Ending(AirflowFailException, fault="403"),
    # A batch has two seconds to take in the answers that are on their way.
    "timeout": Ending(Interruption, signal="interrupt", added=True, is_retried=True),
    "on_kill": Ending(AirflowException, signal="on_kill", added=True, is_retried=True),
}

ONE_OR_MANY: Final[list[tuple[dict[str, Any], str, Ending]]] = [
    *[({"project_id": "p1"}, name, ending) for name, ending in ONE.items()],
    *[({"project_ids": ["p1", "p2"], "max_concurrency": 1}, name, ending) for name, ending in MANY.items()],
]
IDS: Final = [f"{name}, {'one' if 'project_id' in where else 'many'}" for where, name, _ in ONE_OR_MANY]

FIRST, SECOND, LAST = 1, 2, 3


class NotingWrites(deque[Any]):
    """The server's record of requests; it calls a function once a tag is written, before the answer is sent."""

    def __init__(self, name: str, call: Callable[[], None]) -> None:
        super().__init__()
        self._name = name
        self._call = call

    def append(self, request: Any) -> None:
        super().append(request)
        if request.method == "POST" and json.loads(request.body)["name"] == self._name:
            self._name = ""
            self._call()


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": id_, "tags": ["gpu"]} for id_ in ("p1", "p2")]})
    return server


@pytest.fixture
def on_signal() -> Iterator[Callable[[Callable[[], None]], Callable[[], None]]]:
    """Return a function that takes what a signal handler does, and returns what sends the signal, from any thread."""
    before = signal.getsignal(signal.SIGUSR1)

    def arrange(handle: Callable[[], None]) -> Callable[[], None]:
        signal.signal(signal.SIGUSR1, lambda *_: handle())
        return lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    yield arrange
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def client_stopped(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return the event that is set once a batch has told its client to send no further request."""
    event, stop = threading.Event(), AsyncPaperspaceClient.stop

    def stop_and_tell(client: AsyncPaperspaceClient) -> None:
        stop(client)
        event.set()

    monkeypatch.setattr(AsyncPaperspaceClient, "stop", stop_and_tell)
    return event


def interrupt() -> None:
    raise Interruption


def make(where: dict[str, Any], store: dict[str, Any] | None, try_number: int) -> Task:
    task = Task(AddProjectTagOperator, tags=["w", "x", "y", "z"], **where)
    task.try_number = try_number
    return task if store is None else task.with_store(store, try_number=try_number)


def record_of(task: Task) -> Any:
    change = task.pushed["change"]
    return change.get("p1", change)


def stored(store: dict[str, Any]) -> Any:
    return json.loads(store["paperspace_change"])


@pytest.mark.parametrize("try_number", [FIRST, SECOND, LAST])
@pytest.mark.parametrize("has_store", [True, False])
@pytest.mark.parametrize(("where", "name", "ending"), ONE_OR_MANY, ids=IDS)
def test_a_record_is_true_however_the_task_ends(
    world: LocalPaperspaceServer,
    on_signal: Any,
    client_stopped: threading.Event,
    where: dict[str, Any],
    name: str,
    ending: Ending,
    has_store: bool,
    try_number: int,
) -> None:
    store: dict[str, Any] | None = {} if has_store else None
    if try_number > FIRST:
        world.fault("500", path="/p1/", method="POST", at=2, times=2)
        with pytest.raises((AirflowException, PaperspaceError)):
            make(where, store, try_number - 1).run()
        world.app.faults = []
    task = make(where, store, try_number)
    if ending.fault:
        at = 3 if try_number == FIRST else 2
        world.fault(ending.fault, path="/p1/", method="POST", at=at, times=0)
    if ending.signal:
        send = on_signal(task.operator.on_kill if ending.signal == "on_kill" else interrupt)
        world.app.requests = NotingWrites(
            "y", send if "project_id" in where else lambda: (send(), client_stopped.wait(30))
        )
    if ending.raises is None:
        task.run()
    else:
        with pytest.raises(ending.raises):
            task.run()

    record = record_of(task)
    earlier = ["w"] if try_number == FIRST or has_store else []
    z = ["z"] if name == "return" else []
    assert record["added"] == [*earlier, "x", *(["y"] if ending.added else []), *z]
    assert record["unsettled"] == (["y"] if ending.unsettled else [])
    assert record["complete"] is (has_store or try_number == FIRST)
    assert record["dry_run"] is False
    tags_of_p2 = world.paperspace.tag_names("p2")
    if "p2" in task.pushed["change"] and record["complete"]:
        assert task.pushed["change"]["p2"]["added"] == tags_of_p2[1:]

    if store is not None and ending.is_retried and try_number != LAST:
        entry = stored(store)
        assert (entry["open"], entry["records"]["p1"]) == (False, record)
    else:
        assert not store, "nothing is left behind"

    world.app.faults, world.app.requests = [], deque()
    Task(UndoProjectTagChangeOperator, change=json.loads(json.dumps(task.pushed["change"]))).run()
    left = {"gpu"} | ({"y"} if ending.unsettled else set()) | ({"w"} if "w" not in record["added"] else set())
    assert set(world.paperspace.tag_names("p1")) == left
    assert world.paperspace.tag_names("p2") == (["gpu"] if record["complete"] else tags_of_p2)


@pytest.mark.parametrize("kind", [AddProjectTagOperator, RemoveProjectTagOperator])
def test_a_killed_task_of_one_project_writes_no_further_tag(
    world: LocalPaperspaceServer, on_signal: Any, caplog: pytest.LogCaptureFixture, kind: type[Any]
) -> None:
    caplog.set_level(logging.INFO)
    names = [f"t{i}" for i in range(9)]
    if kind is RemoveProjectTagOperator:
        for name in names:
            world.paperspace.add_tag("p1", {"name": name})
    task = Task(kind, project_id="p1", tags=names)
    world.app.requests = Counting(4, on_signal(task.operator.on_kill))
    with pytest.raises(AirflowException, match="The task was stopped. A retry completes the work"):
        task.run()
    assert len(world.app.requests) == 4, "one read, and three writes"
    record = task.pushed["change"]
    assert (record["added"] or record["removed"], record["unsettled"]) == (["t0", "t1"], ["t2"])
    assert "Stopping the task" in caplog.text


class Counting(deque[Any]):
    """The server's record of requests; it calls a function at the request of this number."""

    def __init__(self, number: int, call: Callable[[], None]) -> None:
        super().__init__()
        self._number = number
        self._call = call

    def append(self, request: Any) -> None:
        super().append(request)
        if len(self) == self._number:
            self._call()


@pytest.mark.parametrize("try_number", [FIRST, LAST])
def test_a_task_killed_before_its_first_request_sends_none(world: LocalPaperspaceServer, try_number: int) -> None:
    store: dict[str, Any] = {}
    task = make({"project_id": "p1"}, store, try_number)
    task.operator.on_kill()
    with pytest.raises(AirflowException, match="The task was stopped"):
        task.run()
    assert not world.requests
    assert task.pushed == {}
    assert (stored(store)["records"] if store else None) == ({} if try_number == FIRST else None)


def test_a_task_killed_from_another_thread_only_takes_note(world: LocalPaperspaceServer) -> None:
    task = make({"project_id": "p1"}, None, FIRST)
    world.app.requests = NotingWrites("x", task.operator.on_kill)  # in the server's thread
    task.run()
    assert world.paperspace.tag_names("p1") == ["gpu", "w", "x", "y", "z"]


@pytest.mark.parametrize("signalled", [True, False])
def test_a_hanging_look_up_costs_no_record(
    world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, on_signal: Any, signalled: bool
) -> None:
    """A name look-up runs in a thread of the event loop, which is not closed before that thread has ended."""
    monkeypatch.setattr(_batch, "GRACE_PERIOD_S", 0.01)
    monkeypatch.setattr(_batch, "_CLOSE_GRACE_S", 0.01)
    release, interrupt_the_task = threading.Event(), on_signal(interrupt)

    def converge_while_a_look_up_hangs(project_id: str, *arguments: Any) -> Any:
        change = yield from converge_project_tags(project_id, *arguments)
        if project_id == "p1":
            asyncio.get_running_loop().run_in_executor(None, release.wait)
            if signalled:
                interrupt_the_task()
        return change

    monkeypatch.setattr(
        "airflow_provider_paperspace.operators.project_tags.converge_project_tags", converge_while_a_look_up_hangs
    )
    store: dict[str, Any] = {}
    task = make({"project_ids": ["p1", "p2"], "max_concurrency": 1}, store, FIRST)
    try:
        if signalled:
            with pytest.raises(Interruption):
                task.run()
        else:
            task.run()
        assert not release.is_set(), "the look-up still hangs"
        assert task.pushed["change"]["p1"]["added"] == ["w", "x", "y", "z"]
        assert bool(store) is signalled
    finally:
        release.set()
        for thread in threading.enumerate():
            if thread.name == "paperspace-batch":
                thread.join()


def test_a_finished_try_is_not_counted_after_a_clear(world: LocalPaperspaceServer) -> None:
    store: dict[str, Any] = {}
    make({"project_id": "p1"}, store, FIRST).run()
    for name in "wxyz":
        world.paperspace.remove_tag("p1", {"name": name})
    world.paperspace.add_tag("p1", {"name": "w"})  # another writer's
    cleared = make({"project_id": "p1"}, store, SECOND)
    cleared.max_tries = 3
    cleared.run()
    assert (cleared.pushed["change"]["added"], cleared.pushed["change"]["complete"]) == (["x", "y", "z"], True)
    assert not store


def test_an_undo_of_no_record_fails_and_says_why(world: LocalPaperspaceServer) -> None:
    world.fault("500", times=0)
    task = make({"project_id": "p1"}, None, SECOND)
    with pytest.raises(ServerError):
        task.run()
    undo = Task(UndoProjectTagChangeOperator, change="{{ change }}")
    undo.operator.change = task.pushed.get("change")
    with pytest.raises(AirflowFailException, match="Task 'task': change is None: the other task left no change record"):
        undo.run()
