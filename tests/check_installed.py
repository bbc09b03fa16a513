"""What a user gets who installs the wheel: this runs without the sources, in an environment with an Airflow.

``nox -s package`` runs it, on both Airflow lines.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from importlib.metadata import metadata, version
from pathlib import Path

from airflow.providers_manager import ProvidersManager

import airflow_provider_paperspace
from airflow_provider_paperspace.operators import project_tags

NAME = "airflow-provider-paperspace"
PACKAGE = "airflow_provider_paperspace"
# Airflow 3 brings these packages of the extra `emulator` itself.
WITHOUT_EXTRA = "import runpy, sys; sys.modules.update(starlette=None, uvicorn=None); sys.argv[1:] = {}; "
WITHOUT_EXTRA += "runpy.run_module({!r}, run_name='__main__', alter_sys=True)"


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_EXTRA.format(list(arguments), module)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603


def check_the_package_comes_from_the_wheel() -> None:
    for module in (airflow_provider_paperspace, project_tags):
        assert Path(sys.prefix) in Path(str(module.__file__)).parents, module


def check_airflow_describes_the_provider() -> None:
    provider = ProvidersManager().providers[NAME]
    assert provider.version == version(NAME) == airflow_provider_paperspace.__version__
    assert provider.data["name"] == "Paperspace"
    assert "https://www.paperspace.com/" in provider.data["description"]
    if version("apache-airflow") >= "3":
        urls = dict(url.split(", ") for url in metadata(NAME).get_all("Project-URL") or ())
        assert provider.data["documentation-url"] == urls["Documentation"]


def check_airflow_finds_the_hook() -> None:
    hook = ProvidersManager().hooks["paperspace"]
    assert hook, "the hook cannot be imported"
    assert hook.hook_class_name == f"{PACKAGE}.hooks.paperspace.PaperspaceHook", hook


def check_the_command_line_needs_no_extra() -> None:
    shown = run(PACKAGE, "--help")
    assert shown.returncode == 0, shown.stderr
    for command in ("check", "probe", "tags"):
        assert re.search(rf"^ +{command}\b", shown.stdout, re.MULTILINE), shown.stdout


def check_the_local_paperspace_asks_for_its_extra() -> None:
    refused = run(f"{PACKAGE}.emulator", "--port", "0")
    assert refused.returncode == 2, refused
    assert f"pip install '{NAME}[emulator]'" in refused.stderr


def check_the_local_paperspace_starts_with_its_extra() -> None:
    command = [sys.executable, "-m", f"{PACKAGE}.emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            line = next(line for line in server.stdout or () if "http://" in line)
            (url,) = re.findall(r"http://127\.0\.0\.1:\d+", line)
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{url}/", timeout=60) as answer:
                assert answer.status == 200
        finally:
            server.terminate()


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print(f"passed: {name.removeprefix('check_').replace('_', ' ')}")
