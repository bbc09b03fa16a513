"""Says on a terminal what the Test button says, and more: which settings hold, whether key and project work."""

from __future__ import annotations

import os
from collections.abc import Iterator

from airflow_provider_paperspace.api.errors import PaperspaceError
from airflow_provider_paperspace.api.settings import ca_variable
from airflow_provider_paperspace.hooks.connection import ConnectionSettings
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def check_connection(conn_id: str, project_id: str | None = None) -> tuple[bool, str]:
    """Check a connection, and a project if one is named.

    :return: whether all is well, and the report: one line for each thing looked at, never the key.
    """
    lines: list[str] = []
    try:
        with PaperspaceHook(conn_id) as hook:
            settings = hook.read_settings()
            lines += [f"Connection {conn_id!r}, {_origin(conn_id)}", *_settings_lines(settings)]
            works, said = hook.test_connection()
            lines.append(_line("session", said, ok=works))
            if works and project_id is not None:
                tags = hook.list_project_tags(project_id)
                lines.append(_line("project", f"{project_id!r} can be read: {len(tags)} tags", ok=True))
            return works, "\n".join(lines)
    except (PaperspaceError, ValueError) as error:
        return False, "\n".join([*lines, _line("project" if lines else "connection", str(error), ok=False)])
    except Exception as error:  # noqa: BLE001  # Airflow's own: no such connection, no database
        return False, "\n".join([*lines, _line("connection", _not_found(conn_id, error), ok=False)])


def _settings_lines(settings: ConnectionSettings) -> Iterator[str]:
    values = {
        "API key": "set, not shown",
        "base URL": settings.client.base_url,
        "timeout": f"{settings.client.timeout_s:g} s per attempt",
        "max attempts": str(settings.client.max_attempts),
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
        # The value may hold a password.
        yield "proxy", proxy, "set, not shown"


def _line(name: str, text: str, *, ok: bool) -> str:
    return f"  {'ok' if ok else 'FAILED':<6} {name}: {text}"


def _origin(conn_id: str) -> str:
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    if variable in os.environ:
        return f"from environment variable {variable}"
    return "from Airflow's secrets backends or database"


def _not_found(conn_id: str, error: Exception) -> str:
    return (
        f"Airflow gives no connection {conn_id!r} ({type(error).__name__}). Make one in the UI (Admin > Connections, "
        f"type Paperspace), or set AIRFLOW_CONN_{conn_id.upper()}."
    )
