"""``python -m airflow_provider_paperspace``: check whether a connection works, or probe how the service behaves."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_paperspace.api._probe import MAX_REQUESTS, Probe
from airflow_provider_paperspace.api.errors import InvalidArgumentError, PaperspaceError
from airflow_provider_paperspace.api.settings import ca_variable

if TYPE_CHECKING:
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.client import PaperspaceClient
    from airflow_provider_paperspace.hooks.connection import ConnectionSettings
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_paperspace",
        description="Command-line tools of the Paperspace provider for Airflow.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="show a connection's settings, and test its API key and a project")
    check.add_argument("--project", metavar="ID", help="a project to read as well")
    probe = commands.add_parser(
        "probe",
        help="find out how the service behaves where its documentation leaves it open",
        description=f"Ask the service what its documentation leaves open, with at most {MAX_REQUESTS} requests. "
        "It adds tags named probe-<random> to one project, and removes them again.",
    )
    probe.add_argument(
        "--project", metavar="ID", required=True, help="the project to add tags to, and remove them from"
    )
    probe.add_argument("--yes", action="store_true", help="add and remove tags; without it, nothing is sent")
    for command in (check, probe):
        command.add_argument(
            "--conn-id", default="paperspace_default", help="the Airflow connection id (default: paperspace_default)"
        )
    options = parser.parse_args(arguments)

    # Airflow's own command line does this, too: otherwise Airflow 3 does not look for connections in its database.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    if options.command == "probe":
        works, report = probe_project(options.conn_id, options.project, may_write=options.yes)
    else:
        works, report = check_connection(options.conn_id, options.project)
    print(report)
    return 0 if works else 1


def check_connection(conn_id: str, project_id: str | None = None) -> tuple[bool, str]:
    """Test a connection, and a project if one is given.

    :return: whether everything works, and a report with one line per check. It never contains the key.
    """
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

    with PaperspaceHook(conn_id) as hook:
        try:
            settings = hook.settings
        except InvalidArgumentError as error:
            return False, _check_line("connection", str(error), ok=False)
        except Exception as error:  # noqa: BLE001  # Airflow's own: no such connection, no database
            return False, _check_line("connection", _not_found(conn_id, error), ok=False)
        lines = [f"Connection {conn_id!r}, {_origin(conn_id)}", *_settings_lines(settings)]
        works, message = hook.test_connection()
        lines.append(_check_line("session", message, ok=works))
        if works and project_id is not None:
            works, message = _check_project(hook, project_id)
            lines.append(_check_line("project", message, ok=works))
        return works, "\n".join(lines)


def probe_project(conn_id: str, project_id: str, *, may_write: bool) -> tuple[bool, str]:
    """Ask the service on one project what its documentation leaves open, and clean up.

    :param may_write: whether to add and remove tags; if not, nothing is sent.
    :return: whether all was asked and no tag is left behind, and a report. It never contains the key.
    """
    from airflow_provider_paperspace.api.client import PaperspaceClient
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

    if not may_write:
        return False, (
            f"This adds tags named probe-<random> to project {project_id!r}, through connection {conn_id!r}, and "
            f"removes them again, with at most {MAX_REQUESTS} requests. Nothing was sent. To go ahead, add --yes."
        )
    try:
        probe = Probe(project_id, secrets.token_hex(4))
        with PaperspaceHook(conn_id) as hook:
            settings = replace(hook.settings.client, max_attempts=1)
    except InvalidArgumentError as error:
        return False, f"FAILED: {error}"
    except Exception as error:  # noqa: BLE001  # Airflow's own: no such connection, no database
        return False, f"FAILED: {_not_found(conn_id, error)}"
    with PaperspaceClient(settings) as client, _interrupted_by_sigterm():
        failure = _failure_of(client, probe.run())
        # If this is interrupted, it starts again, once.
        failure = _failure_of(client, probe.clean_up()) or failure
        failure = _failure_of(client, probe.clean_up()) or failure
    return not failure and not probe.names, _probe_report(probe, failure, project_id, conn_id)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """In a ``with`` block, let SIGTERM interrupt as Ctrl+C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _failure_of(client: PaperspaceClient, flow: Flow[object]) -> str:
    """Run a flow; return why it failed, or an empty string."""
    try:
        client.run(flow)
    except KeyboardInterrupt:
        return "interrupted"
    except PaperspaceError as error:
        return str(error)
    return ""


