"""The command line: what ``check`` reports about a connection."""

from __future__ import annotations

import json
from urllib.request import getproxies_environment

import pytest

from airflow_provider_paperspace import __main__ as command_line
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, airflow_db: object) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = command_line.main(["check", *arguments])
    return code, capsys.readouterr().out


def test_a_check_shows_each_setting_and_its_source(
    connection: str, server: LocalPaperspaceServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/my-ca.pem")
    code, report = check(capsys, "--project", "p1")
    assert code == 0
    lines = [" ".join(line.split()) for line in report.splitlines()]
    assert "Connection 'paperspace_default', from environment variable AIRFLOW_CONN_PAPERSPACE_DEFAULT" in lines
    assert f"base URL {server.url} Host" in lines
    assert "timeout 30 s per attempt Extra 'timeout'" in lines
    assert "max attempts 2 Extra 'max_attempts'" in lines
    assert "team acme Extra 'team'" in lines
    assert "console URL https://console.paperspace.com default" in lines
    assert "API key set, not shown Password" in lines
    assert "CA bundle /etc/ssl/my-ca.pem environment variable REQUESTS_CA_BUNDLE" in lines
    assert "ok session: Connected to team 'acme' as ada@example.org" in lines
    assert "ok project: 'p1' is readable: 1 tag" in lines


def test_a_check_says_which_team_to_set(
    server: LocalPaperspaceServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", server.connection_json(team=""))
    code, report = check(capsys, "--conn-id", "c")
    lines = [" ".join(line.split()) for line in report.splitlines()]
    assert code == 0
    assert "team not set default" in lines
    assert lines[-1].startswith("ok session: Connected to team 'acme' as ada@example.org.")
    assert lines[-1].endswith("set Team to 'acme'")


def test_a_check_reports_a_wrong_host(
    server: LocalPaperspaceServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", server.connection_json().replace(server.url, f"{server.url}/x"))
    code, report = check(capsys, "--conn-id", "c")
    assert (code, "Check the connection's Base URL (Host)" in report) == (1, True)


def test_a_check_reports_an_unreadable_project(connection: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = check(capsys, "--project", "nope")
    assert (code, "FAILED project: Project 'nope'" in report) == (1, True)


def test_a_check_reports_a_refused_key(
    connection: str,
    server: LocalPaperspaceServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server.app, "api_key", "another")
    code, report = check(capsys, "--project", "p1")
    assert (code, "FAILED session: Paperspace does not accept this API key" in report) == (1, True)
    assert "project:" not in report, "the project is not read"


def test_a_check_says_how_to_create_a_connection(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = check(capsys, "--conn-id", "not_there")
    assert code == 1
    assert "FAILED connection: Could not read connection 'not_there' from Airflow" in report
    assert "set AIRFLOW_CONN_NOT_THERE" in report


def test_a_check_reports_a_bad_setting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps({"conn_type": "paperspace"}))
    code, report = check(capsys, "--conn-id", "c")
    assert (code, "FAILED connection: Connection 'c' has no API key" in report) == (1, True)


def test_a_check_reports_unknown_extras_and_the_proxy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"max_atempts": 1, "max_attempts": 1, "timeout": 0.2}
    connection = {"conn_type": "paperspace", "password": "k", "host": "https://127.0.0.1.nip.invalid", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps(connection))
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")
    code, report = check(capsys, "--conn-id", "c")
    assert code == 1
    assert "Extra 'max_atempts'" in report
    assert "environment variable HTTPS_PROXY" in report
    assert "hunter2" not in report


def test_a_check_names_the_proxy_variable_that_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "paperspace", "password": "k", "host": "https://127.0.0.1.nip.invalid"}
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps({**connection, "extra": {"max_attempts": 1, "timeout": 0.2}}))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:2")
    assert getproxies_environment()["https"] == "http://127.0.0.1:2"
    assert "environment variable https_proxy" in check(capsys, "--conn-id", "c")[1]


def test_a_check_does_not_credit_the_environment_if_a_secrets_backend_comes_first(
    server: LocalPaperspaceServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", server.connection_json())
    assert "Connection 'c', from environment variable AIRFLOW_CONN_C\n" in check(capsys, "--conn-id", "c")[1]
    backend = "airflow.secrets.environment_variables.EnvironmentVariablesBackend"
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", backend)
    code, report = check(capsys, "--conn-id", "c")
    assert code == 0
    assert "Connection 'c', from Airflow's secrets backend or environment variable AIRFLOW_CONN_C\n" in report


def test_a_check_finds_a_connection_in_the_database(
    server: LocalPaperspaceServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models import Connection
    from airflow.utils.session import create_session

    # Another key: other tests search the files of the database for the usual one, and a deleted row stays there.
    monkeypatch.setattr(server.app, "api_key", "a-key-that-is-stored")
    stored = Connection(conn_id="stored", conn_type="paperspace", host=server.url, password=server.api_key)
    with create_session() as session:
        session.add(stored)
    try:
        code, report = check(capsys, "--conn-id", "stored")
    finally:
        with create_session() as session:
            session.query(Connection).filter_by(conn_id="stored").delete()
    assert (code, "from Airflow's secrets backends or database" in report) == (0, True)


def test_the_command_line_needs_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main([])
    assert ended.value.code == 2
    assert "check" in capsys.readouterr().err
