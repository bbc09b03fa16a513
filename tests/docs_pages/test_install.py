"""The page *Install*, as far as it can be run here. ``nox -s package`` installs the wheel on both lines of Airflow."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from airflow.secrets.local_filesystem import LocalFilesystemBackend

from airflow_provider_paperspace import __version__
from airflow_provider_paperspace.hooks.connection import read_connection
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/start/install.md").read_text()


def test_the_wheel_has_the_name_of_this_version() -> None:
    wheels = set(re.findall(r"airflow_provider_paperspace-[\w.-]+\.whl", PAGE))
    assert wheels == {f"airflow_provider_paperspace-{__version__}-py3-none-any.whl"}


def test_the_versions_are_those_of_the_checks() -> None:
    (pair,) = re.findall(r'AIRFLOWS = \("([\d.]+)", "([\d.]+)"\)', (REPOSITORY / "noxfile.py").read_text())
    assert f"on Airflow {pair[0]} and {pair[1]}" in " ".join(PAGE.split())
    assert set(re.findall(r"apache-airflow==([\d.]+)|apache/airflow:([\d.]+)", PAGE)) == {(pair[0], ""), ("", pair[0])}
    (compat,) = re.findall(r"common-compat>=([\d.]+)\.0\n", (REPOSITORY / "setup.cfg").read_text())
    assert f"`apache-airflow-providers-common-compat` {compat} or later" in PAGE


def test_the_connection_of_the_page_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    name, _, value = shlex.split(line)[1].partition("=")
    monkeypatch.setenv(name, value)
    assert PaperspaceHook().settings.client.api_key == "YOUR_KEY"


def test_a_secrets_backend_can_hold_the_connection(tmp_path: Path) -> None:
    (stored,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "connections.json").write_text(json.dumps(json.loads(stored)))
    backend = LocalFilesystemBackend(connections_file_path=str(tmp_path / "connections.json"))
    connection = backend.get_connection("paperspace_default")
    assert connection is not None
    settings = read_connection(connection, connection.extra_dejson)
    assert (settings.client.api_key, settings.client.timeout_s) == ("YOUR_KEY", 10)


def test_all_platforms_are_below_the_note() -> None:
    """Readers must see what was not run."""
    _, _, unchecked = PAGE.partition("was not run by the test suite")
    headings = re.findall(r"^### (.*)", unchecked, re.MULTILINE)
    assert headings == ["Docker image", "Helm chart", "Astro", "Amazon MWAA", "Google Cloud Composer"]
    for section in unchecked.split("\n### ")[1:]:
        assert "](https://" in section, f"{section[:20]}: no link to the platform's own page"
