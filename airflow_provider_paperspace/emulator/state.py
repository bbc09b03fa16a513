"""A team's projects and tags, and what the six operations do to them. No HTTP here."""

from __future__ import annotations

import base64
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from airflow_provider_paperspace.emulator.switches import Switches
from airflow_provider_paperspace.protocol import MAX_PAGE_SIZE

Json = dict[str, Any]

STATUS_BY_CODE: Final = {
    "PARSE_ERROR": 400,
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "TIMEOUT": 408,
    "CONFLICT": 409,
    "PRECONDITION_FAILED": 412,
    "PAYLOAD_TOO_LARGE": 413,
    "UNPROCESSABLE_CONTENT": 422,
    "TOO_MANY_REQUESTS": 429,
    "CLIENT_CLOSED_REQUEST": 499,
    "INTERNAL_SERVER_ERROR": 500,
}
"""The error codes that the vendor lists, except METHOD_NOT_SUPPORTED: a wrong method is answered with 404."""

DEFAULT_SEED: Final[Json] = {
    "team": {"id": "teacme00", "namespace": "acme"},
    "user": {"id": "usada000", "email": "ada@example.org", "firstName": "Ada", "lastName": "Lovelace"},
    "projects": [
        {"id": "prmximcci", "name": "vision-training", "tags": ["team:vision", "gpu"]},
        {"id": "prspeech01", "name": "speech-to-text", "tags": ["team:speech", "stale:2026-01", "gpu-demo"]},
        {"id": "prranking1", "name": "ranking", "tags": ["production", "stale:2025-11"]},
    ],
    "foreignProjects": [{"id": "prforeign1", "name": "another-teams", "tags": ["secret-plan"]}],
}
"""The initial state. A seed file has the same form; ``foreignProjects`` belong to another team."""


