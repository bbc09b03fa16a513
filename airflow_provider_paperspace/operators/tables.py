"""Tables of text, for a task's log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_WIDEST: Final = 100


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, at_most: int | None = None) -> str:
    """Lay rows out in columns, as text of several lines.

    :param at_most: how many rows to show; the others are counted in a last line.
    """
    shown = [[_one_line(cell) for cell in row] for row in rows[:at_most]]
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(header, *shown, strict=True)]
    lines = [header, ["-" * width for width in widths], *shown]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    left = len(rows) - len(shown)
    return f"{text}\nand {left:,} more" if left else text


def _one_line(cell: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cell)
