"""``python -m airflow_provider_paperspace check``: say whether a connection works."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_paperspace", description="Tools of the Paperspace provider for Airflow."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say which settings hold, and whether key and project work")
    check.add_argument("--conn-id", default="paperspace_default", help="(default: paperspace_default)")
    check.add_argument("--project", metavar="ID", help="a project to read, too")
    options = parser.parse_args(arguments)

    # As Airflow's own command line does: without it, Airflow 3 would not look into its database for a connection.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    from airflow_provider_paperspace.check import check_connection

    works, report = check_connection(options.conn_id, options.project)
    print(report)
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main())
