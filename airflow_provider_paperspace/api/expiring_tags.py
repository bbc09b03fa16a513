"""Tags that carry the day on which they end, as ``name@date``: ``gpu-demo@2026-12-01``.

The day is a UTC date, ``YYYY-MM-DD``, and the tag holds through all of it: on 2 December it has expired. A name may
hold further ``@``; only what follows the last one is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

MARK: Final = "@"

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LOOKS_LIKE_A_DATE: Final = re.compile(r"\s*(\d{4}[-/.]\d{1,2}(?!\d)|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{8}\s*$)")


@dataclass(frozen=True, slots=True)
class ExpiringTag:
    """A tag name taken apart.

    :param name: what stands before the mark.
    :param last_day: the last day, in UTC, on which the tag holds.
    """

    name: str
    last_day: date

    def __str__(self) -> str:
        """Put it together again: the name on the project."""
        return f"{self.name}{MARK}{self.last_day.isoformat()}"

    def has_expired(self, now: datetime) -> bool:
        """Say whether the last day is over.

        :param now: an aware instant.
        """
        return now.astimezone(UTC).date() > self.last_day


def expiring_tag(name: str, last_day: date) -> ExpiringTag:
    """Let a name end on a day.

    :raises ValueError: the name ends on a day already, or could be taken for one that does.
    """
    if parse_expiring_tag(name) is not None or has_unreadable_date(name):
        raise ValueError(f"The tag name {name!r} carries a date already. Give it without, or do not let it expire.")
    # An instant is a date, too, and would bring its hour along.
    return ExpiringTag(name, date(last_day.year, last_day.month, last_day.day))


def parse_expiring_tag(name: str) -> ExpiringTag | None:
    """Take a tag name apart; None when it carries no date that can be read."""
    base, mark, text = name.rpartition(MARK)
    if not mark or not base.strip() or not _DATE.fullmatch(text):
        return None
    try:
        return ExpiringTag(base, date.fromisoformat(text))
    except ValueError:
        return None


def has_unreadable_date(name: str) -> bool:
    """Say whether a tag name ends in what looks like a date and is none: ``gpu@2026-13-01``, ``gpu@1/12/2026``."""
    _, mark, text = name.rpartition(MARK)
    return bool(mark) and parse_expiring_tag(name) is None and bool(_LOOKS_LIKE_A_DATE.match(text))
