"""All checks, each in an environment made for it. ``make test`` runs them, three at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import nox

AIRFLOW_3, AIRFLOW_2 = AIRFLOWS = ("3.3.2", "2.11.2")
OTHER_PYTHONS = ("3.12", "3.13")
PACKAGE = "airflow_provider_paperspace"
# The tests that start a whole Airflow mostly wait, so `make test` runs them beside the others.
WITHOUT_SYSTEM = ("tests", "--ignore=tests/system")
# What knows no Airflow. The session with the lowest versions runs it on Airflow 2.11.
CORE = ("tests/api", "tests/rules", "tests/emulator")

if shutil.which("pyenv"):  # its python3.12 runs only if that version is switched on
    versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    os.environ["PYENV_VERSION"] = ":".join(line.strip() for line in versions.splitlines() if line.strip()[:2] == "3.")

# Compile each module once: these checks start Airflow many times.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff, and the import contracts."""
    session.install("ruff", "import-linter", f"apache-airflow=={AIRFLOW_3}", "-e", ".[emulator]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo")


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy --strict over the package."""
    session.install("mypy", "types-requests", "pytest", f"apache-airflow=={AIRFLOW_3}", "-e", ".[emulator]")
    session.run("mypy", "--strict")


@nox.session
@nox.parametrize("airflow", AIRFLOWS)
def tests(session: nox.Session, airflow: str) -> None:
    """Run the tests on an Airflow line; on Airflow 3, require a coverage, which costs half as much time again."""
    session.install(f"apache-airflow=={airflow}", "-e", ".[test]")
    if airflow != AIRFLOW_3 or session.posargs:
        without_core = (f"--ignore={folder}" for folder in CORE)
        session.run("pytest", "-q", *(session.posargs or (*WITHOUT_SYSTEM, *without_core)))
        return
    data = Path(session.create_tmp()) / "coverage"
    session.run("coverage", "erase", f"--data-file={data}")
    session.run("coverage", "run", f"--data-file={data}", "-m", "pytest", "-q", *WITHOUT_SYSTEM)
    session.run("coverage", "combine", "-q", f"--data-file={data}")
    core = f"--include={PACKAGE}/api/*,{PACKAGE}/rules/*"
    session.run("coverage", "report", f"--data-file={data}", core, "--fail-under=100")
    session.run("coverage", "report", f"--data-file={data}", "--fail-under=95")


@nox.session(python=OTHER_PYTHONS)
def pythons(session: nox.Session) -> None:
    """Run the tests on the other Pythons, with Airflow 3.3; without those that start a whole Airflow."""
    session.install(f"apache-airflow=={AIRFLOW_3}", "-e", ".[test]")
    session.run("pytest", "-q", *(session.posargs or WITHOUT_SYSTEM))


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests of core, emulator and hook with the oldest versions that setup.cfg allows."""
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", "-q", *(session.posargs or (*CORE, "tests/hooks")))


@nox.session
@nox.parametrize("airflow", AIRFLOWS)
def package(session: nox.Session, airflow: str) -> None:
    """Build the wheel, install it without the sources, and let Airflow list the provider."""
    session.install("build")
    out = Path(session.create_tmp()) / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out), silent=True)
    (wheel,) = out.glob("*.whl")
    session.install(f"apache-airflow=={airflow}", str(wheel))
    home = Path(session.create_tmp()).resolve() / "airflow"
    session.chdir(session.create_tmp())
    quiet = {"AIRFLOW_HOME": str(home), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    quiet["AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY"] = "True"
    listed = session.run("airflow", "providers", "hooks", "-o", "json", silent=True, env=quiet)
    hooks = {hook["connection_type"]: hook["class"] for hook in json.loads(str(listed).strip().splitlines()[-1])}
    if hooks.get("paperspace") != f"{PACKAGE}.hooks.paperspace.PaperspaceHook":
        session.error(f"Airflow {airflow} does not find the hook in the wheel: {hooks}")
    session.run("python", "-c", f"import {PACKAGE}.operators.project_tags as m; print(m.__file__)", env=quiet)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install("sphinx", "myst-parser", "furo", f"apache-airflow=={AIRFLOW_3}", "-e", ".[emulator]")
    home = {"AIRFLOW_HOME": str(Path(session.create_tmp()).resolve() / "airflow")}
    session.run("sphinx-build", "-q", "-W", "-b", "html", "docs", "docs/_build", env=home)
    session.log("The documentation is in docs/_build/index.html.")
