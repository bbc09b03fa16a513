"""What strangers and machines read: the package's addresses, the workflows, the hooks and the tools' versions."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_paperspace import __version__
from tests.conftest import REPOSITORY

GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
NOXFILE = (REPOSITORY / "noxfile.py").read_text()
GROUPS: dict[str, list[str]] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]


def read(path: str) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text())


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield f"{path.stem}: {name}", job


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    return job.get("steps", [])


RELEASE = read(".github/workflows/release.yml")
# YAML 1.1 reads the key `on` as true.
RELEASE_ON = RELEASE[True]


def test_every_action_is_pinned_by_its_commit() -> None:
    lines = [line for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
    used = [line.split("uses:")[1].strip() for line in lines]
    pinned = [re.fullmatch(r"([\w-]+/[\w-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used]
    local = [action for action, pin in zip(used, pinned, strict=True) if not pin]
    assert local == ["./.github/workflows/ci.yml"]
    assert len(used) > 6
    names = {action: pin[1] for action, pin in zip(used, pinned, strict=True) if pin}
    assert len(set(names.values())) == len(names), "one action has one commit and one version everywhere"


def test_no_job_may_do_more_than_it_needs() -> None:
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text())["permissions"] == {}, path.name
    granted = {name: job["permissions"] for name, job in jobs()}
    assert granted.pop("release: publish") == {"id-token": "write"}
    assert set(map(str, granted.values())) == {"{'contents': 'read'}"}


def test_no_workflow_knows_a_secret_or_keeps_a_token() -> None:
    for path in WORKFLOWS:
        assert "secrets" not in path.read_text().replace("No secret is stored", ""), path.name
        assert not {"pull_request_target", "workflow_run"} & set(yaml.safe_load(path.read_text())[True]), path.name
    checkouts = [step for _, job in jobs() for step in steps(job) if "actions/checkout@" in step.get("uses", "")]
    assert len(checkouts) == 3
    assert [step["with"] for step in checkouts] == [{"persist-credentials": False}] * 3


def test_no_script_contains_text_of_an_event() -> None:
    scripts = [step["run"] for _, job in jobs() for step in steps(job) if "run" in step]
    assert len(scripts) > 3
    assert [script for script in scripts if "${{" in script] == []


def test_every_job_ends_after_a_while() -> None:
    assert {name: job["timeout-minutes"] <= 60 for name, job in jobs() if "uses" not in job} == {
        "ci: checks": True,
        "ci: pythons": True,
        "release: build": True,
        "release: publish": True,
    }


def test_a_release_publishes_what_was_built_and_checked() -> None:
    assert RELEASE_ON == {"push": {"tags": ["v*"]}}
    build, publish = RELEASE["jobs"]["build"], RELEASE["jobs"]["publish"]
    assert RELEASE["jobs"]["checks"]["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in read(".github/workflows/ci.yml")[True]
    assert publish["needs"] == ["checks", "build"]
    assert publish["environment"]["name"] == "pypi"
    assert [step["run"] for step in steps(build) if "run" in step][-1] == "make dist"
    assert not any("run" in step or "checkout" in step["uses"] for step in steps(publish))
    upload, download = steps(build)[-1]["with"], steps(publish)[0]["with"]
    assert {key: upload[key] for key in download} == download
    assert steps(publish)[-1]["with"]["attestations"] is True


@pytest.mark.parametrize("tag", [f"v{__version__}", f"v{__version__}.1", __version__, "v", "vnext", "v$(false)"])
def test_a_tag_that_is_not_the_version_ends_a_release(tag: str) -> None:
    (guard,) = [step for step in steps(RELEASE["jobs"]["build"]) if "TAG" in step.get("env", {})]
    assert guard["env"] == {"TAG": "${{ github.ref_name }}"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-e", "-c", guard["run"]]
    run = subprocess.run(  # noqa: S603
        command, cwd=REPOSITORY, env={"PATH": path, "TAG": tag}, capture_output=True, text=True, check=False
    )
    if tag == f"v{__version__}":
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    else:
        assert run.returncode == 1
        assert f"The tag is {tag}, but the version" in run.stdout
        assert f"is {__version__}." in run.stdout


def test_ci_runs_all_checks_on_all_tested_pythons() -> None:
    checks, pythons = (job for name, job in jobs() if name.startswith("ci: "))
    assert [step["run"] for step in steps(checks) if "run" in step] == [".ci/run"]
    assert re.findall(r"^make [\w-]+", (REPOSITORY / ".ci/run").read_text(), re.MULTILINE) == [
        "make test",
        "make test-pythons",
        "make e2e",
    ]
    assert [step["run"] for step in steps(pythons) if "run" in step] == ["make test-pythons"]
    (others,) = re.findall(r"OTHER_PYTHONS = \((.*)\)", NOXFILE)
    (versions,) = [step["with"]["python-version"] for step in steps(pythons) if "setup-python" in step.get("uses", "")]
    assert sorted(versions.split()) == ["3.11", *re.findall(r"[\d.]+", others)]


def test_updates_come_weekly_in_groups_after_a_week() -> None:
    updates = {update["package-ecosystem"]: update for update in read(".github/dependabot.yml")["updates"]}
    assert set(updates) == {"github-actions", "pip"}
    for update in updates.values():
        assert update["directory"] == "/"
        assert update["schedule"] == {"interval": "weekly"}
        assert update["cooldown"]["default-days"] >= 7
        assert [group["patterns"] for group in update["groups"].values()] == [["*"]]


def test_the_hooks_run_the_commands_of_make_lint() -> None:
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local", "the versions are in pyproject.toml alone"
    of_hooks = set()
    for hook in repository["hooks"]:
        tool, *arguments = shlex.split(hook["entry"])
        folder, group, _, name = tool.split("/")
        assert folder == ".nox"
        package = {"lint-imports": "import-linter"}.get(name, name)
        assert package in [requirement.partition("==")[0] for requirement in GROUPS[group]]
        of_hooks.add((group, name, *(argument for argument in arguments if argument != "--force-exclude")))
    of_nox = set()
    for session in ("lint", "types"):
        body = NOXFILE.partition(f"\ndef {session}(")[2].partition("\n\n\n")[0]
        for arguments in re.findall(r"session\.run\((.*)\)", body):
            words = re.findall(r'"([^"]+)"', arguments)
            of_nox.add((session, *(word for word in words if word not in (".", "--check"))))
    assert of_hooks == of_nox


def test_every_tool_has_one_version_in_one_place() -> None:
    assert set(re.findall(r'\*tools\("(\w+)"\)', NOXFILE)) == set(GROUPS)
    requirements = [requirement for group in GROUPS.values() for requirement in group]
    assert {requirement for requirement in requirements if "==" not in requirement} == {"pytest>=8.4"}
    assert "pytest>=8.4" in (REPOSITORY / "setup.cfg").read_text()


def test_the_documentation_is_built_as_make_docs_does() -> None:
    settings = read(".readthedocs.yaml")
    assert settings["sphinx"] == {"configuration": "docs/conf.py", "fail_on_warning": True}
    assert (REPOSITORY / "docs/conf.py").exists()
    install = settings["build"]["jobs"]["install"][-1]
    assert shlex.split(install) == ["python", "-m", "pip", "install", "--group", "docs", ".[emulator]"]
    assert "docs" in GROUPS


def test_the_addresses_of_the_project_are_in_one_place() -> None:
    settings = configparser.ConfigParser()
    settings.read(REPOSITORY / "setup.cfg")
    urls = dict(line.split(" = ") for line in settings["metadata"]["project_urls"].split("\n") if line)
    source, documentation = urls["Source"], urls["Documentation"]
    assert urls == {
        "Documentation": documentation,
        "Source": source,
        "Changelog": f"{source}/blob/main/CHANGELOG.md",
        "Bug Tracker": f"{source}/issues",
    }
    assert source.startswith("https://github.com/")
    patterns = ("*.md", "*.py", "*.in", "*.toml", "docs/*", "dags/*", "tests/**/*.py", ".github/**/*.yml", ".*.yaml")
    patterns += ("airflow_provider_paperspace/**/*.py",)
    # In an sdist, which has a PKG-INFO, the links of the README are absolute.
    made = {REPOSITORY / "README.md"} if (REPOSITORY / "PKG-INFO").exists() else set()
    files = {path for pattern in patterns for path in REPOSITORY.glob(pattern) if path.is_file()} - made
    assert len(files) > 100
    assert [path for path in files for url in (source, documentation) if url.strip("/") in path.read_text()] == []


def test_a_bug_report_sends_vulnerabilities_elsewhere() -> None:
    form = read(".github/ISSUE_TEMPLATE/bug.yml")
    assert {"name", "description", "body"} == set(form)
    assert "SECURITY.md" in form["body"][0]["attributes"]["value"]
    assert (REPOSITORY / "SECURITY.md").exists()


def test_make_clean_removes_all_that_git_ignores(tmp_path: Path) -> None:
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert len(ignored) > 10
    for pattern in ignored:
        (tmp_path / pattern.strip("/").replace("*", "a")).mkdir(parents=True)
    (tmp_path / "Makefile").write_text((REPOSITORY / "Makefile").read_text())
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True)  # noqa: S607
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["Makefile", "docs", "docs/reference"]
