"""The front door of the API: which names it has, and what importing it costs."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from airflow_provider_paperspace import api

HTTP_LIBRARIES = {"requests", "urllib3", "aiohttp", "yarl", "httpx", "tenacity"}


def run(code: str) -> Any:
    """Run code in a fresh interpreter; return the JSON that it prints."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", f"import json, sys\n{code}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)  # noqa: S603
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", api.__all__)
def test_each_public_name_resolves(name: str) -> None:
    value = getattr(api, name)
    assert value is getattr(api, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name
        assert value.__module__.startswith("airflow_provider_paperspace.api.")


def test_dir_lists_each_public_name() -> None:
    assert set(api.__all__) <= set(dir(api))
    assert len(set(dir(api))) == len(dir(api))
    assert set(api.__all__) <= set(run("from airflow_provider_paperspace import api; print(json.dumps(dir(api)))"))


def test_public_names_are_unique_and_complete() -> None:
    from airflow_provider_paperspace.api import errors, models

    assert len(set(api.__all__)) == len(api.__all__)
    for module in (errors, models):
        classes = {
            name
            for name, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__
        }
        assert classes <= set(api.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'airflow_provider_paperspace.api' has no attribute 'Nothing'"):
        _ = api.Nothing


def test_importing_loads_no_http_library() -> None:
    loaded = run("import airflow_provider_paperspace.api\nprint(json.dumps(sorted(sys.modules)))")
    assert "airflow_provider_paperspace.api" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in HTTP_LIBRARIES}
    assert not [name for name in loaded if name.startswith("airflow_provider_paperspace.api.")]


def test_values_errors_and_flows_load_no_http_library() -> None:
    names = sorted(set(api.__all__) - {"PaperspaceClient", "AsyncPaperspaceClient"})
    code = f"from airflow_provider_paperspace.api import {', '.join(names)}\nprint(json.dumps(sorted(sys.modules)))"
    assert not {name for name in run(code) if name.partition(".")[0] in HTTP_LIBRARIES | {"airflow"}}


def test_each_client_loads_its_own_library_only() -> None:
    for name, other in (("PaperspaceClient", "aiohttp"), ("AsyncPaperspaceClient", "requests")):
        code = f"from airflow_provider_paperspace.api import {name}\nprint(json.dumps(sorted(sys.modules)))"
        assert not {module for module in run(code) if module.partition(".")[0] in {other, "airflow"}}
