"""What a wait asks of a project's tags, and which tags appeared or disappeared between two readings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.rules.patterns import first_match

MatchMode = Literal["all", "any", "none"]

MAX_COUNTED_NAMES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Match:
    """What a condition found in a project's tags.

    :param is_met: whether the wait is over.
    :param tags: the tags that match.
    """

    is_met: bool
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class TagCondition:
    """Names or patterns, and how many of them must have a tag.

    :param patterns: names, or patterns such as ``approved:*``.
    :param mode: ``all``: each has a matching tag; ``any``: at least one has; ``none``: none has.
    """

    patterns: tuple[str, ...]
    mode: MatchMode = "all"

    def match(self, tags: Iterable[Tag]) -> Match:
        """Return whether the tags of a project meet this condition, and which of them match."""
        matching = tuple(tag for tag in tags if first_match(tag.name, self.patterns) is not None)
        if self.mode == "all":
            is_met = all(any(first_match(tag.name, (pattern,)) for tag in matching) for pattern in self.patterns)
        else:
            is_met = bool(matching) == (self.mode == "any")
        return Match(is_met, matching)

    def __str__(self) -> str:
        """Return the condition as text: ``all of 'approved', 'eval:*'``."""
        return f"{self.mode} of {', '.join(map(repr, self.patterns))}"


@dataclass(frozen=True, slots=True)
class TagEvent:
    """A tag that appeared or disappeared.

    :param number: which event of this name it is, from 1.
    :param tag: the tag; None when it disappeared.
    """

    name: str
    appeared: bool
    number: int
    tag: Tag | None


@dataclass(slots=True)
class TagWatch:
    """Remembers which tags matched at the last reading. The first reading is the baseline and gives no events.

    :param patterns: names or patterns of the tags to watch.
    :param seen: the names that matched at the last reading; None before the first.
    :param counts: number of events per name, for the last 1,000 names that had one.
    """

    patterns: tuple[str, ...]
    seen: set[str] | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def observe(self, tags: Iterable[Tag]) -> list[TagEvent]:
        """Return what appeared and disappeared since the last reading, by name."""
        there = {tag.name: tag for tag in tags if first_match(tag.name, self.patterns) is not None}
        before, self.seen = self.seen, set(there)
        if before is None:
            return []
        return [
            TagEvent(name, name in there, self._count(name), there.get(name)) for name in sorted(before ^ self.seen)
        ]

    def as_json(self) -> dict[str, Any]:
        """Return what was seen, to be stored over a restart."""
        return {"seen": sorted(self.seen or ()), "counts": dict(self.counts)}

    def restore(self, stored: object) -> None:
        """Continue from what was stored. What cannot be read is ignored, and the next reading is a baseline."""
        if not isinstance(stored, Mapping):
            return
        seen, counts = stored.get("seen"), stored.get("counts")
        if not isinstance(seen, list) or not all(isinstance(name, str) for name in seen):
            return
        if isinstance(counts, Mapping) and all(type(count) is int for count in counts.values()):
            self.seen, self.counts = set(seen), dict(counts)

    def _count(self, name: str) -> int:
        number = self.counts.pop(name, 0) + 1
        self.counts[name] = number
        if len(self.counts) > MAX_COUNTED_NAMES:
            del self.counts[next(iter(self.counts))]
        return number


def event_id(*parts: object) -> str:
    """Return a short id that is the same for the same parts on every machine."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
