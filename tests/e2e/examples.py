"""The example DAGs, with as few changes as tests of a few minutes need."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import REPOSITORY

# The tests alone start them, and nothing waits for long.
CHANGES = (
    (r'schedule="[\d* ]+"', "schedule=None"),
    (r"timedelta\((seconds|minutes)=\d+\)", "timedelta(seconds=1)"),
    (r"poke_interval=30\b", "poke_interval=1"),
)


def copy_examples(folder: Path) -> None:
    """Copy the example DAGs to a folder."""
    for path in (REPOSITORY / "dags").glob("*.py"):
        text = path.read_text()
        for pattern, replacement in CHANGES:
            text = re.sub(pattern, replacement, text)
        (folder / path.name).write_text(text)
