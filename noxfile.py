"""All checks, each in an environment made for it. ``make test`` runs them, several at a time."""

from __future__ import annotations

import configparser
import gzip
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import nox

AIRFLOW_3, AIRFLOW_2 = AIRFLOWS = ("3.3.2", "2.11.2")
OTHER_PYTHONS = ("3.12", "3.13")
# The environment of the tests on Airflow 3, which two more sessions use.
PYTHON_OF_TESTS = f".nox/tests-airflow-{AIRFLOW_3.replace('.', '-')}/bin/python"
PACKAGE = "airflow_provider_paperspace"
# The wheel may have changed, and has the same name.
REINSTALL = ("--reinstall-package", "airflow-provider-paperspace")
# The tests that start a complete Airflow mostly wait, so `make test` runs them beside the others. `make e2e` is another
# command, because it needs more programs.
WITHOUT_SYSTEM = ("tests", "--ignore=tests/system", "--ignore=tests/e2e")
# What knows no Airflow. The session with the lowest versions runs it on Airflow 2.11.
CORE = ("tests/api", "tests/rules", "tests/emulator")
CLUSTER = (
    *(f"apache-airflow-providers-{name}" for name in ("celery", "http", "postgres")),
    "celery<5.7",  # the newest provider cannot be imported with 5.7
    "psycopg2-binary",
    "redis",
    "pillow",
    "playwright",
)
E2E_TESTS = {
    AIRFLOW_3: ("tests/e2e", "--ignore=tests/e2e/alone"),
    AIRFLOW_2: ("tests/e2e/test_example_dags.py", "tests/e2e/test_what_is_left.py"),
}

if shutil.which("pyenv"):  # its python3.12 runs only if that version is switched on
    versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    os.environ["PYENV_VERSION"] = ":".join(line.strip() for line in versions.splitlines() if line.strip()[:2] == "3.")

# Compile each module once: these checks start Airflow many times.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

PROJECT = nox.project.load_toml("pyproject.toml")


def tools(group: str) -> tuple[str, ...]:
    """Return the requirements of a group of tools, which has their versions."""
    return nox.project.dependency_groups(PROJECT, group)


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff, and the import contracts."""
    session.install(*tools("lint"), f"apache-airflow=={AIRFLOW_3}", "-e", ".[emulator]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo")


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy --strict over the package."""
    session.install(*tools("types"), f"apache-airflow=={AIRFLOW_3}", "-e", ".[emulator]")
    session.run("mypy", "--strict")


@nox.session
@nox.parametrize("airflow", AIRFLOWS)
def tests(session: nox.Session, airflow: str) -> None:
    """Run the tests on an Airflow line, those of the core on Airflow 3 only."""
    session.install(f"apache-airflow=={airflow}", "-e", ".[test]")
    without_core = () if airflow == AIRFLOW_3 else (f"--ignore={folder}" for folder in CORE)
    session.run("pytest", "-q", *(session.posargs or (*WITHOUT_SYSTEM, *without_core)))


@nox.session(venv_backend="none")
def coverage(session: nox.Session) -> None:
    """Run the tests that measure coverage, on Airflow 3, and require it."""
    data = f"--data-file={Path(session.create_tmp()).resolve() / 'coverage'}"

    def run(*command: str) -> None:
        session.run(PYTHON_OF_TESTS, "-m", "coverage", *command)

    run("erase", data)
    run("run", data, "-m", "pytest", "-q", *WITHOUT_SYSTEM, "-m", "not uncovered")
    run("combine", "-q", data)
    run("report", data, f"--include={PACKAGE}/api/*,{PACKAGE}/rules/*", "--fail-under=100")
    run("report", data, "--fail-under=95")


@nox.session(venv_backend="none")
def uncovered(session: nox.Session) -> None:
    """Run the tests that measure no coverage, on Airflow 3."""
    session.run(PYTHON_OF_TESTS, "-m", "pytest", "-q", *WITHOUT_SYSTEM, "-m", "uncovered")


@nox.session(python=OTHER_PYTHONS)
def pythons(session: nox.Session) -> None:
    """Run the tests on the other Pythons, with Airflow 3.3; without long tables, and without complete Airflows."""
    session.install(f"apache-airflow=={AIRFLOW_3}", "-e", ".[test]")
    session.run("pytest", "-q", *(session.posargs or (*WITHOUT_SYSTEM, "-m", "not uncovered")))
    if not session.posargs:
        session.run("pytest", "-q", "tests/test_example_dags.py", "tests/docs_pages/test_faq.py", "-m", "uncovered")


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests of core, emulator and hook with the oldest versions that setup.cfg allows."""
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", "-q", *(session.posargs or (*CORE, "tests/hooks")))


@nox.session
def distributions(session: nox.Session) -> None:
    """Build the sdist and the wheel in dist/, once more elsewhere, and check what they hold and that they are equal."""
    session.install(*tools("dist"))
    work = Path(session.create_tmp()).resolve()
    epoch = time_of_last_commit()
    os.umask(0o022)  # the wheel keeps the modes of its files
    built = {"first": Path("dist").resolve(), "second": work / "dist"}
    for number, (name, out) in enumerate(built.items()):
        shutil.rmtree(out, ignore_errors=True)
        sources = work / name
        copy_sources(sources, modified=epoch + number * 86_400)
        # The first wheel is built from its sdist, the second from the sources.
        what = ("--sdist", "--wheel") if number else ()
        command = ("python", "-m", "build", "--installer", "uv", *what, "--outdir", str(out), str(sources))
        session.run(*command, silent=True, env={"SOURCE_DATE_EPOCH": str(epoch)})
        for sdist in out.glob("*.tar.gz"):
            normalize(sdist, epoch)
    session.run("twine", "check", "--strict", *map(str, built["first"].iterdir()), silent=True)
    folders = {f"{name.upper()}_BUILD": str(out) for name, out in built.items()}
    # The settings in setup.cfg need Airflow, and so does conftest.py.
    alone = ("-c", os.devnull, "--rootdir", ".", "--noconftest", "-p", "no:cacheprovider")
    session.run("pytest", "-q", *alone, "tests/check_distributions.py", env=folders)


def time_of_last_commit() -> int:
    """Return ``SOURCE_DATE_EPOCH``, or the time of the last commit; outside a checkout, a time that never changes."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "--git-dir=.git", "log", "-1", "--format=%ct"]  # not of a checkout around this one
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return int(run.stdout or 1_600_000_000)


