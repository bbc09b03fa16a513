"""Tags that come and go, as events: each appearance is told once, and each disappearance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_paperspace.api.matching import first_match
from airflow_provider_paperspace.api.models import Tag


@dataclass(frozen=True, slots=True)
class Sighting:
    """A tag that came, or went.

    :param number: the how many-th event of this watch it is, from 1 up.
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
    :param count: how many events there were so far.
    """

    patterns: tuple[str, ...]
    seen: set[str] | None = None
    count: int = field(default=0)

    def look(self, tags: Iterable[Tag]) -> list[Sighting]:
        """Look at a project's tags: give what came and what went since the last look, by name."""
        there = {tag.name: tag for tag in tags if first_match(tag.name, self.patterns) is not None}
        before, self.seen = self.seen, set(there)
        if before is None:
            return []
        sightings = []
        for name in sorted(before ^ self.seen):
            self.count += 1
            sightings.append(Sighting(name, name in there, self.count, there.get(name)))
        return sightings

    def as_json(self) -> dict[str, Any]:
        """Give what was seen, to be kept over a restart."""
        return {"seen": sorted(self.seen or ()), "count": self.count}

    def recall(self, kept: object) -> None:
        """Take up what was kept; what cannot be read is left, and the next look is a baseline."""
        if not isinstance(kept, Mapping):
            return
        seen, count = kept.get("seen"), kept.get("count")
        if isinstance(seen, list) and all(isinstance(name, str) for name in seen) and type(count) is int:
            self.seen, self.count = set(seen), count


def event_id(*parts: object) -> str:
    """Give a short id that is the same for the same parts, on every machine."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
