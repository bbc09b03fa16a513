"""Tags that come and go, as events: each appearance is told once, and each disappearance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_provider_paperspace.api.matching import first_match
from airflow_provider_paperspace.api.models import Tag

MAX_COUNTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Sighting:
    """A tag that came, or went.

    :param number: the how many-th event of this name it is, from 1 up.
    """

    name: str
    appeared: bool
    number: int
    tag: Tag | None


@dataclass(slots=True)
class Sightings:
    """What a watch saw last. The first look is the baseline: what is there then has not appeared.

    :param patterns: names or patterns of the tags to watch.
    :param seen: the names that matched at the last look; None before the first.
    :param counts: how many events each name has had, of the last 1,000 names that had one.
    """

    patterns: tuple[str, ...]
    seen: set[str] | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def look(self, tags: Iterable[Tag]) -> list[Sighting]:
        """Look at a project's tags: give what came and what went since the last look, by name."""
        there = {tag.name: tag for tag in tags if first_match(tag.name, self.patterns) is not None}
        before, self.seen = self.seen, set(there)
        if before is None:
            return []
        return [
            Sighting(name, name in there, self._count(name), there.get(name)) for name in sorted(before ^ self.seen)
        ]

    def as_json(self) -> dict[str, Any]:
        """Give what was seen, to be kept over a restart."""
        return {"seen": sorted(self.seen or ()), "counts": dict(self.counts)}

    def recall(self, kept: object) -> None:
        """Take up what was kept; what cannot be read is left, and the next look is a baseline."""
        if not isinstance(kept, Mapping):
            return
        seen, counts = kept.get("seen"), kept.get("counts")
        if not isinstance(seen, list) or not all(isinstance(name, str) for name in seen):
            return
        if isinstance(counts, Mapping) and all(type(count) is int for count in counts.values()):
            self.seen, self.counts = set(seen), dict(counts)

    def _count(self, name: str) -> int:
        number = self.counts.pop(name, 0) + 1
        self.counts[name] = number
        if len(self.counts) > MAX_COUNTS:
            del self.counts[next(iter(self.counts))]
        return number


def event_id(*parts: object) -> str:
    """Give a short id that is the same for the same parts, on every machine."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
