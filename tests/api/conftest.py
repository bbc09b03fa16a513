"""Fixtures of the API's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_paperspace.api.settings import ClientSettings
from tests.clients import AsyncClient, Client, SyncClient


@pytest.fixture(params=[SyncClient, AsyncClient], ids=["sync", "async"])
def make_client(request: pytest.FixtureRequest) -> Callable[[ClientSettings], Client]:
    """The constructor of each of the two clients in turn, for a test with settings of its own."""
    make_client: Callable[[ClientSettings], Client] = request.param
    return make_client
