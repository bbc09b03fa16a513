"""The page *Share a rate limit*: its command and its DAG."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_paperspace.emulator.pytest_plugin import run_in_process
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.conftest import REPOSITORY
from tests.test_example_dags import load

pytestmark = pytest.mark.uncovered

PAGE = (REPOSITORY / "docs/how-to/share-a-rate-limit.md").read_text()


@pytest.mark.timeout(300)
def test_the_tasks_of_the_page_run_in_its_pool(
    server: LocalPaperspaceServer, connection: str, airflow_db: Path
) -> None:
    (command,) = re.findall(r"^\$ (airflow pools set .*)$", PAGE, re.MULTILINE)
    arguments = [*shlex.split(command)[1:], "--include-deferred"]
    subprocess.run([sys.executable, "-m", "airflow", *arguments], check=True, capture_output=True)  # noqa: S603
    server.reset(seed={"projects": [{"id": id_, "tags": []} for id_ in ("p1", "p2", "p3")]})

    dag = load("tests/dags/shared_rate_limit.py").dag
    assert run_in_process(dag).state == "success"

    with sqlite3.connect(airflow_db) as database:
        ((pool, slots),) = database.execute("SELECT pool, slots FROM slot_pool WHERE pool = 'paperspace'").fetchall()
        query = "SELECT DISTINCT task_id, pool, pool_slots FROM task_instance WHERE dag_id = 'shared_rate_limit'"
        tasks = {task_id: taken for task_id, *taken in database.execute(query)}
    database.close()
    assert slots == 2
    assert tasks == {"tag_all": [pool, 2], "list_one": [pool, 1]}
