"""The probe: it finds out each switch of the local Paperspace, and leaves nothing behind however it ends."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from airflow_provider_paperspace import __main__ as command_line
from airflow_provider_paperspace.api._probe import MAX_REQUESTS, QUESTIONS
from airflow_provider_paperspace.api.client import PaperspaceClient
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.emulator.switches import CHOICES, Switches
from tests.operators.task import writes
from tests.secret_watch import API_KEY

VALUES: Final = {
    **{name: list(choices) for name, choices in CHOICES.items()},
    "default-page-size": ["7", "50", "119"],
    "longest-name": ["none", "16/400", "24/500", "64/400", "64/500", "255/400", "255/500", "1023/400"],
}
FOUND: Final = [(name, value) for name, values in VALUES.items() for value in values if name != "foreign-project"]

MANY_TAGS: Final = [f"t{number:03}" for number in range(130)]


@pytest.fixture(autouse=True)
def _conn(connection: str, airflow_db: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)


@pytest.fixture(autouse=True)
def sigterm_handler() -> Iterator[Any]:
    before = signal.getsignal(signal.SIGTERM)
    yield before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def probe(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs the command, and returns its exit code and report."""

    def run(*arguments: str) -> tuple[int, str]:
        code = command_line.main(["probe", "--project", "p1", *(arguments or ["--yes"])])
        return code, capsys.readouterr().out

    return run


def start_over(server: LocalPaperspaceServer, tags: list[str] = MANY_TAGS, **switches: str) -> None:
    values = {name.replace("_", "-"): value for name, value in switches.items()}
    server.reset(seed={"projects": [{"id": "p1", "tags": tags}, {"id": "p2"}]}, switches=values)


