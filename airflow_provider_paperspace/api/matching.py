"""Names and patterns: ``stale:*`` matches every name that begins so, ``?`` one character, ``[ab]`` one of these."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def first_match(name: str, patterns: Iterable[str]) -> str | None:
    """Give the first pattern that the name matches, or None. Case counts; a name matches itself, whatever is in it."""
    return next((pattern for pattern in patterns if name == pattern or fnmatchcase(name, pattern)), None)