class RefusalError(Exception):
    """An error response: an error code, a message, and pairs of an invalid field and what is wrong with it."""

    def __init__(self, code: str, message: str, problems: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.status = STATUS_BY_CODE[code]
        self.message = message
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class StoredTag:
    """A stored tag."""

    id: int
    name: str
    dt_created: str

    def as_json(self) -> Json:
        """Return the tag as the API shows it."""
        return {"dtCreated": self.dt_created, "id": self.id, "name": self.name}


@dataclass(slots=True)
class StoredProject:
    """A stored project, and the tags linked to it, by key."""

    id: str
    name: str
    dt_created: str
    dt_deleted: str | None = None
    repo_url: str | None = None
    foreign: bool = False
    tags: dict[str, StoredTag] = field(default_factory=dict)
    by_age: list[StoredTag] | None = None

    def as_json(self) -> Json:
        """Return the project as the API shows it."""
        return {
            "dtCreated": self.dt_created,
            "dtDeleted": self.dt_deleted,
            "id": self.id,
            "name": self.name,
            "repoName": None,
            "repoNodeId": None,
            "repoUrl": self.repo_url,
        }

    def tags_by_age(self) -> list[StoredTag]:
        """Return the tags, oldest first; sorted again only after they change."""
        if self.by_age is None:
            self.by_age = sorted(self.tags.values(), key=_age)
        return self.by_age


class Paperspace:
    """The state of one local Paperspace.

    :param seed: the initial state, in the form of ``DEFAULT_SEED``.
    :param switches: how it behaves where the real service's behaviour is unknown.
    :param now: returns the instant for ``dtCreated``.
    :raises ValueError: the seed is malformed. The message says where.
    """

    def __init__(
        self,
        seed: Json | None = None,
        *,
        switches: Switches | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.switches = switches or Switches()
        self._now = now
        self._team_tags: dict[str, StoredTag] = {}
        self._next_tag_id = 1
        self.projects: dict[str, StoredProject] = {}
        seed = DEFAULT_SEED if seed is None else seed
        _check_seed_keys(seed, _SEED_KEYS, "the seed")
        self.team: Json = _seed_value(seed, "team", dict, DEFAULT_SEED["team"])
        self.user: Json = _seed_value(seed, "user", dict, DEFAULT_SEED["user"])
        for key, foreign in (("projects", False), ("foreignProjects", True)):
            for project in _seed_value(seed, key, list, []):
                self._seed_project(project, foreign=foreign)

    def add_project(self, project_id: str, name: str = "", tags: Iterable[str] = (), **more: Any) -> StoredProject:
        """Add a project with tags, to set up a test."""
        self._seed_project({"id": project_id, "name": name or project_id, "tags": list(tags), **more}, foreign=False)
        return self.projects[project_id]

    def delete_project(self, project_id: str) -> None:
        """Delete a project as the console does: it is still listed, with ``dtDeleted``, and not found by its id.

        :raises KeyError: there is no such project.
        """
        self.projects[project_id].dt_deleted = _instant(self._now())

    def tag_names(self, project_id: str) -> list[str]:
        """Return the names of a project's tags, oldest first, without asking the API."""
        return [tag.name for tag in self.projects[project_id].tags_by_age()]

    def session(self) -> Json:
        """Return the answer to ``GET /auth/session`` with a known key."""
        return {"team": {**_TEAM_EXTRAS, **self.team}, "user": {"dtCreated": _EPOCH, **self.user}}

    def list_projects(self, query: Mapping[str, str]) -> Json:
        """Return the answer to ``GET /projects``."""
        projects = sorted((p for p in self.projects.values() if not p.foreign), key=_age)
        return self._page(projects, query)

    def get_project(self, project_id: str) -> Json:
        """Return the answer to ``GET /projects/{id}``."""
        return self._project(project_id).as_json()

    def list_tags(self, project_id: str, query: Mapping[str, str]) -> Json:
        """Return the answer to ``GET /projects/{id}/tags``."""
        return self._page(self._project(project_id).tags_by_age(), query)

    def add_tag(self, project_id: str, body: object) -> Json:
        """Add a tag, and return the answer to ``POST /projects/{id}/tags``.

        :param body: the parsed request body, ``{"name": ...}``.
        """
        project = self._project(project_id)
        name = _checked_tag_input(body)
        self._check_length(name)
        there = project.tags.get(self._key(name))
        if there is not None:
            if self.switches.add_existing == "409":
                raise RefusalError("CONFLICT", "The project already has this tag")
            if self.switches.add_existing == "500":
                raise RefusalError("INTERNAL_SERVER_ERROR", _UNIQUE_CONSTRAINT_FAILED)
            return there.as_json()
        return self._link(project, name).as_json()

    def remove_tag(self, project_id: str, query: Mapping[str, str]) -> Json:
        """Remove a tag from this project only, and return the answer to ``DELETE /projects/{id}/tags``.

        :param query: the query of the request, ``{"name": ...}``.
        """
        project = self._project(project_id)
        if set(query) != {"name"}:
            raise _invalid(("name", "Required; no other parameter is allowed"))
        tag = project.tags.pop(self._key(query["name"]), None)
        project.by_age = None
        if tag is not None:
            return tag.as_json()
        if self.switches.remove_absent == "404":
            raise RefusalError("NOT_FOUND", "Tag not found")
        return StoredTag(0, query["name"], _instant(self._now())).as_json()

    def _project(self, project_id: str) -> StoredProject:
        project = self.projects.get(project_id)
        if project is not None and project.foreign and self.switches.foreign_project == "403":
            raise RefusalError("FORBIDDEN", "You do not have access to this project")
        if project is None or project.foreign or project.dt_deleted is not None:
            raise RefusalError("NOT_FOUND", "Project not found")
        return project

    def _key(self, name: str) -> str:
        return name if self.switches.case == "sensitive" else name.casefold()

    def _check_length(self, name: str) -> None:
        limit = self.switches.name_limit()
        if limit is not None and len(name) > limit[0]:
            if limit[1] == 400:
                raise _invalid(("name", f"String must contain at most {limit[0]} character(s)"))
            raise RefusalError("INTERNAL_SERVER_ERROR", "value too long for type character varying")

    def _link(self, project: StoredProject, name: str, dt_created: str | None = None) -> StoredTag:
        tag = self._team_tags.get(self._key(name)) if self.switches.tag_identity == "team" else None
        if tag is None:
            tag = StoredTag(self._next_tag_id, name, dt_created or _instant(self._now()))
            self._next_tag_id += 1
            self._team_tags[self._key(name)] = tag
        project.tags[self._key(name)] = tag
        project.by_age = None
        return tag

    def _page(self, by_age: list[Any], query: Mapping[str, str]) -> Json:
        limit, descending = _checked_paging(query, self.switches.default_page_size)
        items = self._after(by_age, query.get("after"), descending=descending)
        page = items[:limit]
        has_more = len(items) > limit
        answer: Json = {"hasMore": has_more, "items": [item.as_json() for item in page]}
        if has_more:
            answer["nextPage"] = _cursor(_age(page[-1]))
        elif self.switches.last_page_cursor == "null":
            answer["nextPage"] = None
        return answer

    def _after(self, by_age: list[Any], cursor: str | None, *, descending: bool) -> list[Any]:
        """Return what follows the cursor: at most one page and one item, for speed on long lists."""
        if cursor is None:
            window = by_age[-MAX_PAGE_SIZE - 1 :] if descending else by_age[: MAX_PAGE_SIZE + 1]
        else:
            age = _read_cursor(cursor)
            at = bisect_right(by_age, age, key=_age)
            if descending:
                at -= 1 if at and _age(by_age[at - 1]) == age else 0
                window = by_age[max(0, at - MAX_PAGE_SIZE - 1) : at]
            else:
                window = by_age[at : at + MAX_PAGE_SIZE + 1]
        return window[::-1] if descending else window

    def _seed_project(self, value: object, *, foreign: bool) -> None:
        _check_seed_keys(value, _PROJECT_KEYS, "a project")
        project_id = _seed_value(value, "id", str)
        project = StoredProject(
            id=project_id,
            name=_seed_value(value, "name", str, project_id),
            dt_created=_seed_value(value, "dtCreated", str, _instant(self._now())),
            dt_deleted=_seed_value(value, "dtDeleted", str, None),
            repo_url=_seed_value(value, "repoUrl", str, None),
            foreign=foreign,
        )
        self.projects[project_id] = project
        for tag in _seed_value(value, "tags", list, []):
            if not isinstance(tag, str):
                _check_seed_keys(tag, _TAG_KEYS, "a tag")
            name = tag if isinstance(tag, str) else _seed_value(tag, "name", str)
            dt_created = None if isinstance(tag, str) else _seed_value(tag, "dtCreated", str, None)
            self._link(project, name, dt_created)


_UNIQUE_CONSTRAINT_FAILED: Final = 'duplicate key value violates unique constraint "projectTags_projectId_tagId_key"'
"""Servers of this kind answer an unhandled exception with its raw text."""

_EPOCH: Final = "2024-04-08T14:31:23.045Z"
_TEAM_EXTRAS: Final = {"isPrivate": False, "maxMachines": 20, "analyticsId": 1}


def _age(item: Any) -> tuple[str, str]:
    # Dates in one format sort as text; ids break ties, numbers padded so that they sort as numbers.
    return item.dt_created, f"{item.id:020}" if isinstance(item.id, int) else item.id


def cursor_to_the_start(query: Mapping[str, str]) -> str:
    """Return a cursor that leads to the first page."""
    return _cursor(("", "") if query.get("order") == "asc" else ("~", ""))


def _cursor(age: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(age).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[str, str]:
    try:
        dt_created, item_id = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"==="))
    except (ValueError, TypeError):
        raise _invalid(("after", "Invalid cursor")) from None
    return str(dt_created), str(item_id)


_PAGING: Final = ("after", "limit", "orderBy", "order")


def _checked_paging(query: Mapping[str, str], default_page_size: int) -> tuple[int, bool]:
    problems = [(name, "Unrecognized parameter") for name in query if name not in _PAGING]
    limit = query.get("limit", str(default_page_size))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:4]) <= MAX_PAGE_SIZE and len(limit) < 5):
        problems.append(("limit", f"Expected an integer between 1 and {MAX_PAGE_SIZE}"))
    if query.get("orderBy", "dtCreated") != "dtCreated":
        problems.append(("orderBy", "Invalid enum value. Expected 'dtCreated'"))
    if query.get("order", "desc") not in ("asc", "desc"):
        problems.append(("order", "Invalid enum value. Expected 'asc' | 'desc'"))
    if problems:
        raise _invalid(*problems)
    return int(limit), query.get("order", "desc") == "desc"


