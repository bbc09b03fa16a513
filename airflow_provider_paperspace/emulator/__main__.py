"""``python -m airflow_provider_paperspace.emulator``: serve a local Paperspace until Ctrl+C."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_paperspace.emulator.faults import KINDS, Fault, parse_fault
from airflow_provider_paperspace.emulator.state import Json
from airflow_provider_paperspace.emulator.switches import CHOICES, Switches, describe

_EPILOG = """\
switches (the first value is the default: a choice, not a fact about the real service):
{switches}

faults, as KIND[:OPTION=VALUE,...]:
{faults}
  options: at (first affected request, from 1), times (how many; 0 = all from then on), method, path (part of it),
  retry_after (seconds or HTTP date), seconds (slow, refused), applied (true: a write takes effect despite the fault)

example:
  %(prog)s --port 8787 --switch add-existing=409 --fault 429:at=2,retry_after=3 --fault lost-answer:method=POST
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the process is stopped; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        switches = Switches().with_values(dict(map(_split_switch, options.switch)))
        faults: list[Fault] = list(map(parse_fault, options.fault))
        seed = _read_seed(options.seed)
    except ValueError as error:
        parser.error(str(error))
    try:
        from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
    except ModuleNotFoundError as error:
        parser.error(f"no module {error.name!r}: pip install 'airflow-provider-paperspace[emulator]'")
    try:
        server = LocalPaperspaceServer(
            port=options.port,
            api_key=options.api_key,
            seed=seed,
            switches=switches,
            latency_ms=options.latency_ms,
            rate_limit=options.rate_limit,
        )
    except (ValueError, OSError, OverflowError) as error:
        parser.error(f"cannot serve: {error}")
    server.app.faults = faults
    print(_greeting(server.url, server.connection_uri(), server.paperspace.switches), flush=True)
    server.serve()
    return 0


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, (*KINDS, *CHOICES)))
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_paperspace.emulator",
        description="Run a local Paperspace on 127.0.0.1. It keeps state and needs no account.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG.format(
            switches="\n".join(f"  {name:<{width}}  {' | '.join(values)}" for name, values in CHOICES.items()),
            faults="\n".join(f"  {kind:<{width}}  {what}" for kind, what in KINDS.items()),
        ),
    )
    parser.add_argument("--port", type=int, default=8787, help="0 picks a free port (default: 8787)")
    parser.add_argument("--api-key", default="local-paperspace-key", help="the API key to accept")
    parser.add_argument("--seed", type=Path, metavar="FILE.json", help="the initial state")
    parser.add_argument(
        "--latency-ms", type=float, default=0.0, metavar="N", help="delay every answer by N milliseconds"
    )
    parser.add_argument(
        "--rate-limit", type=int, default=0, metavar="N", help="answer 429 beyond N requests per second"
    )
    parser.add_argument(
        "--switch", action="append", default=[], metavar="NAME=VALUE", help="set a switch, see below; may be repeated"
    )
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND[:...]", help="add a fault, see below; may be repeated"
    )
    return parser


def _split_switch(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise ValueError(f"Switch {text!r} has no value; write NAME=VALUE.")
    return name, value


def _read_seed(path: Path | None) -> Json | None:
    if path is None:
        return None
    try:
        seed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"Seed {path}: {error.strerror}.") from None
    except ValueError as error:
        raise ValueError(f"Seed {path} is not JSON: {error}.") from None
    if not isinstance(seed, dict):
        raise ValueError(f"Seed {path} must contain a JSON object.")
    return seed


def _greeting(url: str, uri: str, switches: Switches) -> str:
    listed = "\n".join(f"  {line}" for line in describe(switches).splitlines())
    return (
        f"Local Paperspace at {url} (Ctrl+C stops it)\n\n"
        f"export AIRFLOW_CONN_PAPERSPACE_DEFAULT='{uri}'\n\n"
        "Switches, for what is unknown about the real service (values are choices, not facts):\n"
        f"{listed}"
    )


if __name__ == "__main__":
    sys.exit(main())
