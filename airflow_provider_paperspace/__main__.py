"""``python -m airflow_provider_paperspace``: check a connection, probe how the service behaves, or work with tags."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
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

# The lower-case name comes first, as it does in urllib.
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")

_DEFAULT_CONN_ID = "paperspace_default"

_TAGS_ACTIONS = {
    "list": "list all tags, newest first",
    "add": "add tags; existing tags stay",
    "remove": "remove tags; missing ones are allowed",
    "set": "make these the project's only tags, or its only tags with a prefix",
}

_SYNOPSIS = """\
commands:
  check [--project ID]
  probe --project ID [--yes]
  tags list PROJECT [--name] [--json]
  tags add PROJECT NAME... [--name] [--dry-run] [--json]
  tags remove PROJECT NAME... [--name] [--dry-run] [--json]
  tags set PROJECT [NAME...] (--within PREFIX | --replace-all) [--allow-empty] [--name] [--dry-run] [--json]

All of them take --conn-id ID, and --help. The exit code is 0 if everything was done, 1 if not, and
2 if the arguments are invalid.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    options = command_parser().parse_args(arguments)
    # Airflow's own command line does this, too: otherwise Airflow 3 does not look for connections in its database.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    # Airflow 2 logs to standard output, which is for the result alone.
    with redirect_stdout(sys.stderr):
        if options.command == "tags":
            output, problem = _run_tags(options)
        elif options.command == "probe":
            works, output = probe_project(options.conn_id, options.project, may_write=options.yes)
            problem = None if works else ""
        else:
            works, output = check_connection(options.conn_id, options.project)
            problem = None if works else ""
    if output:
        print(output)
    if problem:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 0 if problem is None else 1


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_paperspace",
        description="Command-line tools of the Paperspace provider for Airflow.",
        epilog=_SYNOPSIS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="show a connection's settings, and test its API key and a project")
    check.add_argument("--project", metavar="ID", help="a project to read as well")
    probe = commands.add_parser(
        "probe",
        help="find out how the service behaves where its documentation does not say",
        description="Find out by experiment what the service's documentation leaves open, with at most "
        f"{MAX_REQUESTS} requests. The command adds tags named probe-<random> to one project, and removes them "
        "afterwards.",
    )
    probe.add_argument(
        "--project", metavar="ID", required=True, help="the project to add tags to, and remove them from"
    )
    probe.add_argument("--yes", action="store_true", help="add and remove tags; without it, nothing is sent")
    tags = commands.add_parser("tags", help="list, add, remove or set the tags of a project")
    for command in (check, probe, *_tags_parsers(tags)):
        command.add_argument(
            "--conn-id", default=_DEFAULT_CONN_ID, help=f"the Airflow connection id (default: {_DEFAULT_CONN_ID})"
        )
    return parser


