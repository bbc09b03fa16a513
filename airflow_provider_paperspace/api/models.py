"""Values that the API returns and works with. Plain data: no requests, no parsing.

``Tag``, ``Project`` and ``Session`` come from the service. ``TagTarget`` is what a policy asks for, ``TagPlan`` is how
it differs from the current tags, and ``TagChange`` is what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypedDict

from airflow_provider_paperspace._quoting import quoted_list

ProtectedBy = Callable[[str], str]
"""Takes a tag name; returns what protects the tag from removal, for messages, or an empty string if nothing does."""


def unprotected(name: str) -> str:
    """Return an empty string: nothing protects the tag."""
    return ""


class TagJson(TypedDict):
    """A tag as passed through XCom, with the keys of the API."""

    id: int
    name: str
    dtCreated: str


class ProjectJson(TypedDict):
    """A project as passed through XCom, with the keys of the API."""

    id: str
    name: str
    dtCreated: str
    repoUrl: str | None


@dataclass(frozen=True, slots=True)
class Tag:
    """A label on a project.

    :param id: the tag's number. Most likely one per name and team: the same name on two projects has the same id.
    :param dt_created: RFC 3339 text as the service sent it. It may be earlier than when this project got the tag.
    """

    id: int
    name: str
    dt_created: str

    @property
    def created_at(self) -> datetime | None:
        """``dt_created`` as an aware UTC instant; None if it is not an RFC 3339 date-time."""
        try:
            instant = datetime.fromisoformat(self.dt_created)
            return None if instant.tzinfo is None else instant.astimezone(UTC)
        except (ValueError, OverflowError):  # the first and last hours of the calendar overflow in UTC
            return None

    def as_json(self) -> TagJson:
        """Return the tag as plain JSON, with the keys of the API."""
        return {"id": self.id, "name": self.name, "dtCreated": self.dt_created}


@dataclass(frozen=True, slots=True)
class Project:
    """A project of the key's team.

    :param dt_deleted: when it was deleted; None while it exists.
    """

    id: str
    name: str
    dt_created: str
    dt_deleted: str | None = None
    repo_url: str | None = None

    def as_json(self) -> ProjectJson:
        """Return the project as plain JSON, with the keys of the API."""
        return {"id": self.id, "name": self.name, "dtCreated": self.dt_created, "repoUrl": self.repo_url}


@dataclass(frozen=True, slots=True)
class Session:
    """Who the API key belongs to. Personal data: the email address stays out of the repr."""

    user_id: str
    user_email: str = field(repr=False)
    team_id: str
    team_namespace: str


@dataclass(frozen=True, slots=True)
class TagTarget:
    """Which tag names a project must have, and which it must not have. All other tags are left alone.

    :param is_exclusive: whether ``present`` must be the only tags of their kind, so that a tag which another writer
        adds at the same time is an error.
    """

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    is_exclusive: bool = False

    def plan(self, project_id: str, tags: Mapping[str, Tag], protected_by: ProtectedBy = unprotected) -> TagPlan:
        """Return the difference between a project's tags, by name, and this target."""
        return TagPlan(
            project_id=project_id,
            tags=dict(tags),
            add=tuple(name for name in self.present if name not in tags),
            remove=tuple(name for name in self.absent if name in tags),
            unchanged=tuple(name for name in self.present if name in tags),
            absent=tuple(name for name in self.absent if name not in tags),
            is_exclusive=self.is_exclusive,
            protected={name: reason for name in self.absent if (reason := protected_by(name))},
        )


@dataclass(frozen=True, slots=True)
class TagPlan:
    """The difference between a project's tags and a target.

    :param tags: the project's tags by name, as read.
    :param add: names to add, in the order in which they are written.
    :param remove: names to remove, after the additions.
    :param unchanged: names that must be present and are.
    :param absent: names that must be absent and are.
    :param is_exclusive: whether the tags are read again after writing, to detect other writers.
    :param protected: the names among ``remove`` and ``absent`` that may not be removed, and what protects them.
    """

    project_id: str
    tags: Mapping[str, Tag]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    unchanged: tuple[str, ...]
    absent: tuple[str, ...]
    is_exclusive: bool = False
    protected: Mapping[str, str] = field(default_factory=dict)

    @property
    def after(self) -> tuple[str, ...]:
        """The names that the project would have once the plan is carried out."""
        return tuple(name for name in (*self.tags, *self.add) if name not in self.remove)

    def __str__(self) -> str:
        """Return the plan as one line: ``would add 'nightly'; would remove nothing``."""
        return f"would add {quoted_list(self.add) or 'nothing'}; would remove {quoted_list(self.remove) or 'nothing'}"


@dataclass(slots=True)
class TagChange:
    """The record of what was written to the tags of one project.

    The caller owns it, and each confirmed write is added to it. However the work ends, with an error, a timeout or a
    signal, it shows what was done before that.

    :param before: the names that the project had when it was first read; None before that.
    :param after: the names that the project had after the last read or write; None before the first read.
    :param added: tags that were added.
    :param removed: tags that were removed.
    :param unchanged: tags that had to be present and were.
    :param absent: names that had to be absent and were.
    :param unsettled: names whose write was sent but not confirmed: whether it took effect is unknown.
    """

    project_id: str
    before: tuple[str, ...] | None = None
    after: tuple[str, ...] | None = None
    added: list[Tag] = field(default_factory=list)
    removed: list[Tag] = field(default_factory=list)
    unchanged: list[Tag] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Return whether anything was written."""
        return bool(self.added or self.removed)

    def present(self, names: Iterable[str]) -> list[Tag]:
        """Return the tags that are there after the write, in the order of ``names``."""
        tags = {tag.name: tag for tag in (*self.unchanged, *self.added)}
        return [tags[name] for name in names]

    def __str__(self) -> str:
        """Return the change as one line: ``added 'nightly'; 'gpu' was already there``."""
        parts = [
            f"added {quoted_list(tag.name for tag in self.added)}" if self.added else "",
            f"removed {quoted_list(tag.name for tag in self.removed)}" if self.removed else "",
            f"{quoted_list(tag.name for tag in self.unchanged)} {_was(self.unchanged)} already there"
            if self.unchanged
            else "",
            f"{quoted_list(self.absent)} {_was(self.absent)} not there" if self.absent else "",
        ]
        return "; ".join(filter(None, parts)) or "no tags to change"


def _was(items: Sized) -> str:
    return "was" if len(items) == 1 else "were"
