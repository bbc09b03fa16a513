"""What an import loads: a DAG file is parsed every few seconds, and Airflow loads the provider at every start."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = {"airflow", "requests", "httpx", "aiohttp", "urllib3", "tenacity", "starlette", "uvicorn", "pytest"}
OPERATORS = """
from airflow_provider_paperspace import assets; assets.project_asset("p1")
from airflow_provider_paperspace.hooks import connection, paperspace
from airflow_provider_paperspace.links import paperspace
from airflow_provider_paperspace.notifications import project_tags
from airflow_provider_paperspace.operators import clean_up, lease, project_tags, projects
from airflow_provider_paperspace.sensors import project_tags
from airflow_provider_paperspace.triggers import project_tags
"""
DAG = "from airflow.providers.common.compat.sdk import DAG; DAG"


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after this code."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    quiet = {**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)  # noqa: S603
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module",
    [
        "airflow_provider_paperspace",
        "airflow_provider_paperspace.provider_info",
        "airflow_provider_paperspace.api",
        "airflow_provider_paperspace.assets",
        "airflow_provider_paperspace.emulator",
    ],
)
def test_a_module_loaded_at_every_start_is_light(module: str) -> None:
    assert not HEAVY & loaded_by(f"import {module}")


@pytest.mark.parametrize("module", ["models", "errors", "project_tags", "projects", "client", "async_client"])
def test_the_api_needs_no_airflow(module: str) -> None:
    assert "airflow" not in loaded_by(f"import airflow_provider_paperspace.api.{module}")


def test_a_dag_file_loads_no_http_library() -> None:
    with_ours, without = loaded_by(f"{DAG}\n{OPERATORS}"), loaded_by(DAG)
    assert not {"requests", "httpx", "aiohttp", "yarl", "urllib3", "tenacity", "certifi", "asgiref"} & (
        with_ours - without
    )
    assert "airflow_provider_paperspace" in with_ours


def test_an_import_gives_no_warning() -> None:
    modules = [
        "hooks.paperspace",
        "operators.project_tags",
        "__main__",
        "api.client",
        "api.async_client",
        "emulator.server",
    ]
    code = "import warnings\nwarnings.simplefilter('ignore')\n" + DAG
    code += "\nimport importlib\nwith warnings.catch_warnings():\n    warnings.simplefilter('error')\n"
    code += f"    [importlib.import_module('airflow_provider_paperspace.' + name) for name in {modules}]"
    assert "airflow" in loaded_by(code)