def copy_sources(into: Path, *, modified: int) -> None:
    """Copy the repository without what was made in it. In the README, which PyPI shows, make the links absolute."""
    shutil.rmtree(into, ignore_errors=True)
    made_here = [line.strip("/").rpartition("/")[2] for line in Path(".gitignore").read_text().splitlines()]
    shutil.copytree(".", into, ignore=shutil.ignore_patterns(".git", *made_here), ignore_dangling_symlinks=True)
    settings = configparser.ConfigParser()
    settings.read("setup.cfg")
    (source,) = re.findall(r"^Source = (.+)$", settings["metadata"]["project_urls"], re.MULTILINE)
    (version,) = re.findall(r'__version__ = "(.+)"', Path(PACKAGE, "__init__.py").read_text())
    readme = into / "README.md"
    absolute = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\1{source}/raw/v{version}/", readme.read_text())
    readme.write_text(re.sub(r"\]\((?!https?:|#)", f"]({source}/blob/v{version}/", absolute))
    for path in into.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (modified, modified))


def normalize(sdist: Path, epoch: int) -> None:
    """Write an sdist again without what setuptools takes from the machine: times, owner and order of the files."""
    with tarfile.open(sdist) as built:
        files = sorted(((member, built.extractfile(member)) for member in built), key=lambda file: file[0].name)
        packed = sdist.with_suffix(".tmp")
        with (
            packed.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=epoch) as compressed,
            tarfile.open(fileobj=compressed, mode="w") as again,
        ):
            for member, content in files:
                member.mtime, member.pax_headers = epoch, {}
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                again.addfile(member, content)
    packed.replace(sdist)


def built_wheel() -> Path:
    """Return the wheel that the session ``distributions`` has built."""
    (wheel,) = Path("dist").resolve().glob("*.whl")
    return wheel


@nox.session(requires=["distributions"])
@nox.parametrize("airflow", AIRFLOWS)
def package(session: nox.Session, airflow: str) -> None:
    """Install the wheel without the sources, and see what Airflow and the command lines make of it."""
    session.install(*REINSTALL, f"apache-airflow=={airflow}", f"{built_wheel()}[emulator]")
    work = Path(session.create_tmp()).resolve()
    settings = {"AIRFLOW_HOME": str(work / "airflow"), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    settings["AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY"] = "True"
    check = Path("tests/check_installed.py").resolve()
    session.chdir(work)
    session.run("python", str(check), env=settings)


@nox.session
@nox.parametrize("airflow", AIRFLOWS)
def e2e(session: nox.Session, airflow: str) -> None:
    """Run the wheel in a complete Airflow: 3.3 with PostgreSQL, Redis and two Celery workers, 2.11 with SQLite."""
    missing = [package for package in ("redis-server", "chromium") if not shutil.which(package)]
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):  # where Debian puts what it keeps off the PATH
        missing.append("postgresql")
    if missing and airflow == AIRFLOW_3:
        session.error(f"The end-to-end tests need more programs. On Debian: apt-get install {' '.join(missing)}")
    extras = CLUSTER if airflow == AIRFLOW_3 else ()
    session.install(*REINSTALL, f"apache-airflow=={airflow}", f"{built_wheel()}[test]", *extras)
    if session.posargs == ["--measure"]:
        session.run("python", "-m", "tests.e2e.mapped_tasks")
    else:
        session.run("pytest", "-q", *(session.posargs or E2E_TESTS[airflow]))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, in which a warning is an error, and check its links."""
    session.install(*tools("docs"), f"apache-airflow=={AIRFLOW_3}", "-e", ".[emulator]")
    home = {"AIRFLOW_HOME": str(Path(session.create_tmp()).resolve() / "airflow")}
    for made in ("docs/_build", "docs/reference/python"):  # with pages of what may be gone
        shutil.rmtree(made, ignore_errors=True)
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build", env=home)
    session.run("python", "tests/site_links.py", "docs/_build")
    session.log("The documentation is in docs/_build/index.html.")
