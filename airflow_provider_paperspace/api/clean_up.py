"""Which tags are stale: pure rules, and the plan that they come to, as plain JSON that may travel between tasks.

A tag goes when it has expired (``expired``), or when it matches ``names``; ``older_than`` narrows ``names`` to tags
whose ``dtCreated`` is that old, and stands alone for every tag of that age. ``keep`` always wins. A date that cannot
be read counts for nothing, and is told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from airflow_provider_paperspace.api.expiring_tags import has_unreadable_date, parse_expiring_tag
from airflow_provider_paperspace.api.matching import first_match
from airflow_provider_paperspace.api.messages import check_project_id, check_tag_names
from airflow_provider_paperspace.api.models import Tag


class RulesJson(TypedDict):
    """The rules as they travel."""

    names: list[str]
    keep: list[str]
    expired: bool
    older_than_s: float | None
    now: str


class Removal(TypedDict):
    """A tag that is to go, or has gone.

    :param project: the project's name, where it is known.
    :param reason: why it is stale.
    """

    project_id: str
    project: str
    tag: str
    reason: str


class Doubt(TypedDict):
    """A tag that stays although it was looked at twice.

    :param why: what kept it.
    """

    project_id: str
    tag: str
    why: str


class Report(TypedDict):
    """A plan, and what became of it.

    :param projects: how many projects were looked at.
    :param planned: what is to go.
    :param removed: what has gone; nothing, after a dry run.
    :param spared: what was planned and stays: it is gone already, is kept, or is no longer stale.
    :param unreadable: tags with a date that cannot be read, which therefore stay.
    :param failed: what went wrong, by project id.
    """

    dry_run: bool
    projects: int
    rules: RulesJson
    planned: list[Removal]
    removed: list[Removal]
    spared: list[Doubt]
    unreadable: list[Doubt]
    failed: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanUpRules:
    """What makes a tag stale.

    :param names: names or patterns of tags that go.
    :param keep: names or patterns of tags that stay, whatever else holds.
    :param expired: whether tags go whose last day is over.
    :param older_than: how long ago a tag must have been created; alone, for any name.
    :param now: the aware instant that is taken for now.
    :raises ValueError: no rule would ever remove anything, or one makes no sense.
    """

    names: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    expired: bool = True
    older_than: timedelta | None = None
    now: datetime

    def __post_init__(self) -> None:
        if self.older_than is not None and self.older_than <= timedelta(0):
            raise ValueError(f"older_than is {self.older_than}, and must be a time above 0.")
        if not self.names and not self.expired and self.older_than is None:
            raise ValueError("There is no criterion: give names or older_than, or leave expired on.")

    def reason(self, tag: Tag) -> str | None:
        """Say why the tag is stale; None when it stays."""
        if first_match(tag.name, self.keep) is not None:
            return None
        return self._expiry(tag) or self._match(tag)

    def doubt(self, tag: Tag) -> str | None:
        """Say which date of the tag cannot be read although the rules ask for it."""
        if first_match(tag.name, self.keep) is not None:
            return None
        if self.expired and has_unreadable_date(tag.name):
            return "what follows its last '@' is no date such as 2026-12-01"
        if self.older_than is not None and self._created(tag) is None:
            return f"its dtCreated {tag.dt_created!r} is no date-time"
        return None

    def as_json(self) -> RulesJson:
        """Give the rules as they travel."""
        return {
            "names": list(self.names),
            "keep": list(self.keep),
            "expired": self.expired,
            "older_than_s": None if self.older_than is None else self.older_than.total_seconds(),
            "now": self.now.astimezone(UTC).isoformat(),
        }

    def _expiry(self, tag: Tag) -> str | None:
        expiring = parse_expiring_tag(tag.name) if self.expired else None
        if expiring is None or not expiring.has_expired(self.now):
            return None
        return f"its last day was {expiring.last_day}"

    def _match(self, tag: Tag) -> str | None:
        if not self.names and self.older_than is None:
            return None
        reasons = []
        if self.names:
            pattern = first_match(tag.name, self.names)
            if pattern is None:
                return None
            reasons.append(f"matches {pattern!r}")
        if self.older_than is not None:
            created = self._created(tag)
            if created is None or self.now - created <= self.older_than:
                return None
            reasons.append(f"was created on {created.date()}")
        return " and ".join(reasons)

    def _created(self, tag: Tag) -> datetime | None:
        try:
            return tag.created_at
        except ValueError:
            return None


def rules_from_json(value: Any, *, keep: tuple[str, ...] = ()) -> CleanUpRules:
    """Read rules that travelled.

    :param keep: more names or patterns of tags that stay.
    :raises ValueError: they make no sense. :raises TypeError: they are no rules.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("expired"), bool):
        raise TypeError("The plan has no rules: it is none that CleanUpProjectTagsOperator returned.")
    older_than_s = value.get("older_than_s")
    if older_than_s is not None and (type(older_than_s) not in (int, float) or not math.isfinite(older_than_s)):
        raise TypeError("The plan's rule older_than_s is no number of seconds.")
    now = datetime.fromisoformat(str(value.get("now")))
    if now.tzinfo is None:
        raise ValueError("The plan's rule now has no time zone.")
    return CleanUpRules(
        names=check_tag_names(value.get("names")),
        keep=(*check_tag_names(value.get("keep")), *keep),
        expired=value["expired"],
        older_than=None if older_than_s is None else timedelta(seconds=older_than_s),
        now=now,
    )


def planned_from_json(value: Any) -> list[Removal]:
    """Read the tags of a plan that travelled, each once.

    :raises TypeError: it is no plan. :raises ValueError: a project or tag in it could not be sent.
    """
    planned = value.get("planned") if isinstance(value, Mapping) else None
    if not isinstance(planned, list) or not all(isinstance(item, Mapping) for item in planned):
        found = "None" if value is None else f"a {type(value).__name__}"
        raise TypeError(f"plan is {found}, and must be what CleanUpProjectTagsOperator returned, whole.")
    removals: dict[tuple[str, str], Removal] = {}
    for item in planned:
        project_id = check_project_id(item.get("project_id"))
        (tag,) = check_tag_names([item.get("tag")])
        removals[project_id, tag] = {
            "project_id": project_id,
            "project": str(item.get("project") or ""),
            "tag": tag,
            "reason": str(item.get("reason") or ""),
        }
    return list(removals.values())
