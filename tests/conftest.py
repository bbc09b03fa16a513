"""What every test stands on: an Airflow of its own, a local Paperspace, and the watch for leaked keys."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent

# Airflow reads it when it is imported; where it keeps all else is for the plugin to say, see setup.cfg.
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "DEBUG"
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

import hypothesis  # noqa: E402  # after the settings
import pytest  # noqa: E402

from airflow_provider_paperspace.api.settings import ClientSettings  # noqa: E402
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer  # noqa: E402
from tests.clients import AsyncClient, Client, SyncClient  # noqa: E402
from tests.secret_watch import API_KEY, SecretWatch, shows_the_key  # noqa: E402

# A busy machine is slow, which is not a fault of what runs on it.
hypothesis.settings.register_profile(
    "busy", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

# A shell starts its background jobs with SIGINT ignored, and what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep Airflow's modules and the collected tests out of later garbage collections, which they slow down a lot."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Keep what Airflow logs when Python ends out of the report: the stream is closed by then."""
    logging.raiseExceptions = False


@pytest.fixture(scope="session")
def _local_paperspace() -> Iterator[LocalPaperspaceServer]:
    """The server behind the plugin's fixtures, with the key that the watch looks for."""
    with LocalPaperspaceServer(api_key=API_KEY) as server:
        yield server


@pytest.fixture
def server(paperspace_server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    # Some tests put a record in its place that sends signals, which must not reach the tests after them.
    monkeypatch.setattr(paperspace_server.app, "requests", deque())
    paperspace_server.reset(seed={"projects": [{"id": "p1", "name": "one", "tags": ["gpu"]}]})
    return paperspace_server


@pytest.fixture
def settings(server: LocalPaperspaceServer) -> ClientSettings:
    return ClientSettings(api_key=API_KEY, base_url=server.url, timeout_s=30, name="paperspace_default")


@pytest.fixture
def connection(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a connection to ``server``, which gives up after two attempts."""
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json(max_attempts=2, timeout=30))
    return "paperspace_default"


@pytest.fixture(params=[SyncClient, AsyncClient], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, settings: ClientSettings, server: LocalPaperspaceServer) -> Iterator[Client]:
    """Each of the two clients in turn, called alike. It never sleeps; what it would have slept is in ``slept``."""
    with request.param(settings, on_sleep=server.restore) as client:
        yield client


@pytest.fixture(autouse=True)
def secret_watch() -> Iterator[SecretWatch]:
    """Fail any test that shows the API key anywhere."""
    watch = SecretWatch()
    with watch.watching():
        yield watch
    assert not watch.found, f"the API key leaked: {watch.found}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Search what a test printed, too, and what a failure shows."""
    report = yield
    shown = report.capstdout + report.capstderr + report.caplog + report.longreprtext
    if shows_the_key(shown) and report.outcome == "passed":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: the API key was printed"
    return report
