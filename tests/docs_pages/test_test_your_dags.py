"""The page *Test your DAGs*, as a user follows it: a project of its own, and pytest in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.uncovered

PAGE = (REPOSITORY / "docs/how-to/test-your-dags.md").read_text()
PROJECT = Path(__file__).parent / "user_project"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder of a copy of the project of the page."""
    return Path(shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__")))


def run_pytest(project: Path, *arguments: str, **environment: str) -> str:
    """Run pytest as a user does, and return what it prints."""
    return subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=project,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


@pytest.mark.timeout(300)
def test_the_project_of_the_page_passes_its_tests(project: Path, tmp_path: Path) -> None:
    """With the environment of somebody who works with a real Airflow, which must remain untouched."""
    (project / "tests/test_operator.py").write_text(block("python"))
    (project / "tests/conftest.py").write_text(
        "import os\n\n\ndef pytest_sessionfinish():\n    print('HOME', os.environ['AIRFLOW_HOME'])\n"
    )
    real = tmp_path / "real"
    printed = run_pytest(
        project,
        "-s",
        AIRFLOW_HOME=str(real),
        AIRFLOW_CONN_PAPERSPACE_DEFAULT="paperspace://:real-key@",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{real}/real.db",
    )
    assert "3 passed" in printed, printed
    assert not real.exists()
    assert not Path(re.findall(r"HOME (\S+)", printed)[0]).exists(), "it is deleted at the end"


def test_the_setting_may_be_in_pyproject_toml(project: Path) -> None:
    (project / "pytest.ini").unlink()
    (project / "pyproject.toml").write_text(block("toml"))
    (project / "tests/test_release.py").write_text(
        "import os\n\n\ndef test_it(pytestconfig):\n"
        "    assert pytestconfig.getini('paperspace_dags') == [pytestconfig.rootpath / 'dags']\n"
        "    assert os.environ['AIRFLOW__CORE__DAGS_FOLDER'] == str(pytestconfig.rootpath / 'dags')\n"
    )
    assert "1 passed" in run_pytest(project)


def test_without_the_setting_the_fixture_names_it(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\n")
    printed = run_pytest(project)
    assert "2 errors" in printed
    assert "Set paperspace_dags in your pytest configuration to the folder with your DAG files" in printed


def test_without_the_setting_nothing_is_changed(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "tests/test_release.py").write_text(
        "import os, sys\n\n\ndef test_it():\n    assert os.environ['AIRFLOW_HOME'] == 'mine'\n"
        "    assert 'airflow' not in sys.modules\n"
    )
    assert "1 passed" in run_pytest(project, AIRFLOW_HOME="mine")


def test_an_airflow_that_is_imported_too_early_stops_pytest(project: Path) -> None:
    (project / "early.py").write_text("import airflow\n")
    printed = run_pytest(project, "-p", "early", AIRFLOW_HOME=str(project / "home"))
    assert "paperspace_dags is set, but Airflow was imported before pytest read this setting" in printed


@pytest.mark.timeout(300)
def test_a_file_without_one_dag_is_named(project: Path) -> None:
    two = "from airflow.providers.common.compat.sdk import DAG\n\none, two = DAG('one'), DAG('two')\n"
    files = {"broken": "from airflow import no_such_dag\n", "empty": "# no airflow dag\n", "two": two}
    for name, source in files.items():
        (project / f"dags/{name}.py").write_text(source)
    tests = [f"def test_{name}(run_dag):\n    run_dag('dags/{name}.py')\n" for name in (*files, "missing")]
    (project / "tests/test_release.py").write_text("\n\n".join(tests))
    printed = run_pytest(project)
    for complaint in (
        "dags/broken.py cannot be imported:",
        "dags/empty.py must contain one DAG; found: none.",
        "dags/two.py must contain one DAG; found: 'one', 'two'. If the file has several, pass the DAG object itself.",
        "There is no file",
    ):
        assert complaint in printed, printed


def test_the_page_shows_the_setting_of_the_project() -> None:
    assert block("ini") == (PROJECT / "pytest.ini").read_text()


def block(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(code)
