"""The page *Five minutes, without an account*: every command as it stands, but for ports and the installation."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import airflow
import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.processes import Processes, free_port
from tests.system.real_airflow import RealAirflow

PAGE = (REPOSITORY / "docs/start/five-minutes.md").read_text()
NEEDS_3 = pytest.mark.skipif(airflow.__version__ < "3", reason="`make demo` installs Airflow 3")

LEFT_TO_THE_PAGE = (
    "AIRFLOW_HOME",
    "AIRFLOW__CORE__DAGS_FOLDER",
    "AIRFLOW__CORE__LOAD_EXAMPLES",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS",
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST",
)

SHELL_WITH_JOBS = """
import fcntl, os, pty, termios
master, terminal = pty.openpty()
os.set_inheritable(master, True)
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
os.dup2(terminal, 2)  # where bash looks for its terminal
os.execvp("bash", ["bash", "-em"])
"""
"""As in a terminal, each background job has a process group of its own. -e ends the shell if a command fails."""


def commands(heading: str) -> list[list[str]]:
    """Return the commands of each console block below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [[line.removeprefix("$ ") for line in block.splitlines()] for block in blocks]


class Checkout:
    """A folder that looks like a checkout after ``make demo``, and shells in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.joinpath("dags").symlink_to(REPOSITORY / "dags")
        shutil.copy(REPOSITORY / "Makefile", folder)
        activate = folder / ".venv/demo/bin/activate"
        activate.parent.mkdir(parents=True)
        activate.write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
        self.airflow = RealAirflow(folder / ".demo/by-hand", REPOSITORY / "dags")
        settings = self.airflow._environment
        del settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS"]  # of a module that the page does not have
        self.processes = Processes(folder)
        self.shell = self.processes.start(
            "shell",
            [sys.executable, "-c", SHELL_WITH_JOBS],
            {name: value for name, value in settings.items() if name not in LEFT_TO_THE_PAGE},
            stdin=subprocess.PIPE,
        )
        self.wait = self.processes.wait
        self.type("exec 2>&1", "[[ $- == *m* ]]")  # errors go where the rest goes; and there are jobs

    def type(self, *lines: str) -> None:
        """Type commands into the shell."""
        assert self.shell.stdin is not None
        self.shell.stdin.write("".join(f"{line}\n" for line in lines).replace("8787", str(self.port)).encode())
        self.shell.stdin.flush()

    def printed(self) -> str:
        return (self.folder / "shell.out").read_text()

    def is_in_the_ui(self, dag_id: str) -> bool:
        """Return whether somebody without a login sees a DAG."""
        try:
            with httpx.Client(base_url=self.airflow.api_url) as client:
                token = client.get("/auth/token").raise_for_status().json()["access_token"]
                dag = client.get(f"/api/v2/dags/{dag_id}", headers={"Authorization": f"Bearer {token}"})
                return dag.raise_for_status().json()["is_paused"] is True
        except httpx.HTTPError:
            return False


@NEEDS_3
@pytest.mark.timeout(900)
def test_the_commands_of_the_page_work_as_they_stand(tmp_path: Path) -> None:
    checkout, dag_id = Checkout(tmp_path), "example_tag_driven"
    real = checkout.airflow
    (start_airflow, add_tag, end) = commands("With Airflow's UI")
    try:
        for block in commands("Do it by hand"):
            checkout.type(*block)
        checkout.type("echo BY HAND: DONE")
        checkout.wait("the commands", lambda: "BY HAND: DONE" in checkout.printed())
        assert "'prmximcci' is readable: 2 tags" in checkout.printed()
        assert re.search(r"^released:\d{4}-\d\d-\d\d +\S+\nproduction ", checkout.printed(), re.MULTILINE)
        assert "prmximcci" in httpx.get(f"http://127.0.0.1:{checkout.port}/").text

        checkout.type(*start_airflow)
        checkout.wait("the UI", lambda: checkout.is_in_the_ui(dag_id))
        assert real.rows("SELECT count(*) FROM dag_run WHERE dag_id = ?", dag_id) == [(0,)]
        real.command("dags", "unpause", dag_id)
        checkout.wait("the baseline", lambda: real.rows("SELECT count(*) FROM asset_state_store") == [(1,)])
        checkout.type(*add_tag)
        state = "SELECT state FROM dag_run WHERE dag_id = ?"
        checkout.wait("the run", lambda: real.rows(state, dag_id) == [("success",)])
        log = (tmp_path / ".demo/standalone.log").read_text()
        assert "Project 'prmximcci': removed 'ready'" in log
        # A task is a success before its process, which has a process group of its own, has ended.
        tasks = [task_id for (task_id,) in real.rows("SELECT task_id FROM task_instance WHERE dag_id = ?", dag_id)]
        checkout.wait("the end of its tasks", lambda: not any(real.worker_of(dag_id, task_id) for task_id in tasks))

        checkout.type(*end, "exit")
        checkout.processes.wait_for_end("shell")
        assert checkout.shell.returncode == 0, checkout.printed()[-3_000:]
        assert not (tmp_path / ".demo").exists(), "`make clean` removes all"
        with suppress(AssertionError):
            checkout.wait("the end of all processes", lambda: not checkout.processes.left(), timeout_s=120)
        assert not checkout.processes.left()
    finally:
        checkout.processes.kill_all()
        checkout.processes.kill_left()
        checkout.shell.communicate()


def test_the_page_starts_with_the_demo_and_shows_its_lines() -> None:
    assert commands("See it work") == [["make demo"]]
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    source = (REPOSITORY / "tests/demo.py").read_text()
    read = "Tags of project {PROJECT_ID}, read directly over HTTP:"
    for line in ('show="Project "', read, "  before: {", "  after:  {"):
        assert line in source
    stages = (REPOSITORY / "dags/example_pipeline_stages.py").read_text()
    for tag in re.findall(r"(?:added|removed) '([\w:]+)'", shown):
        assert f'"{tag}"' in stages


def test_the_port_of_the_page_is_in_the_connection_and_the_address() -> None:
    (start, export, check) = commands("Do it by hand")[1]
    port = shlex.split(start)[-2]
    assert f"127.0.0.1%3A{port}%2Fv1" in export
    assert check.startswith("python -m airflow_provider_paperspace check")
    assert f"<http://127.0.0.1:{port}/>" in PAGE
