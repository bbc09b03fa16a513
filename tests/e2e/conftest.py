"""The one deployment of all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.system.real_airflow import ON_AIRFLOW_2

if TYPE_CHECKING:
    from tests.e2e.cluster import Cluster
    from tests.e2e.sqlite_airflow import SqliteAirflow

LAST = "test_what_is_left.py"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Airflow 3 with PostgreSQL, Redis and two Celery workers."""
    from tests.e2e.cluster import Cluster

    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def deployment(request: pytest.FixtureRequest) -> Iterator[Cluster | SqliteAirflow]:
    """The cluster, or Airflow 2 on SQLite."""
    from tests.e2e.sqlite_airflow import SqliteAirflow

    if ON_AIRFLOW_2:
        with SqliteAirflow() as airflow_2:
            yield airflow_2
    else:
        yield request.getfixturevalue("cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Look for the key once all other tests are through. Each test may take as long as what it waits for."""
    items.sort(key=lambda item: item.path.name == LAST)
    for item in items:
        item.add_marker(pytest.mark.timeout(1500))
