"""Tags whose name ends with their last day, as ``name@date``: ``gpu-demo@2026-12-01``.

The day is a UTC date, ``YYYY-MM-DD``. The tag is valid until the end of that day, so this one counts as
expired from 2 December on. A name may contain other ``@`` characters; only what follows the last one is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

SEPARATOR: Final = "@"

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LOOKS_LIKE_A_DATE: Final = re.compile(r"\s*(\d{4}[-/.]\d{1,2}(?!\d)|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{8}\s*$)")


@dataclass(frozen=True, slots=True)
class ExpiringName:
    """A tag name with a last day.

    :param name: the part before the separator.
    :param last_day: the last day, in UTC, on which the tag is valid.
    """

    name: str
    last_day: date

    def __str__(self) -> str:
        """Return the name as it is written on the project."""
        return f"{self.name}{SEPARATOR}{self.last_day.isoformat()}"

    def has_expired(self, now: datetime) -> bool:
        """Return whether the last day is over.

        :param now: an aware instant.
        """
        return now.astimezone(UTC).date() > self.last_day


def parse_expiring_name(name: str) -> ExpiringName | None:
    """Return a tag name and its last day; None if the text is not a name with a valid date after ``@``."""
    base, separator, text = name.rpartition(SEPARATOR)
    if not separator or not base.strip() or not _DATE.fullmatch(text):
        return None
    try:
        return ExpiringName(base, date.fromisoformat(text))
    except ValueError:
        return None


def other_marks(mark: ExpiringName, names: Iterable[str]) -> list[ExpiringName]:
    """Return the entries of ``names`` with the name of ``mark`` and a different last day, earliest first."""
    marks = [found for name in names if (found := parse_expiring_name(name)) is not None and found.name == mark.name]
    return sorted((found for found in marks if found != mark), key=lambda found: found.last_day)


def has_unreadable_date(name: str) -> bool:
    """Return whether something like a date follows the last ``@``, but not a valid one: ``gpu@2026-13-01``."""
    _, separator, text = name.rpartition(SEPARATOR)
    return bool(separator) and parse_expiring_name(name) is None and bool(_LOOKS_LIKE_A_DATE.match(text))
