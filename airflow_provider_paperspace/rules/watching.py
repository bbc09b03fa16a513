"""The condition that ends a wait, and the tags that appeared or disappeared between two readings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.rules.patterns import Pattern, first_match

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
    """Names or patterns, and how many of them must match a tag.

    :param patterns: names, or patterns such as ``approved:*``.
    :param mode: ``all``: each has a matching tag; ``any``: at least one does; ``none``: none does.
    """

    patterns: tuple[Pattern, ...]
    mode: MatchMode = "all"

    def match(self, tags: Iterable[Tag]) -> Match:
        """Return whether the tags of a project meet this condition, and which of them match."""
        matching = tuple(tag for tag in tags if first_match(tag.name, self.patterns) is not None)
        if self.mode == "all":
            is_met = all(any(pattern.matches(tag.name) for tag in matching) for pattern in self.patterns)
        else:
            is_met = bool(matching) == (self.mode == "any")
        return Match(is_met, matching)

    def __str__(self) -> str:
        """Return the condition as text: ``all of 'approved', 'eval:*'``."""
        return f"{self.mode} of {', '.join(map(str, self.patterns))}"


@dataclass(frozen=True, slots=True)
class TagEvent:
    """A tag that appeared or disappeared.

    :param number: distinguishes this event from other events of the same name; it always increases.
    :param tag: the tag; None when it disappeared.
    """

    name: str
    appeared: bool
    number: int
    tag: Tag | None


@dataclass(slots=True)
class TagWatch:
    """Remembers which tags matched at the last reading. The first reading is the baseline and yields no events.

    :param patterns: names or patterns of the tags to watch.
    :param epoch: a random id, new with each baseline, that distinguishes the events of this watch from all others.
    :param seen: the names that matched at the last reading; None before the first.
    :param counts: the number of the last event per name, for the last 1,000 names that had one.
    :param floor: the highest number among the names dropped from ``counts``, so that no name gets a number twice.
    """

    patterns: tuple[Pattern, ...]
    epoch: str
    seen: set[str] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    floor: int = 0

    def observe(self, tags: Iterable[Tag]) -> list[TagEvent]:
        """Return the tags that appeared or disappeared since the last reading, sorted by name."""
        there = {tag.name: tag for tag in tags if first_match(tag.name, self.patterns) is not None}
        before, self.seen = self.seen, set(there)
        if before is None:
            return []
        return [
            TagEvent(name, name in there, self._number(name), there.get(name)) for name in sorted(before ^ self.seen)
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the state as plain JSON, to be kept across a restart."""
        return {
            "epoch": self.epoch,
            "seen": sorted(self.seen or ()),
            "counts": dict(self.counts),
            "floor": self.floor,
        }

    def restore(self, stored: object) -> None:
        """Continue from the stored state. If it is malformed, ignore it; the next reading is then a new baseline."""
        if not isinstance(stored, Mapping):
            return
        epoch, seen, counts, floor = (stored.get(key) for key in ("epoch", "seen", "counts", "floor"))
        if not isinstance(epoch, str) or type(floor) is not int:
            return
        if not isinstance(seen, list) or not all(isinstance(name, str) for name in seen):
            return
        if isinstance(counts, Mapping) and all(type(count) is int for count in counts.values()):
            self.epoch, self.seen, self.counts, self.floor = epoch, set(seen), dict(counts), floor

    def _number(self, name: str) -> int:
        number = self.counts.pop(name, self.floor) + 1
        self.counts[name] = number
        if len(self.counts) > MAX_COUNTED_NAMES:
            self.floor = max(self.floor, self.counts.pop(next(iter(self.counts))))
        return number


def event_id(*parts: object) -> str:
    """Return a short id that is the same for the same parts on every machine."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
