"""Which tags are stale.

A tag is stale when it has expired (``expired``), or when it matches ``names``. ``older_than`` limits ``names`` to tags
whose ``dtCreated`` is longer ago than that; without ``names``, every tag older than that is stale. ``keep`` always
wins. A tag with an unreadable date is left in place and reported, unless another rule makes it stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from airflow_provider_paperspace._quoting import quoted
from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.rules.expiry import has_unreadable_date, parse_expiring_name
from airflow_provider_paperspace.rules.patterns import NameJson, Pattern, first_match


class RulesJson(TypedDict):
    """The rules as passed through XCom."""

    names: list[str | NameJson]
    keep: list[str | NameJson]
    expired: bool
    older_than_s: float | None
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanUpRules:
    """What makes a tag stale.

    :param names: names or patterns of stale tags.
    :param keep: names or patterns of tags that stay, whatever the other rules say.
    :param expired: whether tags are stale once their last day is over.
    :param older_than: minimum age of a tag, by its ``dtCreated``.
    :param now: the timezone-aware datetime that counts as now.
    """

    names: tuple[Pattern, ...] = ()
    keep: tuple[Pattern, ...] = ()
    expired: bool = True
    older_than: timedelta | None = None
    now: datetime

    def stale_reason(self, tag: Tag) -> str | None:
        """Return why the tag is stale; None if it stays."""
        if first_match(tag.name, self.keep) is not None:
            return None
        return self._expired_reason(tag) or self._match_reason(tag)

    def unreadable_reason(self, tag: Tag) -> str | None:
        """Return why a date that a rule needs is unreadable; None if all such dates are readable."""
        if first_match(tag.name, self.keep) is not None:
            return None
        if self.expired and has_unreadable_date(tag.name):
            return "the part after its last '@' is not a date such as 2026-12-01"
        if self.older_than is not None and tag.created_at is None:
            return f"its dtCreated {quoted(tag.dt_created)} is not a date-time"
        return None

    def as_json(self) -> RulesJson:
        """Return the rules as plain JSON."""
        return {
            "names": [pattern.as_json() for pattern in self.names],
            "keep": [pattern.as_json() for pattern in self.keep],
            "expired": self.expired,
            "older_than_s": None if self.older_than is None else self.older_than.total_seconds(),
            "now": self.now.astimezone(UTC).isoformat(),
        }

    def _expired_reason(self, tag: Tag) -> str | None:
        expiring = parse_expiring_name(tag.name) if self.expired else None
        if expiring is None or not expiring.has_expired(self.now):
            return None
        return f"expired after {expiring.last_day}"

    def _match_reason(self, tag: Tag) -> str | None:
        if not self.names and self.older_than is None:
            return None
        reasons = []
        if self.names:
            pattern = first_match(tag.name, self.names)
            if pattern is None:
                return None
            reasons.append(f"matches {pattern}")
        if self.older_than is not None:
            created = tag.created_at
            if created is None or self.now - created <= self.older_than:
                return None
            reasons.append(f"created on {created.date()}")
        return ", ".join(reasons)
