"""A real Airflow: scheduler, triggerer and the other components, each a process that can be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import airflow

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")
COMPONENTS = ["scheduler", "triggerer"] if ON_AIRFLOW_2 else ["api-server", "scheduler", "dag-processor", "triggerer"]


class RealAirflow:
    """An Airflow with a home, a database and ports of its own.

    :param home: an empty folder.
    :param dags: the folder with its DAGs; they are not paused.
    :param environment: more environment variables for its components.
    """

    def __init__(self, home: Path, dags: Path, **environment: str) -> None:
        self.home = home
        self.database = home / "airflow.db"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # Workers ask the API server; without ports of its own, two Airflows on one machine talk to each other.
        api, triggers, workers = (str(_free_port()) for _ in range(3))
        self.api_url = f"http://127.0.0.1:{api}"
        bundle = {
            "name": "system",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(dags)},
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self._environment = {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            # Nothing is encrypted, so the tests can search the database.
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{api}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": api,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-this-test-alone-and-long-enough",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": triggers,
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": workers,
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
            # On a busy machine, Airflow's own patience ends before its answers come.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "tests.system.sqlite_settings.CONNECT_ARGS",
            "PYTHONPATH": str(Path(__file__).parent.parent.parent),
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "3",
            **environment,
        }

    def __enter__(self) -> Self:
        self.command("db", "migrate")
        for component in COMPONENTS:
            self.start(component)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for component in list(self._processes):
            self.kill(component)

    def start(self, component: str) -> None:
        """Start a component, in a process group of its own."""
        log = (self.home / f"{component}.out").open("ab")
        self._processes[component] = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "airflow", component],
            env=self._environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def kill(self, component: str) -> None:
        """Kill a component and all processes that it started."""
        process = self._processes.pop(component)
        # Airflow 2's scheduler gives its DAG processor a group of its own.
        for pid in (process.pid, *_descendants(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def command(self, *arguments: str) -> str:
        """Run Airflow's command line."""
        command = [sys.executable, "-m", "airflow", *arguments]
        run = subprocess.run(command, env=self._environment, cwd=self.home, capture_output=True, text=True)  # noqa: S603
        assert run.returncode == 0, f"{arguments}: {run.stdout[-2000:]}{run.stderr[-2000:]}"
        return run.stdout

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the database."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def states(self, dag_id: str) -> dict[str, str | None]:
        """Return the states of a DAG's tasks."""
        return dict(self.rows("SELECT task_id, state FROM task_instance WHERE dag_id = ?", dag_id))

    def wait(self, what: str, condition: Callable[[], Any], *, timeout_s: float = 300) -> Any:
        """Wait until the condition is true, and return its value."""
        ends_s, pause = time.monotonic() + timeout_s, threading.Event()
        while not (value := condition()):
            ended = [component for component, process in self._processes.items() if process.poll() is not None]
            assert not ended, f"{ended} ended by themselves: {self.tails()}"
            assert time.monotonic() < ends_s, f"waited {timeout_s:.0f} s for {what}: {self.tails()}"
            pause.wait(0.05)
        return value

    def worker_of(self, dag_id: str, task_id: str) -> int | None:
        """Return the id of the process in which a task runs, on Airflow 3; None if it does not run."""
        query = "SELECT id FROM task_instance WHERE dag_id = ? AND task_id = ?"
        titles = {f"airflowworker{str(ti_id).replace('-', '')}" for (ti_id,) in self.rows(query, dag_id, task_id)}
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                title = process.read_bytes().rstrip(b"\0").decode(errors="replace")
                if title.replace("-", "").replace(" ", "") in titles:
                    return int(process.parent.name)
        return None

    def tails(self) -> str:
        """Return the last lines that each component printed."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.home.glob("*.out")))


def _descendants(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started, and those that these have started."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for known in found:
        found += children.get(known, [])
    return found[1:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
