"""Names and patterns: ``stale:*`` matches every name with that prefix, ``?`` one character, ``[ab]`` one of these."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def first_match(name: str, patterns: Iterable[str]) -> str | None:
    """Return the first pattern that matches the name, or None.

    Case counts. A name always matches itself, whatever characters it contains.
    """
    return next((pattern for pattern in patterns if name == pattern or fnmatchcase(name, pattern)), None)
