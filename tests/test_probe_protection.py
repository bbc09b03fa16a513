"""The probe over a connection with protected tags: it adds no tag that it could not remove again."""

from __future__ import annotations

import pytest

from airflow_provider_paperspace import __main__ as command_line
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer


@pytest.mark.parametrize("pattern", ["probe-*", "*-a", "*"])
def test_the_probe_leaves_no_protected_tag_behind(
    server: LocalPaperspaceServer,
    airflow_db: object,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json(protected_tags=pattern))
    command_line.main(["probe", "--project", "p1", "--yes"])
    report = capsys.readouterr().out
    assert "no tag is left behind" in report
    assert f"would be protected by connection 'paperspace_default' ('{pattern}'), and could not be removed" in report
    assert server.paperspace.tag_names("p1") == ["gpu"]
    added = [request for request in server.requests if request.method == "POST"]
    assert bool(added) == (pattern == "*-a"), "other names than the protected one are tried"
