"""Text from outside, as messages and log lines show it: escaped, so that it stays on one line, and truncated."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import islice
from typing import Final

MAX_CHARS: Final = 200
MAX_NAMES: Final = 20
LOG_COLUMNS: Final = 100
"""What fits on a line of Airflow's log view in a window that is 1440 pixels wide, next to time and level."""


def excerpt(text: str) -> str:
    """Return the beginning of the text, with a ``…`` if that is not all."""
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


def printable(text: str) -> str:
    """Return the beginning of the text, and escape everything that could forge a log line."""
    return escaped(excerpt(text))


def escaped(text: str) -> str:
    """Return the whole text, and escape everything that could forge a log line."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def quoted(text: str) -> str:
    """Return the beginning of the text, escaped and in quotes."""
    return repr(excerpt(text))


def quoted_list(names: Iterable[str]) -> str:
    """Return the names in quotes, as one line: ``'gpu', 'nightly'``; after 20 names, only how many more there are."""
    names = iter(names)
    shown = ", ".join(map(quoted, islice(names, MAX_NAMES)))
    more = sum(1 for _ in names)
    return f"{shown} and {more:,} more" if more else shown


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, for a message: ``1 project``, ``1,200 projects``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_log_lines(message: str) -> str:
    """Return a message wrapped into lines that Airflow's log view shows in full; it cuts off longer lines."""
    return textwrap.fill(message, LOG_COLUMNS, break_long_words=False, break_on_hyphens=False)
