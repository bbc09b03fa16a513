"""Names and patterns: ``stale:*`` matches every name with that prefix, ``?`` one character, ``[ab]`` one of these.

A string is a pattern. A tag or project that another task returned is an object, and its name is taken literally: a tag
named ``*``, which anybody can create in the console, must not match every other tag.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypedDict

from airflow_provider_paperspace._quoting import quoted


class NameJson(TypedDict):
    """A literal name as it crosses XCom or the database."""

    name: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name or a pattern.

    :param is_literal: whether it is a name, in which ``*``, ``?`` and ``[`` stand for themselves.
    """

    text: str
    is_literal: bool = False

    def matches(self, name: str) -> bool:
        """Return whether the name matches. Case matters, and a pattern always matches its own text."""
        return name == self.text or (not self.is_literal and fnmatchcase(name, self.text))

    @property
    def has_wildcard(self) -> bool:
        """Whether it can match more than one name."""
        return not self.is_literal and any(character in self.text for character in "*?[")

    def as_json(self) -> str | NameJson:
        """Return it as plain JSON: a pattern as text, a literal name as an object."""
        return {"name": self.text} if self.is_literal else self.text

    def __str__(self) -> str:
        """Return the text in quotes."""
        return quoted(self.text)


def first_match(name: str, patterns: Iterable[Pattern]) -> Pattern | None:
    """Return the first pattern that matches the name, or None."""
    return next((pattern for pattern in patterns if pattern.matches(name)), None)


def has_open_bracket(text: str) -> bool:
    """Return whether a pattern has a ``[`` that is never closed, which therefore matches only itself."""
    start = text.find("[")
    while start >= 0:
        # As in fnmatch: a ']' right after '[' or '[!' is one of the characters, and does not close the set.
        end = text.find("]", start + (3 if text[start + 1 : start + 2] == "!" else 2))
        if end < 0:
            return True
        start = text.find("[", end)
    return False
