"""An Airflow as in production: PostgreSQL, Redis, two Celery workers, and the provider from its wheel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.airflow_settings import airflow_settings
from tests.conftest import REPOSITORY
from tests.e2e.examples import copy_examples
from tests.processes import Processes, free_port, has_noticed_the_end
from tests.rest_api import RestApi
from tests.secret_watch import API_KEY

WORKERS = ("worker-1", "worker-2")
COMPONENTS = ("api-server", "scheduler", "triggerer", "dag-processor", *WORKERS)
FOUND_DEAD_AFTER_S = 15
"""How long the worker of a task may be silent."""


class Cluster:
    """All components of an Airflow, for a ``with`` block. The local Paperspace runs in the test's process.

    :param worker_concurrency: how many tasks each of the two workers runs at a time.
    :param mapped_tasks: how many tasks of each kind the DAG that compares them has.
    """

    def __init__(self, *, worker_concurrency: int = 4, mapped_tasks: int = 20) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="airflow-cluster-"))
        self.home.chmod(0o711)  # PostgreSQL may run as another user, who has to get at its own folder
        self.paperspace = LocalPaperspaceServer(api_key=API_KEY)
        self._processes = Processes(self.home)
        self._starts: Counter[str] = Counter()
        self._api_port, self._postgresql_port, self._redis_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._api_port}"
        self._api = RestApi(self.url)
        self.mapped_tasks = mapped_tasks
        self._database = f"postgresql://airflow@127.0.0.1:{self._postgresql_port}/airflow"
        http = {
            "conn_type": "http",
            "host": self.paperspace.url,
            "password": API_KEY,
            "extra": {"Authorization": f"Bearer {API_KEY}"},
        }
        self._environment = {
            **airflow_settings(self.home, self.home / "dags", self._api_port),
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__FERNET_KEY": "dGhlLWtleS1vZi10aGlzLWNsdXN0ZXItYWxvbmUtMzI=",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "32",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._database.replace("postgresql", "postgresql+psycopg2"),
            "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{self._redis_port}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{self._database}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(worker_concurrency),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(FOUND_DEAD_AFTER_S),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
            "AIRFLOW_CONN_PAPERSPACE_DEFAULT": self.paperspace.connection_json(max_attempts=2),
            "AIRFLOW_CONN_ONE_ATTEMPT": self.paperspace.connection_json(max_attempts=1),
            "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps(http),
            "E2E_MAPPED_TASKS": str(mapped_tasks),
        }

    def __enter__(self) -> Self:
        self.paperspace.__enter__()
        try:
            self._copy_dags()
            self._start_postgresql()
            self._start_redis()
            self._run(sys.executable, "-m", "airflow", "db", "migrate")
            for component in COMPONENTS:
                self.start(component)
            self.wait("the API server", self._api.is_up)
            for worker in WORKERS:
                self.wait_for_worker(worker)
            self.wait("the DAGs", self._all_dags_are_known)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._processes.is_running("postgresql"):
            # If it is killed, its shared memory stays. SIGINT makes it stop without waiting for its clients.
            self._processes.ask_to_stop("postgresql", signal.SIGINT)
            self._processes.wait_for_end("postgresql")
        self._processes.kill_all()
        self.paperspace.__exit__(None, None, None)
        left = self._processes.left()
        shutil.rmtree(self.home)
        assert not left, f"these processes are left: {left}"

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, logical_date: str | None = None) -> str:
        """Start a run, and return its id. Without a logical date it is as one that an event starts."""
        body = {"conf": conf or {}, "logical_date": logical_date}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout_s: float = 300) -> str:
        """Wait until a run has ended, and return its state."""

        def ended() -> str:
            state = str(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])
            return "" if state in ("queued", "running") else state

        return str(self.wait(f"the end of {dag_id}", ended, timeout_s=timeout_s))

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task. That of a mapped task is under ``task_id[map_index]``."""
        query = "SELECT task_id, map_index, state FROM task_instance WHERE dag_id = %s AND run_id = %s"
        rows = self.rows(query, dag_id, run_id)
        return {task_id if index < 0 else f"{task_id}[{index}]": state for task_id, index, state in rows}

    def runs(self, dag_id: str) -> dict[str, str]:
        """Return the state of each run."""
        return dict(self.rows("SELECT run_id, state FROM dag_run WHERE dag_id = %s ORDER BY id", dag_id))

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return what a task has pushed."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path)["value"]

    def wait_for_state(self, dag_id: str, run_id: str, task_id: str, state: str, *, try_number: int = 1) -> None:
        """Wait until a task waits for an event, in the state ``deferred`` or ``awaiting_input``, and may resume."""

        def is_ready() -> bool:
            return self.task_states(dag_id, run_id).get(task_id) == state and has_noticed_the_end(
                self.output("scheduler"), dag_id, task_id, run_id=run_id, try_number=try_number
            )

        self.wait(f"{task_id} to be {state}", is_ready)

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer a task that waits for a person."""
        self.wait_for_state(dag_id, run_id, task_id, "awaiting_input")
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        self.call("PATCH", path, {"chosen_options": [option], "params_input": {}})

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call Airflow's REST API.

        :param path: the path below ``/api/v2``.
        """
        return self._api.call(method, path, body)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read Airflow's database."""
        connection = psycopg2.connect(self._database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def wait(self, what: str, condition: Callable[[], Any], *, timeout_s: float = 300) -> Any:
        """Wait until the condition is true, and return its value."""
        return self._processes.wait(what, condition, timeout_s=timeout_s)

    def start(self, component: str) -> None:
        """Start a component."""
        self._starts[component] += 1
        environment, command = self._environment, [component]
        if component in WORKERS:
            # Each has its own port for its logs, and both write to one folder.
            environment = {**environment, "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port())}
            command = ["celery", "worker", "--celery-hostname", component, "--without-mingle", "--without-gossip"]
        self._processes.start(component, [sys.executable, "-m", "airflow", *command], environment)

    def kill(self, component: str) -> None:
        """Kill a component and all processes that it started."""
        self._processes.kill(component)

    def ask_to_stop(self, component: str, *, with_children: bool = False) -> None:
        """Send SIGTERM to a component.

        :param with_children: whether each process that it started gets the signal, too.
        """
        self._processes.ask_to_stop(component, with_children=with_children)

    def wait_for_end(self, component: str) -> None:
        """Wait until a component that was asked to stop has ended."""
        self._processes.wait_for_end(component)

    def wait_for_worker(self, worker: str) -> None:
        """Wait until a worker takes tasks, after each time that it was started."""
        started = self._starts[worker]
        self.wait(worker, lambda: self.output(worker).count(f"{worker} ready") == started)

    def output(self, component: str) -> str:
        """Return what a component has printed."""
        return (self.home / f"{component}.out").read_text()

    def dump(self) -> str:
        """Return the whole database as text."""
        return self._run(str(_postgresql("pg_dump")), self._database)

    def python(self, code: str) -> str:
        """Run a line of Python as a component would, and return what it prints."""
        return self._run(sys.executable, "-c", code)

    def _run(self, *command: str) -> str:
        run = subprocess.run(command, env=self._environment, cwd=self.home, capture_output=True, text=True)  # noqa: S603
        assert run.returncode == 0, f"{command}: {run.stdout[-2000:]}{run.stderr[-2000:]}"
        return run.stdout

    def _copy_dags(self) -> None:
        folder = self.home / "dags"
        folder.mkdir()
        copy_examples(folder)
        shutil.copytree(REPOSITORY / "tests/e2e/dags", folder, dirs_exist_ok=True)

    def _all_dags_are_known(self) -> bool:
        known = {Path(name).name for (name,) in self.rows("SELECT DISTINCT relative_fileloc FROM dag")}
        errors = self.rows("SELECT filename, stacktrace FROM import_error")
        assert not errors, errors
        return known == {path.name for path in (self.home / "dags").glob("*.py")}

    def _start_postgresql(self) -> None:
        folder = self.home / "postgresql"
        folder.mkdir()
        as_user: list[str] = []
        if os.geteuid() == 0:  # which PostgreSQL refuses
            shutil.chown(folder, "postgres", "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = str(folder / "data")
        self._run(*as_user, str(_postgresql("initdb")), "-D", data, "-U", "airflow", "--auth=trust", "--no-sync")
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off"}
        command = [*as_user, str(_postgresql("postgres")), "-D", data, "-p", str(self._postgresql_port)]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._processes.start("postgresql", command, self._environment)
        self.wait("PostgreSQL", lambda: "ready to accept connections" in self.output("postgresql"))
        address = ("-h", "127.0.0.1", "-p", str(self._postgresql_port), "-U", "airflow")
        self._run(str(_postgresql("createdb")), *address, "airflow")

    def _start_redis(self) -> None:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self._redis_port), "--save", ""]
        self._processes.start("redis", command, self._environment)
        self.wait("Redis", lambda: "Ready to accept connections" in self.output("redis"))


def _postgresql(program: str) -> Path:
    """Return the path of a program of the newest PostgreSQL. Debian does not put them on the PATH."""
    return max(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
