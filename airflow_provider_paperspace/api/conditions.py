"""What a waiting task asks of a project's tags: one pure question, for a sensor's poke and for a trigger alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from airflow_provider_paperspace.api.matching import first_match
from airflow_provider_paperspace.api.messages import check_tag_names
from airflow_provider_paperspace.api.models import Tag

MatchMode = Literal["all", "any", "none"]

MATCH_MODES: Final = get_args(MatchMode)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the tags came to.

    :param is_met: whether the wait is over.
    :param matching: the tags that match.
    """

    is_met: bool
    matching: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class TagCondition:
    """Names or patterns, and how many of them must have a tag.

    :param patterns: names, or patterns such as ``approved:*``.
    :param mode: ``all``: each has a tag that matches; ``any``: at least one has; ``none``: none has.
    """

    patterns: tuple[str, ...]
    mode: MatchMode = "all"

    def look(self, tags: Iterable[Tag]) -> Look:
        """Look at the tags of a project."""
        matching = tuple(tag for tag in tags if first_match(tag.name, self.patterns) is not None)
        if self.mode == "all":
            is_met = all(any(first_match(tag.name, (pattern,)) for tag in matching) for pattern in self.patterns)
        else:
            is_met = bool(matching) == (self.mode == "any")
        return Look(is_met, matching)

    def __str__(self) -> str:
        """Say what is waited for: ``all of 'approved', 'eval:*'``."""
        return f"{self.mode} of {', '.join(map(repr, self.patterns))}"


def tag_condition(patterns: str | Sequence[str], mode: object = "all") -> TagCondition:
    """Check what is waited for.

    :raises ValueError: nothing is waited for, a pattern is blank, or there is no such mode.
    :raises TypeError: a pattern is no text.
    """
    checked = check_tag_names(patterns)
    if not checked:
        raise ValueError("There is no tag to wait for: the list is empty.")
    if mode == "all" or mode == "any" or mode == "none":
        return TagCondition(checked, mode)
    raise ValueError(f"mode_of_match is {mode!r}, and must be one of {', '.join(map(repr, MATCH_MODES))}.")
