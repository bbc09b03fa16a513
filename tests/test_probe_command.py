"""The command `probe`, through sockets and signals: a sample of what tests/api/test_probe.py shows in full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from airflow_provider_paperspace import __main__ as command_line
from airflow_provider_paperspace.api._probe import MAX_REQUESTS
from airflow_provider_paperspace.api.client import PaperspaceClient
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.emulator.switches import Switches
from tests.operators.task import writes
from tests.secret_watch import API_KEY


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


def start_over(server: LocalPaperspaceServer, tags: list[str], **switches: str) -> None:
    values = {name.replace("_", "-"): value for name, value in switches.items()}
    server.reset(seed={"projects": [{"id": "p1", "tags": tags}, {"id": "p2"}]}, switches=values)


def switches_in(report: str) -> dict[str, str]:
    *_, last = report.strip().splitlines()
    options = last.split()
    assert options[::2] == ["--switch"] * (len(options) // 2)
    return dict(option.split("=", 1) for option in options[1::2])


def assert_nothing_is_left(server: LocalPaperspaceServer, tags: list[str]) -> None:
    assert sorted(server.paperspace.tag_names("p1")) == sorted(tags)
    assert server.app.request_count <= MAX_REQUESTS


SAMPLE: Final[list[dict[str, str]]] = [
    {},
    {"add_existing": "500", "longest_name": "64/500", "rate_limit_headers": "sent", "error_extras": "details"},
    {"add_existing": "409", "longest_name": "64/400", "case": "insensitive", "remove_absent": "200"},
    {"tag_identity": "link", "last_page_cursor": "absent", "default_page_size": "7", "error_extras": "none"},
]


@pytest.mark.parametrize("switches", SAMPLE, ids=str)
def test_the_report_ends_with_the_switches_that_were_found(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer, switches: dict[str, str]
) -> None:
    tags = [f"t{number:03}" for number in range(130)]
    start_over(server, tags, **switches)
    code, report = probe()
    assert (code, Switches().with_values(switches_in(report))) == (0, server.paperspace.switches)
    assert "no tag is left behind" in report
    assert_nothing_is_left(server, tags)


def test_nothing_is_sent_without_yes(probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer) -> None:
    code, report = probe("--conn-id", "paperspace_default")
    assert code == 1
    assert "Nothing was sent. To go ahead, add --yes." in report
    assert not server.requests


@pytest.mark.parametrize("at", [1, 6, 8, 11, 14, 17, 18])
@pytest.mark.parametrize("kind", ["reset", "lost-answer"])
def test_no_tag_is_left_after_a_killed_connection(
    probe: Callable[..., tuple[int, str]], server: LocalPaperspaceServer, kind: str, at: int
) -> None:
    start_over(server, ["gpu"])
    server.fault(kind, at=at)
    assert "no tag is left behind" in probe()[1]
    assert_nothing_is_left(server, ["gpu"])


@pytest.mark.parametrize("at", [1, 6, 10, 17, 18])
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


class KillingTheProbe(deque[Any]):
    """The server's record of requests; it sends a signal once a tag was added, before the answer."""

    def __init__(self, pid: int, signal_number: signal.Signals) -> None:
        super().__init__()
        self._pid, self._signal = pid, signal_number

    def append(self, request: Any) -> None:
        if request.method == "POST" and not any(seen.method == "POST" for seen in self):
            os.kill(self._pid, self._signal)
        super().append(request)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_without_a_tag(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, signal_number: signal.Signals
) -> None:
    start_over(server, ["gpu"])
    command = [sys.executable, "-m", "airflow_provider_paperspace", "probe", "--project", "p1", "--yes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        monkeypatch.setattr(server.app, "requests", KillingTheProbe(process.pid, signal_number))
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
    assert ("1 request, no tag is left behind" in report) == (kind != "reset")
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
    assert (code, f"these tags may still be on it: {left[0]}" in report) == (1, True)
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