def _tags_parsers(tags: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    actions = tags.add_subparsers(dest="action", required=True)
    for action, text in _TAGS_ACTIONS.items():
        # No abbreviations: to replace all tags, one has to type --replace-all in full.
        parser = actions.add_parser(action, help=text, description=f"{text.capitalize()}.", allow_abbrev=False)
        parser.set_defaults(dry_run=False, usage_error=parser.error)
        parser.add_argument("project", metavar="PROJECT", help="the project id, such as prmximcci")
        if action != "list":
            text = "a tag, exactly as written" + ("; none is needed with --allow-empty" if action == "set" else "")
            names = parser.add_argument("names", metavar="NAME", nargs="+", default=[], help=text)
            # Not nargs="*": in some Python versions, such as 3.12.1 and 3.13.0, that takes no name after an option.
            names.required = action != "set"
            parser.add_argument("--dry-run", action="store_true", help="print what would change, and change nothing")
        if action == "set":
            managed = parser.add_mutually_exclusive_group(required=True)
            managed.add_argument("--within", metavar="PREFIX", help="manage the tags that start with this")
            managed.add_argument("--replace-all", action="store_true", help="manage all tags of the project")
            parser.add_argument("--allow-empty", action="store_true", help="without a NAME, remove all managed tags")
        parser.add_argument("--name", action="store_true", help="PROJECT is the exact project name, not its id")
        parser.add_argument("--json", action="store_true", help="print JSON: the tags, or the change record")
        yield parser


def _run_tags(options: argparse.Namespace) -> tuple[str, str | None]:
    """Run a command about tags; return what it prints, and why it failed or None."""
    from airflow_provider_paperspace._tags_command import parse, run

    try:
        policy = parse(options)
    except InvalidArgumentError as error:
        options.usage_error(str(error))
    try:
        with _opened(options.conn_id) as hook, _interrupted_by_sigterm():
            return run(options, policy, hook)
    except InvalidArgumentError as error:
        return "", str(error)


@contextmanager
def _opened(conn_id: str) -> Iterator[PaperspaceHook]:
    """Open the hook for a ``with`` block.

    :raises InvalidArgumentError: there is no such connection, or a setting cannot be used.
    """
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

    with PaperspaceHook(conn_id) as hook:
        try:
            _ = hook.settings
        except InvalidArgumentError:
            raise
        except Exception as error:  # noqa: BLE001  # Airflow's own: no such connection, no database
            raise InvalidArgumentError(_not_found(conn_id, error)) from None
        yield hook


def check_connection(conn_id: str, project_id: str | None = None) -> tuple[bool, str]:
    """Test a connection, and a project if one is given.

    :return: whether everything works, and a report with one line per check. It never contains the key.
    """
    try:
        with _opened(conn_id) as hook:
            lines = [f"Connection {conn_id!r}, {_origin(conn_id)}", *_settings_lines(hook.settings)]
            works, message = hook.test_connection()
            lines.append(_check_line("session", message, ok=works))
            if works and project_id is not None:
                works, message = _check_project(hook, project_id)
                lines.append(_check_line("project", message, ok=works))
            return works, "\n".join(lines)
    except InvalidArgumentError as error:
        return False, _check_line("connection", str(error), ok=False)


def probe_project(conn_id: str, project_id: str, *, may_write: bool) -> tuple[bool, str]:
    """Find out, on one project, what the service's documentation leaves open, and clean up.

    :param may_write: whether to add and remove tags; if not, nothing is sent.
    :return: whether the probe ended without an error and left no tag behind, and a report without the key.
    """
    from airflow_provider_paperspace.api.client import PaperspaceClient

    if not may_write:
        return False, (
            f"This adds tags named probe-<random> to project {project_id!r}, through connection {conn_id!r}, and "
            f"removes them afterwards, with at most {MAX_REQUESTS} requests. Nothing was sent. To go ahead, add --yes."
        )
    try:
        probe = Probe(project_id, secrets.token_hex(4))
        with _opened(conn_id) as hook:
            settings = replace(hook.settings.client, max_attempts=1)
    except InvalidArgumentError as error:
        return False, f"FAILED: {error}"
    with PaperspaceClient(settings) as client, _interrupted_by_sigterm():
        failure = _failure_of(client, probe.run())
        # If this is interrupted, it starts again, once.
        failure = _failure_of(client, probe.clean_up()) or failure
        failure = _failure_of(client, probe.clean_up()) or failure
    return not failure and not probe.names, _probe_report(probe, failure, project_id, conn_id)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM interrupt a ``with`` block as Ctrl+C does."""
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
    from airflow_provider_paperspace._quoting import count_of
    from airflow_provider_paperspace.operators._batch import table

    left = f"these tags may still be on it: {', '.join(probe.names)}" if probe.names else "no tag is left behind"
    lines = [f"Project {project_id!r}, connection {conn_id!r}: {count_of(probe.requests, 'request')}, {left}"]
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
    if variable not in os.environ:
        return "from Airflow's secrets backends or database"
    from airflow_provider_paperspace._compat import conf

    if conf.get("secrets", "backend", fallback=""):  # Airflow looks there before it looks at the environment
        return f"from Airflow's secrets backend or environment variable {variable}"
    return f"from environment variable {variable}"


def _not_found(conn_id: str, error: Exception) -> str:
    return (
        f"Could not read connection {conn_id!r} from Airflow ({type(error).__name__}). If it does not exist, create "
        f"it in the UI (Admin > Connections, type Paperspace), or set AIRFLOW_CONN_{conn_id.upper()}."
    )


if __name__ == "__main__":
    sys.exit(main())