def switches_in(report: str) -> dict[str, str]:
    *_, last = report.strip().splitlines()
    options = last.split()
    assert options[::2] == ["--switch"] * (len(options) // 2)
    return dict(option.split("=", 1) for option in options[1::2])


def assert_nothing_is_left(server: LocalPaperspaceServer, tags: list[str] = MANY_TAGS) -> None:
    assert sorted(server.paperspace.tag_names("p1")) == sorted(tags)
    assert server.app.request_count <= MAX_REQUESTS


@pytest.mark.parametrize(("switch", "value"), FOUND, ids=[f"{switch}={value}" for switch, value in FOUND])
def test_each_value_of_each_switch_is_found(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer, switch: str, value: str
) -> None:
    start_over(server, **{switch: value})
    code, report = probe()
    assert code == 0, report
    found = Switches().with_values(switches_in(report))
    assert found == server.paperspace.switches
    assert_nothing_is_left(server)


@pytest.mark.parametrize(
    "values",
    list(itertools.product(*(VALUES[name] for name in ("add-existing", "case", "remove-absent", "tag-identity")))),
    ids=" ".join,
)
def test_values_do_not_hide_each_other(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer, values: tuple[str, ...]
) -> None:
    names = ("add_existing", "case", "remove_absent", "tag_identity")
    start_over(server, **dict(zip(names, values, strict=True)), longest_name="64/500")
    code, report = probe()
    assert (code, Switches().with_values(switches_in(report))) == (0, server.paperspace.switches)
    assert_nothing_is_left(server)


def test_what_one_key_cannot_find_out_stays_open(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer
) -> None:
    start_over(server, tags=["gpu"], foreign_project="403")
    code, report = probe()
    assert code == 0
    assert "open: cannot be found out with one key" in report
    assert "open: at least 2; needs more tags or projects" in report
    assert {"foreign-project", "default-page-size"} & set(switches_in(report)) == set()
    assert_nothing_is_left(server, ["gpu"])


def test_a_limit_that_no_name_of_the_probe_keeps_stays_open(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer
) -> None:
    start_over(server, longest_name="15/400")
    code, report = probe()
    assert code == 0
    assert "open: a name of 16 characters, the shortest that was tried, was answered 400" in report
    assert {"longest-name", "add-existing", "case"} & set(switches_in(report)) == set()
    assert not [name for name in server.paperspace.tag_names("p1") if name.startswith("probe")]


def test_the_team_may_tell_the_page_size(probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer) -> None:
    projects = [{"id": f"p{number}"} for number in range(60)]
    server.reset(seed={"projects": projects}, switches={"default-page-size": "33"})
    assert switches_in(probe()[1])["default-page-size"] == "33"


def test_a_long_list_leads_to_the_last_page_by_the_projects(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer
) -> None:
    start_over(server, [f"t{number:04}" for number in range(700)], last_page_cursor="absent")
    assert switches_in(probe()[1])["last-page-cursor"] == "absent"


def test_the_assumptions_are_the_defaults_of_the_switches() -> None:
    assert {question.switch for question in QUESTIONS} == set(CHOICES)
    words = {"team": "the same id", "sensitive": "are different"}
    for question in QUESTIONS:
        default = CHOICES[question.switch][0]
        assert question.assumed == ("no limit" if question.switch == "longest-name" else words.get(default, default))


def test_nothing_is_sent_without_yes(probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer) -> None:
    code, report = probe("--conn-id", "paperspace_default")
    assert code == 1
    assert "Nothing was sent. To go ahead, add --yes." in report
    assert not server.requests


KILLS: Final = ["reset", "lost-answer"]


@pytest.mark.parametrize("at", range(1, 45))
@pytest.mark.parametrize("kind", [*KILLS, "500", "429", "403"])
def test_no_tag_is_left_after_a_fault_at_any_request(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer, kind: str, at: int
) -> None:
    start_over(server, ["gpu"], longest_name="64/500", add_existing="500")
    server.fault(kind, at=at)
    _, report = probe()
    assert_nothing_is_left(server, ["gpu"])
    assert "no tag is left behind" in report
    if kind in (*KILLS, "429"):
        # A lost answer may leave a question open; it never leads to a wrong value.
        found = switches_in(report)
        actual = {
            **{name: choices[0] for name, choices in CHOICES.items()},
            "longest-name": "64/500",
            "add-existing": "500",
        }
        assert found.items() <= actual.items()


@pytest.mark.parametrize("at", range(1, 45))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_no_tag_is_left_after_ctrl_c_at_any_request(
    probe: Callable[..., tuple[int, str]],
    server: LocalPaperspaceServer,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    at: int,
) -> None:
    start_over(server, ["gpu"], longest_name="64/400")
    send_once, count = PaperspaceClient._send_once, 0

    def interrupted(client: PaperspaceClient, request: Any) -> Any:
        nonlocal count
        count += 1
        if count == at and moment == "before":
            raise KeyboardInterrupt
        outcome = send_once(client, request)
        if count == at:
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(PaperspaceClient, "_send_once", interrupted)
    code, report = probe()
    assert_nothing_is_left(server, ["gpu"])
    assert (code, "FAILED: interrupted" in report) == ((1, True) if count >= at else (0, False))


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_without_a_tag(server: LocalPaperspaceServer, signal_number: signal.Signals) -> None:
    start_over(server, ["gpu"])
    arrived = server.fault("slow", method="POST", seconds=1.0)
    command = [sys.executable, "-m", "airflow_provider_paperspace", "probe", "--project", "p1", "--yes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        while not arrived.seen:
            assert process.poll() is None
        os.kill(process.pid, signal_number)
        report, errors = process.communicate(timeout=60)
    assert (process.returncode, "FAILED: interrupted" in report) == (1, True)
    assert "Traceback" not in errors
    assert API_KEY not in report + errors
    assert_nothing_is_left(server, ["gpu"])


@pytest.mark.parametrize("kind", ["401", "403", "reset"])
def test_a_project_that_cannot_be_read_is_not_written_to(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer, kind: str
) -> None:
    server.fault(kind, times=0)
    code, report = probe()
    assert (code, "FAILED: Project 'p1': could not list its tags" in report) == (1, True)
    assert not writes(server)


@pytest.mark.parametrize("kind", ["500", "403", "reset"])
def test_a_tag_that_cannot_be_removed_is_named(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer, kind: str
) -> None:
    start_over(server, ["gpu"])
    server.fault(kind, method="DELETE", at=2, times=0)
    code, report = probe()
    left = [name for name in server.paperspace.tag_names("p1") if name != "gpu"]
    assert len(left) == 1
    assert (code, f"these tags may be left: {left[0]}" in report) == (1, True)
    assert server.app.request_count <= MAX_REQUESTS


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--project", " ", "--yes"], "FAILED: The project id"),
        (["--project", "p1", "--yes", "--conn-id", "not_there"], "FAILED: Could not read connection 'not_there'"),
        (["--project", "p1", "--yes", "--conn-id", "keyless"], "FAILED: Connection 'keyless' has no API key"),
    ],
)
def test_a_bad_argument_is_reported(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KEYLESS", '{"conn_type": "paperspace"}')
    assert command_line.main(["probe", *arguments]) == 1
    assert complaint in capsys.readouterr().out


def test_a_service_that_cuts_names_is_noticed(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_over(server, ["gpu"])
    add_tag = server.paperspace.add_tag
    monkeypatch.setattr(server.paperspace, "add_tag", lambda id_, body: add_tag(id_, {"name": body["name"][:64]}))
    code, report = probe()
    assert (code, "open: a name of 1,024 characters was stored with 64" in report) == (0, True)
    assert_nothing_is_left(server, ["gpu"])
