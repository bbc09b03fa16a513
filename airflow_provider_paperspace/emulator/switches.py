"""Switches for behaviour that the vendor does not document.

Each default is an assumption. The provider works whichever way the real service behaves, and the tests prove it with
these switches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal


@dataclass(frozen=True, slots=True)
class Switches:
    """How this Paperspace behaves where the real service's behaviour is unknown."""

    last_page_cursor: Literal["null", "absent"] = "null"
    """``nextPage`` on the last page."""

    add_existing: Literal["200", "409", "500"] = "200"
    """The answer to adding a tag that exists."""

    remove_absent: Literal["404", "200"] = "404"
    """The answer to removing a tag that does not exist."""

    error_extras: Literal["issues", "details", "none"] = "issues"
    """What an answer to invalid input contains besides ``message`` and ``code``."""

    foreign_project: Literal["404", "403"] = "404"
    """The answer for another team's project."""

    case: Literal["sensitive", "insensitive"] = "sensitive"
    """Whether ``GPU`` and ``gpu`` are two tags."""

    default_page_size: int = 50
    """Items on a page when the request has no ``limit``: 1 to 120."""

    longest_name: str = "none"
    """``none``, or a maximum length and the status for longer names: ``64/400`` or ``64/500``."""

    tag_identity: Literal["team", "link"] = "team"
    """Whether a name has one id and date in the whole team, or new ones each time it is added to a project."""

    rate_limit_headers: Literal["none", "sent"] = "none"
    """Whether every answer has ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset``."""

    def with_values(self, values: Mapping[str, str]) -> Switches:
        """Return a copy with some switches changed, from names and values in their command-line form.

        :raises ValueError: unknown switch or value. The message lists the known ones.
        """
        return replace(self, **dict(_parsed(name, value) for name, value in values.items()))

    def name_limit(self) -> tuple[int, int] | None:
        """Return the maximum length of a name and the status for longer ones; None without a limit."""
        if self.longest_name == "none":
            return None
        length, status = self.longest_name.split("/")
        return int(length), int(status)


CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "last-page-cursor": ("null", "absent"),
    "add-existing": ("200", "409", "500"),
    "remove-absent": ("404", "200"),
    "error-extras": ("issues", "details", "none"),
    "foreign-project": ("404", "403"),
    "case": ("sensitive", "insensitive"),
    "default-page-size": ("50", "1 to 120"),
    "longest-name": ("none", "LENGTH/400", "LENGTH/500"),
    "tag-identity": ("team", "link"),
    "rate-limit-headers": ("none", "sent"),
}
"""Every switch in its command-line form, with its values, the default first."""


_PATTERNS: Final = {
    "default-page-size": r"[1-9]\d?|1[01]\d|120",
    "longest-name": r"none|[1-9]\d*/(400|500)",
}


def describe(switches: Switches) -> str:
    """Return the switches as ``name=value``, one per line."""
    return "\n".join(f"{f.name.replace('_', '-')}={getattr(switches, f.name)}" for f in fields(switches))


def _parsed(name: str, value: str) -> tuple[str, Any]:
    choices = CHOICES.get(name)
    if choices is None:
        raise ValueError(f"Unknown switch {name!r}. Known switches: {', '.join(CHOICES)}.")
    pattern = _PATTERNS.get(name, "|".join(choices))
    if re.fullmatch(pattern, value, re.ASCII) is None:
        raise ValueError(f"Switch {name!r}: invalid value {value!r}. Valid values: {', '.join(choices)}.")
    return name.replace("-", "_"), int(value) if name == "default-page-size" else value
