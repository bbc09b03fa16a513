"""Pytest fixtures for testing your own DAGs without an account.

Every pytest run loads this plugin when the provider is installed, so it imports neither Airflow nor the rest of the
provider until a fixture is used, and changes nothing unless the project sets ``paperspace_dags``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest

if TYPE_CHECKING:
    from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer

DAGS_OPTION: Final = "paperspace_dags"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting that gives the tests an Airflow of their own."""
    parser.addini(
        DAGS_OPTION,
        "folders of the project's DAG files; if set, the tests get an Airflow of their own in a temporary folder",
        type="paths",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Point Airflow to a temporary folder, if the project asks for it, before a conftest.py can import Airflow."""
    folders = early_config.getini(DAGS_OPTION)
    if not folders:
        return
    if "airflow" in sys.modules:
        raise pytest.UsageError(
            f"{DAGS_OPTION} is set, but Airflow was imported before pytest read this setting: by another plugin, or by "
            "the program that runs pytest. Airflow reads its settings when it is imported."
        )
    home = tempfile.mkdtemp(prefix="airflow-home-")
    early_config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    environment = pytest.MonkeyPatch()
    early_config.add_cleanup(environment.undo)
    # No real connection, and no real database: neither a test nor a migration may reach them.
    for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
        environment.delenv(name)
    for name, value in _airflow_settings(home, folders).items():
        environment.setenv(name, value)


def _airflow_settings(home: str, folders: list[Path]) -> dict[str, str]:
    bundles = [
        {
            "name": f"dags-{number}",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(folder)},
        }
        for number, folder in enumerate(folders)
    ]
    return {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__DAGS_FOLDER": str(folders[0]),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Airflow 3 runs a DAG only from a bundle that it knows.
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        # Without it, Airflow 2 warns on every start.
        "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True",
    }


@pytest.fixture(scope="session")
def _local_paperspace() -> Iterator[LocalPaperspaceServer]:
    try:
        from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
    except ModuleNotFoundError as error:
        pytest.fail(f"No module {error.name!r}: pip install 'airflow-provider-paperspace[emulator]'", pytrace=False)
    with LocalPaperspaceServer() as server:
        yield server


@pytest.fixture
def paperspace_server(_local_paperspace: LocalPaperspaceServer) -> LocalPaperspaceServer:
    """Return a local Paperspace in its initial state: set it up, add faults, inspect its tags and requests."""
    _local_paperspace.reset()
    return _local_paperspace


@pytest.fixture
def paperspace_connection(paperspace_server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the id of a connection to the local Paperspace, ``paperspace_default``, set by an environment variable."""
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", paperspace_server.connection_json())
    return "paperspace_default"


@pytest.fixture(scope="session")
def airflow_db(pytestconfig: pytest.Config) -> Path:
    """Return the path of the database of the tests' own Airflow. It is created once."""
    if not pytestconfig.getini(DAGS_OPTION):
        pytest.fail(
            f"Set {DAGS_OPTION} in your pytest configuration to the folder with your DAG files, for example "
            f"{DAGS_OPTION} = dags. The tests then have their own Airflow home and database.",
            pytrace=False,
        )
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    migration = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
    if migration.returncode:
        pytest.fail(f"airflow db migrate failed:\n{migration.stdout}", pytrace=False)
    return Path(os.environ["AIRFLOW_HOME"]) / "airflow.db"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run of a DAG.

    :param state: ``success`` or ``failed``.
    :param tasks: the tasks' states, by task id, and by ``task_id[map_index]`` for mapped tasks.
    :param dag_run: Airflow's own record of the run.
    """

    state: str
    tasks: dict[str, str]
    dag_run: Any


class RunDag(Protocol):
    """The type of the fixture ``run_dag``."""

    def __call__(self, dag: Any, conf: Mapping[str, Any] | None = None, **arguments: Any) -> FinishedRun:
        """Run a DAG to completion; see :func:`run_in_process`."""


@pytest.fixture
def run_dag(airflow_db: Path, paperspace_connection: str, pytestconfig: pytest.Config) -> RunDag:
    """Return a function that runs a DAG, or a DAG file of the project, against the local Paperspace."""

    def run(dag: Any, conf: Mapping[str, Any] | None = None, **arguments: Any) -> FinishedRun:
        is_path = isinstance(dag, (str, os.PathLike))
        return run_in_process(_load_dag(pytestconfig.rootpath / dag) if is_path else dag, conf, **arguments)

    return run


def run_in_process(dag: Any, conf: Mapping[str, Any] | None = None, **arguments: Any) -> FinishedRun:
    """Run a DAG in this process, as ``airflow dags test`` does: templates, XCom, retries and deferred tasks included.

    :param dag: a DAG from a file in one of the project's DAG folders.
    :param conf: the conf of the run, which sets the DAG's params.
    :param arguments: further arguments for Airflow's ``DAG.test``, such as ``logical_date`` on Airflow 3.
    """
    if hasattr(dag, "sync_to_db"):
        # As the scheduler of Airflow 2 does: dag.test() fails if an alias among the outlets is not in the database.
        dag.sync_to_db()
    dag_run = dag.test(run_conf=None if conf is None else dict(conf), **arguments)
    tasks = {
        ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": str(ti.state)
        for ti in dag_run.get_task_instances()
    }
    return FinishedRun(str(dag_run.state), tasks, dag_run)


def _load_dag(path: Path) -> Any:
    """Return the one DAG in a file."""
    from airflow.models import DagBag

    if not path.is_file():
        pytest.fail(f"There is no file {path}. A relative path starts at the root of the project.", pytrace=False)
    found = DagBag(str(path))
    for error in found.import_errors.values():
        pytest.fail(f"{path} cannot be imported:\n{error}", pytrace=False)
    if len(found.dags) != 1:
        ids = ", ".join(map(repr, sorted(found.dags))) or "none"
        message = f"{path} must contain one DAG; found: {ids}. If the file has several, pass the DAG object itself."
        pytest.fail(message, pytrace=False)
    return next(iter(found.dags.values()))
