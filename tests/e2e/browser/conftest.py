"""One Chromium for all tests of Airflow's UI, and the projects that they show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY
from tests.processes import members_of_sessions
from tests.system.real_airflow import ON_AIRFLOW_2

if ON_AIRFLOW_2:
    collect_ignore_glob = ["test_*.py"]
else:
    from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

    from tests.e2e.browser.airflow_ui import AirflowUi

    expect.set_options(timeout=60_000)  # milliseconds

if TYPE_CHECKING:
    from tests.e2e.cluster import Cluster

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SEED = {
    "team": {"id": "teacme00", "namespace": "acme"},
    "projects": [
        {"id": "prmximcci", "name": "vision-training", "tags": ["team:vision", "gpu"]},
        {"id": "prspeech01", "name": "speech-to-text", "tags": ["team:speech", "stale:2026-01"]},
        {"id": "prranking1", "name": "ranking", "tags": ["production", "stale:2025-11", "stale:2025-12"]},
        {"id": "prgood0001", "name": "good", "tags": []},
        {"id": "prfails001", "name": "fails", "tags": ["gpu"]},
    ],
}


@pytest.fixture(scope="module", autouse=True)
def _world(cluster: Cluster) -> Iterator[None]:
    """Projects and tags as the pictures show them, whatever other tests have left."""
    cluster.paperspace.reset(seed=SEED)
    yield
    cluster.paperspace.reset()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
        (chromium,) = [process["id"] for process in processes if process["type"] == "browser"]
        assert members_of_sessions({chromium}), "Chromium leads a session of its own"
        yield browser
        browser.close()
    assert members_of_sessions({chromium}) == []


@pytest.fixture(scope="package")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder for pictures: that of the documentation if UPDATE_SCREENSHOTS is set."""
    return REPOSITORY / "docs/images" if os.environ.get("UPDATE_SCREENSHOTS") else tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="package")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Windows of a usual size. They share a cache, because the UI's code is large."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, device_scale_factor=2, locale="en-US")
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def ui(context: BrowserContext, cluster: Cluster, pictures: Path) -> Iterator[AirflowUi]:
    page = context.new_page()
    yield AirflowUi(page, cluster.url, pictures)
    page.close()
