"""Processes that a test starts, each in a session of its own, so that all that it has started can be ended with it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def content_of_database(home: Path) -> bytes:
    """Return all that the SQLite database of an Airflow contains, its journal and freed pages included.

    Another process reads it. If this one closed a file of the database, the locks that SQLite holds on that file for
    this process would be gone, and its connections would fail with "disk I/O error" after another process has written.
    """
    # SQLite removes its journal after a write, so cat may miss one that was there a moment ago.
    command = ["/bin/cat", *sorted(home.glob("airflow.db*"))]
    cat = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)  # noqa: S603
    return cat.stdout


class Processes:
    """Named processes. What each one prints is in ``NAME.out`` in the folder.

    :param folder: their working directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._sessions: set[int] = set()

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start a process, and return it."""
        with (self._folder / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                command,
                env=environment,
                cwd=self._folder,
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running[name] = process
        self._sessions.add(process.pid)
        return process

    def kill(self, name: str) -> None:
        """Kill a process and all that it has started."""
        process = self._running.pop(name)
        self._signal_session(process.pid, signal.SIGKILL)
        process.wait()

    def ask_to_stop(self, name: str, number: signal.Signals = signal.SIGTERM, *, with_children: bool = False) -> None:
        """Send a signal to a process.

        :param with_children: whether all that it has started gets the signal, too.
        """
        process = self._running[name]
        if with_children:
            for pid in members_of_sessions({process.pid}):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        else:
            process.send_signal(number)

    def wait_for_end(self, name: str, *, timeout_s: float = 120) -> None:
        """Wait until a process that was asked to stop has ended."""
        self._running.pop(name).wait(timeout_s)

    def is_running(self, name: str) -> bool:
        """Return whether a process was started, and not ended since."""
        return name in self._running

    def kill_all(self) -> None:
        """Kill all processes, the last one first."""
        for name in reversed(list(self._running)):
            self.kill(name)

    def left(self) -> list[str]:
        """Return the id and the command of each process that is still there, started here or by one of these."""
        return [f"{pid} {_command_of(pid)}" for pid in members_of_sessions(self._sessions)]

    def kill_left(self) -> None:
        """Kill all processes that are still there."""
        for session in self._sessions:
            self._signal_session(session, signal.SIGKILL)

    def wait(self, what: str, condition: Callable[[], Any], *, timeout_s: float = 300) -> Any:
        """Wait until the condition is true, and return its value. Fail at once if a process exits unexpectedly."""
        ends_s, pause = time.monotonic() + timeout_s, threading.Event()
        while not (value := condition()):
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            assert not ended, f"{ended} exited unexpectedly: {self.tails()}"
            assert time.monotonic() < ends_s, f"waited {timeout_s:.0f} s for {what}: {self.tails()}"
            pause.wait(0.05)
        return value

    def tails(self) -> str:
        """Return the last lines that each process printed."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self._folder.glob("*.out")))

    @staticmethod
    def _signal_session(session: int, number: signal.Signals) -> None:
        while pids := members_of_sessions({session}):  # one of them may have just started another one
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)


def members_of_sessions(sessions: set[int]) -> list[int]:
    """Return the ids of the processes in these sessions. A session's id is that of the process which leads it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) in sessions and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def _command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "(has just ended)"


def process_of_task(ti_ids: set[str]) -> int | None:
    """Return the id of the process in which one of these task instances runs, on Airflow 3; None if none runs."""
    titles = {f"airflowworker{ti_id.replace('-', '')}" for ti_id in ti_ids}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            title = path.read_bytes().rstrip(b"\0").decode(errors="replace")
            if title.replace("-", "").replace(" ", "") in titles:
                return int(path.parent.name)
    return None


def has_noticed_the_end(
    scheduler_log: str, dag_id: str, task_id: str, *, run_id: str = "", try_number: int = 1
) -> bool:
    """Return whether the scheduler has noticed that the worker of a task, which now waits for an event, has ended.

    If the event comes before that, Airflow takes the task for failed.
    """
    run = re.escape(run_id) if run_id else "[^']*"
    key = rf"dag_id='{dag_id}', task_id='{task_id}', run_id='{run}', try_number={try_number},"
    event = rf"Received executor event with state success for task instance TaskInstanceKey\({key}"
    return re.search(event, scheduler_log) is not None


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