def _probe_report(probe: Probe, failure: str, project_id: str, conn_id: str) -> str:
    from airflow_provider_paperspace.operators._batch import table

    left = f"these tags may be left: {', '.join(probe.names)}" if probe.names else "no tag is left behind"
    lines = [f"Project {project_id!r}, connection {conn_id!r}: {probe.requests} requests, {left}"]
    if failure:
        lines.append(f"FAILED: {failure}")
    findings = [(f.question.text, f.text, f.question.assumed) for f in probe.findings]
    lines += ["", table(("question", "found", "the docs assume"), findings)]
    switches = [f"--switch {f.question.switch}={f.value}" for f in probe.findings if f.value]
    if switches:
        lines += ["", "A local Paperspace that behaves the same:", f"  {' '.join(switches)}"]
    return "\n".join(lines)


def _check_project(hook: PaperspaceHook, project_id: str) -> tuple[bool, str]:
    try:
        count = len(hook.list_project_tags(project_id))
    except PaperspaceError as error:
        return False, str(error)
    return True, f"{project_id!r} is readable: {count} {'tag' if count == 1 else 'tags'}"


def _settings_lines(settings: ConnectionSettings) -> Iterator[str]:
    environment = list(_environment(settings))
    values = {
        "API key": "set, not shown",
        "base URL": settings.client.base_url,
        "timeout": f"{settings.client.timeout_s:g} s per attempt",
        "max attempts": str(settings.client.max_attempts),
        "team": settings.team or "not set",
        "console URL": settings.console_url,
        "proxy": _proxy(settings),
        "protected tags": ", ".join(map(str, settings.client.protected_tags)) or "none",
    }
    for name, value in values.items():
        if name not in {variable_name for variable_name, _, _ in environment}:
            yield f"  {name:<14} {value:<36} {settings.sources[name]}"
    for name, variable, value in environment:
        yield f"  {name:<14} {value:<36} environment variable {variable}"
    if settings.unknown_extras:
        yield f"  ignored        Extra {', '.join(map(repr, settings.unknown_extras))}"


def _environment(settings: ConnectionSettings) -> Iterator[tuple[str, str, str]]:
    bundle = ca_variable(os.environ)
    if bundle is not None:
        yield "CA bundle", bundle, os.environ[bundle]
    proxy = next((name for name in _PROXY_VARIABLES if os.environ.get(name)), None)
    if proxy is not None and not settings.client.is_loopback and not settings.client.proxy:
        # The value may contain a password.
        yield "proxy", proxy, "set, not shown"


def _proxy(settings: ConnectionSettings) -> str:
    """Return the connection's proxy, without its user and password."""
    if not settings.client.proxy:
        return "none"
    return settings.client.proxy_address or "not used for this host"


def _check_line(name: str, text: str, *, ok: bool) -> str:
    return f"  {'ok' if ok else 'FAILED':<6} {name}: {text}"


def _origin(conn_id: str) -> str:
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    if variable in os.environ:
        return f"from environment variable {variable}"
    return "from Airflow's secrets backends or database"


def _not_found(conn_id: str, error: Exception) -> str:
    return (
        f"Could not read connection {conn_id!r} from Airflow ({type(error).__name__}). If there is none, create "
        f"it in the UI (Admin > Connections, type Paperspace), or set AIRFLOW_CONN_{conn_id.upper()}."
    )


if __name__ == "__main__":
    sys.exit(main())
