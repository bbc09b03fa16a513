"""Pytest fixtures for testing your own DAGs without an account.

Every pytest run loads this plugin when the provider is installed, so it imports nothing until a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer


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
    """Return the id of a connection to it, ``paperspace_default``, set by an environment variable."""
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", paperspace_server.connection_json())
    return "paperspace_default"
