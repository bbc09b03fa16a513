"""Airflow 2.11 on SQLite, which runs one task at a time, with the part of the cluster's interface that it needs."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.e2e.examples import copy_examples
from tests.processes import content_of_database
from tests.secret_watch import API_KEY
from tests.system.real_airflow import RealAirflow


class SqliteAirflow:
    """Scheduler and triggerer of an Airflow 2, and the local Paperspace, for a ``with`` block."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="airflow-2-"))
        dags, self.home = self._folder / "dags", self._folder / "home"
        dags.mkdir()
        self.home.mkdir()
        copy_examples(dags)
        self.paperspace = LocalPaperspaceServer(api_key=API_KEY)
        connection = self.paperspace.connection_json(max_attempts=2)
        self._real = RealAirflow(self.home, dags, AIRFLOW_CONN_PAPERSPACE_DEFAULT=connection)

    def __enter__(self) -> Self:
        self.paperspace.__enter__()
        self._real.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._real.__exit__(kind, error, trace)
        self.paperspace.__exit__(None, None, None)
        shutil.rmtree(self._folder)

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, logical_date: str | None = None) -> str:
        """Start a run, and return its id."""
        run_id = f"e2e-{len(self.runs(dag_id))}"
        self.wait(dag_id, lambda: self._real.rows("SELECT 1 FROM serialized_dag WHERE dag_id = ?", dag_id))
        date = ("--exec-date", logical_date) if logical_date else ()
        self._real.command("dags", "trigger", dag_id, "--run-id", run_id, "--conf", json.dumps(conf or {}), *date)
        return run_id

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout_s: float = 1200) -> str:
        """Wait until a run has ended, and return its state."""
        running = ("queued", "running")
        self.wait(f"the end of {dag_id}", lambda: self.runs(dag_id)[run_id] not in running, timeout_s=timeout_s)
        return self.runs(dag_id)[run_id]

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task. That of a mapped task is under ``task_id[map_index]``."""
        query = "SELECT task_id, map_index, state FROM task_instance WHERE dag_id = ? AND run_id = ?"
        rows = self._real.rows(query, dag_id, run_id)
        return {task_id if index < 0 else f"{task_id}[{index}]": state for task_id, index, state in rows}

    def runs(self, dag_id: str) -> dict[str, str]:
        """Return the state of each run."""
        return dict(self._real.rows("SELECT run_id, state FROM dag_run WHERE dag_id = ? ORDER BY id", dag_id))

    def wait(self, what: str, condition: Callable[[], Any], *, timeout_s: float = 300) -> Any:
        """Wait until the condition is true, and return its value."""
        return self._real.wait(what, condition, timeout_s=timeout_s)

    def python(self, code: str) -> str:
        """Run a line of Python as a component would, and return what it prints."""
        return self._real.python(code)

    def dump(self) -> str:
        """Return the whole database as text."""
        return content_of_database(self.home).decode(errors="replace")