def _checked_tag_input(body: object) -> str:
    if not isinstance(body, dict):
        raise _invalid(("body", "Expected object"))
    problems = [(key, "Unrecognized key") for key in body if key != "name"]
    if "name" not in body:
        problems.append(("name", "Required"))
    elif not isinstance(body["name"], str):
        problems.append(("name", "Expected string"))
    if problems:
        raise _invalid(*problems)
    name: str = body["name"]
    return name


def _invalid(*problems: tuple[str, str]) -> RefusalError:
    return RefusalError("BAD_REQUEST", "Input validation failed", problems)


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


_REQUIRED: Final = object()

_SEED_KEYS: Final = ("team", "user", "projects", "foreignProjects")
_PROJECT_KEYS: Final = ("id", "name", "tags", "dtCreated", "dtDeleted", "repoUrl")
_TAG_KEYS: Final = ("name", "dtCreated")


def _check_seed_keys(value: object, known: Iterable[str], owner: str) -> None:
    unknown = [key for key in value if key not in known] if isinstance(value, dict) else []
    if unknown:
        raise ValueError(f"Seed: unknown key {unknown[0]!r} in {owner}. Known keys: {', '.join(known)}.")


def _seed_value(value: object, key: str, kind: type, default: Any = _REQUIRED) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"Seed: {value!r} must be an object with {key!r}.")
    found = value.get(key, default)
    if found is _REQUIRED:
        raise ValueError(f"Seed: {key!r} is missing in {value!r}.")
    if found is not default and not isinstance(found, kind):
        raise ValueError(f"Seed: {key!r} is {found!r}; it must be of type {kind.__name__}.")
    return found
