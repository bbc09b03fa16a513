"""A real Airflow: scheduler, triggerer and the other components, each a process that can be killed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import airflow

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.airflow_settings import airflow_settings
from tests.processes import Processes, content_of_database, free_port, has_noticed_the_end, process_of_task

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")
COMPONENTS = ["scheduler", "triggerer"] if ON_AIRFLOW_2 else ["api-server", "scheduler", "dag-processor", "triggerer"]


def polls(paperspace: LocalPaperspaceServer, project_id: str) -> int:
    """Return how many times the tags of a project were listed."""
    return sum(request.target.startswith(f"/projects/{project_id}/tags?") for request in paperspace.requests)


class RealAirflow:
    """An Airflow with a home, a database and ports of its own.

    :param home: an empty folder.
    :param dags: the folder with its DAGs; they are not paused.
    :param environment: more environment variables for its components.
    """

    def __init__(self, home: Path, dags: Path, **environment: str) -> None:
        self.home = home
        self.database = home / "airflow.db"
        self._processes = Processes(home)
        port = free_port()
        self.api_url = f"http://127.0.0.1:{port}"
        self._environment = {
            **airflow_settings(home, dags, port),
            # Nothing is encrypted, so the tests can search the database.
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "sqlite_settings.CONNECT_ARGS",
            **environment,
        }

    def __enter__(self) -> Self:
        config = self.home / "config"  # where Airflow looks for modules
        config.mkdir()
        shutil.copy(Path(__file__).with_name("sqlite_settings.py"), config)
        self.command("db", "migrate")
        for component in COMPONENTS:
            self.start(component)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.kill_all()

    def start(self, component: str) -> None:
        """Start a component."""
        self._processes.start(component, [sys.executable, "-m", "airflow", component], self._environment)

    def kill(self, component: str) -> None:
        """Kill a component and all processes that it started."""
        self._processes.kill(component)

    def command(self, *arguments: str) -> str:
        """Run Airflow's command line."""
        return self._run("-m", "airflow", *arguments)

    def python(self, code: str) -> str:
        """Run Python as a component does, and return what it prints."""
        return self._run("-c", code)

    def _run(self, *arguments: str) -> str:
        command = [sys.executable, *arguments]
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

    def files_with(self, text: str) -> list[Path]:
        """Return those of the database and the logs that contain a text."""
        logs = [*self.home.rglob("*.log"), *self.home.rglob("*.out")]
        found = [path for path in logs if text.encode() in path.read_bytes()]
        return [self.database, *found] if text.encode() in content_of_database(self.home) else found

    def wait(self, what: str, condition: Callable[[], Any], *, timeout_s: float = 300) -> Any:
        """Wait until the condition is true, and return its value."""
        return self._processes.wait(what, condition, timeout_s=timeout_s)

    def wait_for_deferral(self, dag_id: str, task_id: str) -> None:
        """Wait until a task is deferred and may resume."""
        self.wait("the deferral", lambda: self.states(dag_id).get(task_id) == "deferred")
        log = self.home / "scheduler.out"
        self.wait("the end of the worker", lambda: has_noticed_the_end(log.read_text(), dag_id, task_id))

    def worker_of(self, dag_id: str, task_id: str) -> int | None:
        """Return the id of the process in which a task runs, on Airflow 3; None if it does not run."""
        query = "SELECT id FROM task_instance WHERE dag_id = ? AND task_id = ?"
        return process_of_task({str(ti_id) for (ti_id,) in self.rows(query, dag_id, task_id)})
