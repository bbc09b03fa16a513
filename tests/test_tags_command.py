"""Tags from a terminal: what each command prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_paperspace import __main__ as command_line
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.project_tags import UndoProjectTagChangeOperator
from tests.operators.task import Task, writes
from tests.secret_watch import API_KEY

Run = Callable[..., tuple[int, str, str]]
"""Runs ``tags`` with these arguments; returns its exit code, its output, and its last line on standard error."""


@pytest.fixture(autouse=True)
def world(
    connection: str, server: LocalPaperspaceServer, airflow_db: object, monkeypatch: pytest.MonkeyPatch
) -> LocalPaperspaceServer:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": "p1", "name": "one", "tags": ["gpu", "stage:a"]}, {"id": "p2"}]})
    return server


@pytest.fixture
def tags(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = command_line.main(["tags", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, (printed.err.splitlines() or [""])[-1]

    return run


def names(world: LocalPaperspaceServer) -> set[str]:
    return set(world.paperspace.tag_names("p1"))


@pytest.mark.parametrize(
    ("arguments", "after", "last_line"),
    [
        (["list", "p1"], {"gpu", "stage:a"}, "Project 'p1': 2 tags"),
        (["list", "p2"], {"gpu", "stage:a"}, "Project 'p2': 0 tags"),
        (["list", "one", "--name"], {"gpu", "stage:a"}, "Project 'p1': 2 tags"),
        (["add", "p1", "x"], {"gpu", "stage:a", "x"}, "Project 'p1': added 'x'"),
        (
            ["add", "one", "x", "gpu", "--name"],
            {"gpu", "stage:a", "x"},
            "Project 'p1': added 'x'; 'gpu' was already there",
        ),
        (["remove", "p1", "gpu", "y"], {"stage:a"}, "Project 'p1': removed 'gpu'; 'y' was not there"),
        (["remove", "p1", "y"], {"gpu", "stage:a"}, "Project 'p1': 'y' was not there"),
        (
            ["set", "p1", "stage:b", "--within", "stage:"],
            {"gpu", "stage:b"},
            "Project 'p1': added 'stage:b'; removed 'stage:a'",
        ),
        (
            ["set", "p1", "--within", "stage:", "stage:b"],
            {"gpu", "stage:b"},
            "Project 'p1': added 'stage:b'; removed 'stage:a'",
        ),
        (
            ["set", "--replace-all", "p1", "gpu"],
            {"gpu"},
            "Project 'p1': removed 'stage:a'; 'gpu' was already there",
        ),
        (["set", "p1", "--within=stage:", "--allow-empty"], {"gpu"}, "Project 'p1': removed 'stage:a'"),
        (["set", "p1", "--within=other:", "--allow-empty"], {"gpu", "stage:a"}, "Project 'p1': no tags to change"),
        (["add", "p1", "--", "-x"], {"gpu", "stage:a", "-x"}, "Project 'p1': added '-x'"),
        (
            ["add", "p1", "x", "--dry-run"],
            {"gpu", "stage:a"},
            "Dry run. Project 'p1': would add 'x'; would remove nothing",
        ),
        (
            ["remove", "p1", "gpu", "y", "--dry-run"],
            {"gpu", "stage:a"},
            "Dry run. Project 'p1': would add nothing; would remove 'gpu'",
        ),
        (
            ["set", "p1", "--replace-all", "x", "gpu", "--dry-run"],
            {"gpu", "stage:a"},
            "Dry run. Project 'p1': would add 'x'; would remove 'stage:a'",
        ),
    ],
)
def test_the_last_line_says_what_was_changed(
    tags: Run, world: LocalPaperspaceServer, arguments: list[str], after: set[str], last_line: str
) -> None:
    code, output, _ = tags(*arguments)
    assert (code, output.splitlines()[-1]) == (0, last_line)
    assert names(world) == after


def test_a_table_shows_each_tag_and_its_change(tags: Run) -> None:
    _, output, _ = tags("set", "p1", "gpu", "x", "--replace-all")
    rows = [line.split(maxsplit=1) for line in output.splitlines()[2:5]]
    assert rows == [["x", "added"], ["stage:a", "removed"], ["gpu", "was already there"]]


def test_a_list_is_json_for_scripts(tags: Run) -> None:
    code, output, _ = tags("list", "p1", "--json")
    listed = json.loads(output)
    assert (code, {tag["name"] for tag in listed}) == (0, {"gpu", "stage:a"})
    assert {"id", "name", "dtCreated"} == set(listed[0])


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_change_is_the_record_that_an_undo_takes(tags: Run, world: LocalPaperspaceServer, dry_run: bool) -> None:
    code, output, _ = tags("set", "p1", "x", "--replace-all", "--json", *(["--dry-run"] if dry_run else []))
    record = json.loads(output)
    assert (code, record["dry_run"], record["complete"], record["unsettled"]) == (0, dry_run, True, [])
    assert (set(record["before"]), record["after"]) == ({"gpu", "stage:a"}, ["x"])
    assert (record["added"], set(record["removed"])) == (["x"], {"gpu", "stage:a"})
    Task(UndoProjectTagChangeOperator, change=record).run()
    assert names(world) == {"gpu", "stage:a"}


USAGE_ERRORS = [
    ([], "the following arguments are required: action"),
    (["rename", "p1"], "invalid choice: 'rename'"),
    (["list"], "the following arguments are required: PROJECT"),
    (["list", "p1", "x"], "unrecognized arguments: x"),
    (["list", "p1", "--dry-run"], "unrecognized arguments: --dry-run"),
    (["list", ""], "PROJECT is blank"),
    (["list", "None"], "PROJECT is the text 'None'"),
    (["list", " ", "--name"], "PROJECT is blank"),
    (["list", ".."], "'..' is not a project id"),
    (["add", "p1"], "the following arguments are required: NAME"),
    (["remove", "p1"], "the following arguments are required: NAME"),
    (["add", "p1", ""], "NAME is blank"),
    (["remove", "p1", "x", " "], "NAME is blank"),
    (["add", "p1", "['a', 'b']"], "NAME is the string"),
    (["add", "", "x"], "PROJECT is blank"),
    (["set", "p1", "x"], "one of the arguments --within --replace-all is required"),
    (["set", "p1", "--allow-empty"], "one of the arguments --within --replace-all is required"),
    (["set", "p1", "x", "--within", "x", "--replace-all"], "not allowed with argument"),
    (["set", "p1", "x", "--within", ""], "within is blank"),
    (["set", "p1", "x", "--within", "None"], "within is the text 'None'"),
    (["set", "p1", "x", "--within", "stage:"], "'x' does not start with 'stage:'"),
    (["set", "p1", "--within", "stage:"], "No NAME is given, which would remove all tags that start with 'stage:'."),
    (["set", "p1", "--replace-all"], "No NAME is given, which would remove all tags. If you want that, add --allow"),
    (["set", "p1", "x", "--replace"], "one of the arguments --within --replace-all is required"),
]


@pytest.mark.parametrize(("arguments", "complaint"), USAGE_ERRORS, ids=[" ".join(words) for words, _ in USAGE_ERRORS])
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["", "json"])
def test_a_command_that_cannot_be_understood_sends_nothing(
    tags: Run, world: LocalPaperspaceServer, arguments: list[str], complaint: str, as_json: list[str]
) -> None:
    code, output, problem = tags(*arguments, *(as_json if arguments else []))
    assert (code, output, world.requests) == (2, "", [])
    assert complaint in problem


@pytest.mark.parametrize(
    ("fault", "arguments", "problem"),
    [
        ("", ["list", "nope"], "FAILED: Project 'nope': could not list its tags: the service answered 404"),
        ("", ["add", "nope", "x"], "FAILED: Project 'nope': could not list its tags: the service answered 404"),
        ("", ["list", "three", "--name"], "FAILED: Project named 'three': could not find it: no project has this name"),
        ("401", ["list", "p1"], "The API key is missing, wrong or expired"),
        ("403", ["set", "p1", "x", "--replace-all"], "The key's user is not allowed to do this"),
        ("500", ["remove", "p1", "gpu"], "(connection 'paperspace_default', 2 attempts)"),
        ("429", ["add", "p1", "x"], "The service asked the client to wait 3600 s, until 20"),
    ],
)
def test_a_failure_says_what_an_operator_says(
    tags: Run, world: LocalPaperspaceServer, fault: str, arguments: list[str], problem: str
) -> None:
    if fault:
        world.fault(fault, times=0, retry_after=3600 if fault == "429" else None)
    for as_json in ([], ["--json"]):
        code, output, complaint = tags(*arguments, *as_json)
        assert (code, output) == (1, ""), "no tag was read, so there is no record"
        assert problem in complaint


def test_a_failure_midway_leaves_its_record(tags: Run, world: LocalPaperspaceServer) -> None:
    world.fault("403", method="POST", at=2, times=0)
    code, output, problem = tags("add", "p1", "x", "y", "z", "--json")
    record = json.loads(output)
    assert (code, record["added"], record["unsettled"]) == (1, ["x"], [])
    assert "could not add tag 'y'" in problem
    assert "Already added: 'x'." in problem
    assert names(world) == {"gpu", "stage:a", "x"}


def test_a_connection_that_is_missing_or_incomplete_fails(tags: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output, problem = tags("list", "p1", "--conn-id", "not_there")
    assert (code, output) == (1, "")
    assert problem.startswith("FAILED: Could not read connection 'not_there' from Airflow")
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps({"conn_type": "paperspace"}))
    assert "FAILED: Connection 'c' has no API key" in tags("list", "p1", "--conn-id", "c")[2]


class Interrupting(deque[Any]):
    """The server's record of requests; it signals the main thread once a tag is written, before the answer is sent."""

    def __init__(self, name: str, signal_number: int) -> None:
        super().__init__()
        self._name = name
        self._signal = signal_number

    def append(self, request: Any) -> None:
        super().append(request)
        if request.method == "POST" and json.loads(request.body)["name"] == self._name:
            os.kill(os.getpid(), self._signal)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("as_json", [True, False])
