"""What the tests before have left in the logs and in the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY

if TYPE_CHECKING:
    from tests.e2e.cluster import Cluster
    from tests.e2e.sqlite_airflow import SqliteAirflow

    Deployment = Cluster | SqliteAirflow


def test_the_components_run_the_installed_wheel(deployment: Deployment) -> None:
    printed = deployment.python("import airflow_provider_paperspace as package; print(package.__file__)")
    path = Path(printed.splitlines()[-1])
    assert "site-packages" in path.parts
    assert not path.is_relative_to(REPOSITORY / "airflow_provider_paperspace")


def test_the_key_is_in_no_log_and_no_row(deployment: Deployment) -> None:
    logs = [path for path in deployment.home.rglob("*") if path.suffix in (".log", ".out")]
    assert len(logs) > 10
    assert not [path.name for path in logs if API_KEY.encode() in path.read_bytes()]
    dump = deployment.dump()
    assert "example_pipeline_stages" in dump, "the search would find what is there"
    assert API_KEY not in dump
