"""What the service's answers hold, as frozen values.

Parsing is strict about what we use and silent about the rest: a new field breaks nothing, a missing one is an
error that names it. The parsers raise :class:`ValueError`; the flow that called them knows the project to name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypedDict, TypeVar

T = TypeVar("T")


class TagJson(TypedDict):
    """A tag with the API's own keys: what crosses XCom."""

    id: int
    name: str
    dtCreated: str


class ProjectJson(TypedDict):
    """A project with the API's own keys: what crosses XCom."""

    id: str
    name: str
    dtCreated: str
    repoUrl: str | None


@dataclass(frozen=True, slots=True)
class Tag:
    """A label on a project.

    :param id: the tag's number. Most likely the team's: the same name on two projects has the same one.
    :param dt_created: RFC 3339 text as the service gave it. It may be older than the tag's place on the project.
    """

    id: int
    name: str
    dt_created: str

    @property
    def created_at(self) -> datetime:
        """``dt_created`` as an aware UTC instant.

        :raises ValueError: the service gave no RFC 3339 date-time.
        """
        return _instant(self.dt_created)

    def as_json(self) -> TagJson:
        """Give the tag as plain JSON, under the API's own keys."""
        return {"id": self.id, "name": self.name, "dtCreated": self.dt_created}


@dataclass(frozen=True, slots=True)
class Project:
    """A project of the key's team.

    :param dt_deleted: when it was deleted, or None while it lives.
    """

    id: str
    name: str
    dt_created: str
    dt_deleted: str | None = None
    repo_url: str | None = None

    def as_json(self) -> ProjectJson:
        """Give the project as plain JSON, under the API's own keys."""
        return {"id": self.id, "name": self.name, "dtCreated": self.dt_created, "repoUrl": self.repo_url}


@dataclass(frozen=True, slots=True)
class Session:
    """Who the API key belongs to. Personal data: the address stays out of the repr."""

    user_id: str
    user_email: str = field(repr=False)
    team_id: str
    team_namespace: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    :param next_page: the cursor that leads on; None when the service gave none.
    """

    items: list[T]
    has_more: bool
    next_page: str | None


@dataclass(frozen=True, slots=True)
class TagChange:
    """What a write did to a project's tags.

    :param unchanged: tags that were to be there and were.
    :param absent: names that were to be gone and were.
    :param before: the names that the project had when it was read.
    :param after: the names that it has now, as far as was seen.
    """

    added: tuple[Tag, ...] = ()
    removed: tuple[Tag, ...] = ()
    unchanged: tuple[Tag, ...] = ()
    absent: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def present(self, names: Iterable[str]) -> list[Tag]:
        """List the tags that are there after the write, in the order of their names in ``names``."""
        tags = {tag.name: tag for tag in (*self.unchanged, *self.added)}
        return [tags[name] for name in names]

    def __str__(self) -> str:
        """Say it in a line: ``added 'nightly'; 'gpu' was there already``."""
        parts = [
            f"added {_quoted(self.added)}" if self.added else "",
            f"removed {_quoted(self.removed)}" if self.removed else "",
            f"{_quoted(self.unchanged)} {_was(self.unchanged)} there already" if self.unchanged else "",
            f"{', '.join(map(repr, self.absent))} {_was(self.absent)} not there" if self.absent else "",
        ]
        return "; ".join(filter(None, parts)) or "no tags to change"


def parse_tag(body: bytes) -> Tag:
    """Read one tag."""
    return _tag(_load(body))


def parse_tag_page(body: bytes) -> Page[Tag]:
    """Read one page of tags."""
    return _page(_load(body), _tag)


def parse_project(body: bytes) -> Project:
    """Read one project."""
    return _project(_load(body))


def parse_project_page(body: bytes) -> Page[Project]:
    """Read one page of projects."""
    return _page(_load(body), _project)


def parse_session(body: bytes) -> Session | None:
    """Read the session; None when the service does not know the key."""
    value = _load(body)
    if value is None:
        return None
    user = _field(value, "user", dict, "a session")
    team = _field(value, "team", dict, "a session")
    return Session(
        user_id=_field(user, "id", str, "a session's user"),
        user_email=_field(user, "email", str, "a session's user"),
        team_id=_field(team, "id", str, "a session's team"),
        team_namespace=_field(team, "namespace", str, "a session's team"),
    )


def _quoted(tags: Iterable[Tag]) -> str:
    return ", ".join(repr(tag.name) for tag in tags)


def _was(several: Sized) -> str:
    return "was" if len(several) == 1 else "were"


def _load(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None


def _page(value: object, parse_item: Callable[[object], T]) -> Page[T]:
    items = _field(value, "items", list, "a page")
    has_more = _field(value, "hasMore", bool, "a page")
    next_page = _optional_text(value, "nextPage", "a page")
    return Page([parse_item(item) for item in items], has_more, next_page)


def _tag(value: object) -> Tag:
    # A list of 10,000 tags passes here: the usual case costs three look-ups and no further call.
    if type(value) is dict:
        number, name, dt_created = value.get("id"), value.get("name"), value.get("dtCreated")
        if type(number) is int and type(name) is str and type(dt_created) is str:
            return Tag(number, name, dt_created)
        if type(number) is float and number.is_integer():
            # The reference says "number": JSON knows one kind of those, and 7.0 is 7.
            return _tag({**value, "id": int(number)})
    return Tag(
        id=_field(value, "id", int, "a tag"),
        name=_field(value, "name", str, "a tag"),
        dt_created=_field(value, "dtCreated", str, "a tag"),
    )


def _project(value: object) -> Project:
    return Project(
        id=_field(value, "id", str, "a project"),
        name=_field(value, "name", str, "a project"),
        dt_created=_field(value, "dtCreated", str, "a project"),
        dt_deleted=_optional_text(value, "dtDeleted", "a project"),
        repo_url=_optional_text(value, "repoUrl", "a project"),
    )


def _field(value: object, key: str, kind: type[T], whose: str) -> T:
    if type(value) is not dict:
        raise ValueError(f"{whose} is {_json_kind(value)}, not an object")
    found = value.get(key)
    if type(found) is not kind:
        what = "missing" if key not in value else _json_kind(found)
        raise ValueError(f"{key!r} of {whose} is {what}")
    return found


def _optional_text(value: object, key: str, whose: str) -> str | None:
    return None if type(value) is dict and value.get(key) is None else _field(value, key, str, whose)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return instant.astimezone(UTC)


def _json_kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