def test_an_interrupted_command_says_what_it_did(
    tags: Run, world: LocalPaperspaceServer, signal_number: int, as_json: bool
) -> None:
    before = signal.getsignal(signal_number)
    world.app.requests = Interrupting("y", signal_number)
    code, output, problem = tags("add", "p1", "x", "y", "z", *(["--json"] if as_json else []))
    assert code == 1
    assert problem == (
        "FAILED: interrupted. Project 'p1': added 'x'. It is unknown whether the change to 'y' took effect"
    )
    if as_json:
        record = json.loads(output)
        assert (record["added"], record["unsettled"]) == (["x"], ["y"])
    else:
        assert output == ""
    assert writes(world) == ["POST /projects/p1/tags"] * 2
    assert signal.getsignal(signal_number) is before


def test_text_from_outside_cannot_control_the_terminal(tags: Run, world: LocalPaperspaceServer) -> None:
    hostile = "\x1b[2Jred\nProject 'p1': removed 'gpu'"
    world.paperspace.add_tag("p1", {"name": hostile})
    listing, removing = ["list", "p1"], ["remove", "p1", hostile]
    for arguments in (listing, [*listing, "--json"], [*removing, "--dry-run"], removing):
        _, output, _ = tags(*arguments)
        assert "\x1b" not in output
        assert "\nProject 'p1': removed 'gpu'" not in output


@pytest.mark.parametrize("words", [["tags", "list", "p1", "--json"], ["check"]])
def test_only_the_result_goes_to_standard_output(world: LocalPaperspaceServer, words: list[str]) -> None:
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "airflow_provider_paperspace", *words],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"},
    )
    assert run.stdout.startswith("[\n  {" if "--json" in words else "Connection 'paperspace_default'")
    assert "GET /" in run.stderr, "what Airflow logs"
    assert API_KEY not in run.stdout + run.stderr


def test_one_help_shows_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for command in ("check", "probe", "tags list PROJECT", "tags add", "tags remove", "tags set", "--conn-id ID"):
        assert command in shown


@pytest.mark.parametrize(
    "arguments", [["remove", "p1", "gpu"], ["set", "p1", "stage:b", "--within", "stage:"]], ids=str
)
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["for real", "dry run"])
def test_a_protected_tag_is_not_removed(
    world: LocalPaperspaceServer, tags: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], dry_run: list[str]
) -> None:
    protected = world.connection_json(protected_tags="gpu, stage:*")
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", protected)
    code, printed, last_line = tags(*arguments, *dry_run)
    assert (code, printed) == (1, "")
    assert "is protected by connection 'paperspace_default' ('" in last_line
    assert not writes(world)
