"""``python -m airflow_provider_paperspace check``: report whether a connection works."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from airflow_provider_paperspace.api.errors import InvalidArgumentError, PaperspaceError
from airflow_provider_paperspace.api.settings import ca_variable

if TYPE_CHECKING:
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
    check.add_argument(
        "--conn-id", default="paperspace_default", help="the Airflow connection id (default: paperspace_default)"
    )
    check.add_argument("--project", metavar="ID", help="a project to read as well")
    options = parser.parse_args(arguments)

    # Airflow's own command line does this, too: otherwise Airflow 3 does not look for connections in its database.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
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


def _check_project(hook: PaperspaceHook, project_id: str) -> tuple[bool, str]:
    try:
        count = len(hook.list_project_tags(project_id))
    except PaperspaceError as error:
        return False, str(error)
    return True, f"{project_id!r} is readable: {count} {'tag' if count == 1 else 'tags'}"


def _settings_lines(settings: ConnectionSettings) -> Iterator[str]:
    values = {
        "API key": "set, not shown",
        "base URL": settings.client.base_url,
        "timeout": f"{settings.client.timeout_s:g} s per attempt",
        "max attempts": str(settings.client.max_attempts),
        "team": settings.team or "not set",
        "console URL": settings.console_url,
    }
    for name, value in values.items():
        yield f"  {name:<13} {value:<36} {settings.sources[name]}"
    for name, variable, value in _environment(settings):
        yield f"  {name:<13} {value:<36} environment variable {variable}"
    if settings.unknown_extras:
        yield f"  ignored       Extra {', '.join(map(repr, settings.unknown_extras))}"


def _environment(settings: ConnectionSettings) -> Iterator[tuple[str, str, str]]:
    bundle = ca_variable(os.environ)
    if bundle is not None:
        yield "CA bundle", bundle, os.environ[bundle]
    proxy = next((name for name in _PROXY_VARIABLES if os.environ.get(name)), None)
    if proxy is not None and not settings.client.is_loopback:
        # The value may contain a password.
        yield "proxy", proxy, "set, not shown"


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
