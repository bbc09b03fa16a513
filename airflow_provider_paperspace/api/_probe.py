"""Questions about the service that the vendor's documentation leaves open, answered by experiment on one project.

Each question corresponds to a switch of the local Paperspace. The probe adds and removes only its own tags, named
``probe-<random>``. It is a pair of flows: :meth:`Probe.run` asks, :meth:`Probe.clean_up` removes what may be left. The
caller runs the second however the first ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_provider_paperspace.api._checks import check_project_id
from airflow_provider_paperspace.api._messages import Flow, Request, Response, encoded, error_of
from airflow_provider_paperspace.api.errors import PaperspaceError, TransportError
from airflow_provider_paperspace.api.models import ProtectedBy, unprotected
from airflow_provider_paperspace.api.project_tags import add_request, remove_request, tags_path
from airflow_provider_paperspace.protocol import MAX_PAGE_SIZE

MAX_REQUESTS: Final = 60

MAX_REQUESTS_TO_CLEAN_UP: Final = 12
"""How many of ``MAX_REQUESTS`` are reserved for cleaning up."""

MAX_NAME_LENGTH: Final = 1_024
"""The longest name that is tried, in characters."""

_MAX_MORE_PAGES: Final = 3
_LAST_PAGE: Final = f"limit={MAX_PAGE_SIZE}&orderBy=dtCreated&order=desc"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what the provider's documentation assumes.

    :param switch: the switch of the local Paperspace.
    """

    switch: str
    text: str
    assumed: str


QUESTIONS: Final = (
    Question("add-existing", "answer to adding a tag that exists", "200"),
    Question("remove-absent", "answer to removing a tag that does not exist", "404"),
    Question("tag-identity", "a tag that was removed and added again has", "the same id"),
    Question("case", "upper and lower case in names", "are different"),
    Question("longest-name", "longest name, in characters", "no limit"),
    Question("last-page-cursor", "nextPage on the last page", "null"),
    Question("default-page-size", "items on a page, if no limit is sent", "50"),
    Question("error-extras", "what an error has besides message and code", "issues"),
    Question("rate-limit-headers", "headers about the rate limit", "none"),
    Question("foreign-project", "answer for another team's project", "404"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to a question.

    :param text: in words; the reason if the question is still open.
    :param value: the value of the switch; empty if the question is open, or no value of it behaves like the service.
    """

    question: Question
    text: str
    value: str = ""


class _OpenError(Exception):
    """A question cannot be answered; the text says why."""


class _LeftoverError(Exception):
    """One of the probe's tags could not be removed, so no more are added."""


class Probe:
    """Asks all the questions, using one project.

    :param token: random letters and digits, for the names of its tags.
    """

    def __init__(self, project_id: str, token: str) -> None:
        self._project_id = check_project_id(project_id)
        self._prefix = f"probe-{token}-"
        self._answers: dict[str, tuple[str, str]] = {}
        self._headers: dict[str, str] = {}
        self._protected_by: ProtectedBy = unprotected
        self._max_requests = MAX_REQUESTS - MAX_REQUESTS_TO_CLEAN_UP
        self._has_added = False
        self.requests = 0
        self.names: set[str] = set()
        """Names of the probe's own tags that may be on the project."""

    @property
    def findings(self) -> list[Finding]:
        """The answers so far, in the order of the questions."""
        return [Finding(question, *self._answers.get(question.switch, ("not asked",))) for question in QUESTIONS]

    def run(self) -> Flow[None]:
        """Ask all questions.

        :raises PaperspaceError: the project cannot be read.
        """
        response = yield from self._send(self._list(_LAST_PAGE))
        if response.status >= 300:
            raise error_of(self._list(_LAST_PAGE), response)
        self._protected_by = response.protected_by
        questions: dict[str, Callable[[], Flow[tuple[str, str]]]] = {
            "last-page-cursor": lambda: self._last_page_cursor(response),
            "default-page-size": self._default_page_size,
            "error-extras": self._error_extras,
            "remove-absent": self._remove_absent,
            "add-existing": self._add_existing,
            "tag-identity": self._tag_identity,
            "case": self._case,
            "longest-name": self._longest_name,
        }
        for switch, ask in questions.items():
            try:
                self._answers[switch] = yield from ask()
            except (_OpenError, TransportError) as error:
                self._answers[switch] = (f"open: {error.problem if isinstance(error, TransportError) else error}", "")
            except _LeftoverError as error:
                self._answers[switch] = (f"open: {error}", "")
                break
        sent = ", ".join(f"{name}: {value}" for name, value in self._headers.items())
        self._answers["rate-limit-headers"] = (sent, "sent") if sent else ("none", "none")
        self._answers["foreign-project"] = ("open: cannot be determined with one key", "")

    def clean_up(self) -> Flow[list[str]]:
        """Remove all of the probe's own tags, and return the names of those that may still be there."""
        self._max_requests = MAX_REQUESTS
        try:
            while self._has_added:
                for name in sorted(self.names):
                    yield from self._try_to_remove(name)
                self.names.update([str(item["name"]) for item in (yield from self._own())])
                self._has_added = bool(self.names)
        except (_OpenError, PaperspaceError):
            pass  # self.names says which tags may be left
        return sorted(self.names)

    def _last_page_cursor(self, response: Response) -> Flow[tuple[str, str]]:
        page = _page(response)
        for _ in range(_MAX_MORE_PAGES):
            if not page["hasMore"]:
                break
            query = f"{_LAST_PAGE}&after={encoded(str(page.get('nextPage')))}"
            page = _page((yield from self._send(self._list(query))))
        if page["hasMore"]:
            page = _page((yield from self._send(self._list_projects(_LAST_PAGE))))
        if page["hasMore"]:
            raise _OpenError(
                f"the project has more than {(1 + _MAX_MORE_PAGES) * MAX_PAGE_SIZE} tags, and the team more than "
                f"{MAX_PAGE_SIZE} projects"
            )
        if "nextPage" not in page:
            return "absent", "absent"
        return ("null", "null") if page["nextPage"] is None else (repr(page["nextPage"]), "")

    def _default_page_size(self) -> Flow[tuple[str, str]]:
        seen = 0
        for request in (self._list(""), self._list_projects("")):
            page = _page((yield from self._send(request)))
            if page["hasMore"]:
                size = len(page["items"])
                return str(size), str(size)
            seen = max(seen, len(page["items"]))
        raise _OpenError(f"at least {seen}; needs more tags or projects")

    def _error_extras(self) -> Flow[tuple[str, str]]:
        response = yield from self._send(self._list("limit=0"))
        extras = sorted(set(_object(response)) - {"message", "code"}) if response.status >= 400 else ["no error"]
        if not extras:
            return "nothing", "none"
        return ", ".join(extras), extras[0] if extras in (["details"], ["issues"]) else ""

    def _remove_absent(self) -> Flow[tuple[str, str]]:
        response = yield from self._send(remove_request(self._project_id, f"{self._prefix}absent"))
        return _status(response, "404", "200")

    def _add_existing(self) -> Flow[tuple[str, str]]:
        yield from self._add_new(f"{self._prefix}a")
        return _status((yield from self._add(f"{self._prefix}a")), "200", "409", "500")

    def _tag_identity(self) -> Flow[tuple[str, str]]:
        name = f"{self._prefix}a"
        first = yield from self._find(name)
        yield from self._remove(name)
        yield from self._add_new(name)
        second = yield from self._find(name)
        date = "the same" if first.get("dtCreated") == second.get("dtCreated") else "a new"
        return (
            (f"the same id, {date} date", "team") if first["id"] == second["id"] else (f"a new id, {date} date", "link")
        )

    def _case(self) -> Flow[tuple[str, str]]:
        name = f"{self._prefix}a"
        yield from self._find(name)
        yield from self._send(remove_request(self._project_id, name.upper()))
        is_there = any(item["name"] == name for item in (yield from self._own()))
        yield from self._remove(name)
        return ("are different", "sensitive") if is_there else ("are the same", "insensitive")

    def _longest_name(self) -> Flow[tuple[str, str]]:
        """Find the limit by bisection, with about 10 names."""
        for name in sorted(self.names):
            yield from self._remove(name)
        longest, too_long, status = len(self._prefix), MAX_NAME_LENGTH + 1, 0
        length = MAX_NAME_LENGTH
        while too_long - longest > 1:
            refused = yield from self._refuses(length)
            if refused:
                too_long, status = length, refused
            else:
                longest = length
            length = (longest + too_long) // 2
        if not status:
            return f"no limit up to {MAX_NAME_LENGTH:,}", "none"
        if longest == len(self._prefix):
            raise _OpenError(f"a name of {too_long} characters, the shortest that was tried, was refused with {status}")
        return f"{longest:,}; a longer one gets a {status}", f"{longest}/{status}" if status in (400, 500) else ""

    def _refuses(self, length: int) -> Flow[int]:
        """Add a name of this length and remove it; return the status if it is refused, or 0."""
        name = self._prefix.ljust(length, "x")
        response = yield from self._add(name)
        if response.status >= 300:
            if response.status not in (409, 429):
                return response.status
            raise _OpenError(f"adding a name of {length:,} characters returned {response.status}")
        stored = _object(response).get("name")
        if stored is None:
            raise _OpenError(f"the answer to adding a name of {length:,} characters contained no name")
        if stored != name:
            raise _OpenError(f"a name of {length:,} characters was stored with {len(str(stored)):,} characters")
        yield from self._remove(name)
        return 0

    def _add(self, name: str) -> Flow[Response]:
        if reason := self._protected_by(name):
            raise _OpenError(f"a tag of the probe would be {reason}, and could not be removed")
        self.names.add(name)
        self._has_added = True
        response = yield from self._send(add_request(self._project_id, name))
        stored = _object(response).get("name")
        if isinstance(stored, str) and self._is_own(stored):
            self.names.add(stored)
        return response

    def _add_new(self, name: str) -> Flow[None]:
        """Add a name that the project does not have. If that does not succeed, check whether it is there anyway."""
        try:
            response = yield from self._add(name)
        except TransportError:
            yield from self._find(name)
        else:
            if response.status >= 300:
                yield from self._find(name)

    def _remove(self, name: str) -> Flow[None]:
        try:
            status = yield from self._try_to_remove(name)
        except TransportError as error:
            raise _LeftoverError(f"could not remove the probe's own tag: {error.problem}") from None
        if name in self.names:
            raise _LeftoverError(f"removing the probe's own tag returned {status}")

    def _try_to_remove(self, name: str) -> Flow[int]:
        """Remove a tag, and forget its name if it is gone; return the status."""
        response = yield from self._send(remove_request(self._project_id, name))
        if response.status < 300 or response.status == 404:
            self.names.discard(name)
        return response.status

    def _find(self, name: str) -> Flow[dict[str, Any]]:
        tags = {item["name"]: item for item in (yield from self._own())}
        if name not in tags:
            raise _OpenError("the probe's own tag could not be added")
        return tags[name]

    def _own(self) -> Flow[list[dict[str, Any]]]:
        page = _page((yield from self._send(self._list(_LAST_PAGE))))
        return [item for item in page["items"] if self._is_own(str(item.get("name")))]

    def _is_own(self, name: str) -> bool:
        return name.casefold().startswith(self._prefix)

    def _send(self, request: Request) -> Flow[Response]:
        """Send a request; retry once after a server error or a 429, or if there is no answer and it does not add a tag.

        :raises _OpenError: the probe has sent as many requests as it may.
        :raises TransportError: there was no answer.
        """
        try:
            response = yield from self._send_once(request)
        except TransportError as error:
            if request.method == "POST":  # a second add might find the tag already there
                raise
            return (yield from self._send_once(replace(request, attempt=2, previous_problem=error.problem)))
        if response.status < 500 and response.status != 429:
            return response
        problem = f"the service answered {response.status}"
        request = replace(request, attempt=2, retry_after_s=response.retry_after_s, previous_problem=problem)
        return (yield from self._send_once(request))

    def _send_once(self, request: Request) -> Flow[Response]:
        if self.requests >= self._max_requests:
            raise _OpenError(
                f"the probe has sent {self.requests} requests; the rest of its {MAX_REQUESTS} are for cleaning up"
            )
        self.requests += 1
        response = yield request
        about = {
            name: value for name, value in response.headers.items() if "ratelimit" in name or name == "retry-after"
        }
        self._headers.update(about)
        return response

    def _list(self, query: str) -> Request:
        return _get(tags_path(self._project_id), query, f"Project {self._project_id!r}", "list its tags")

    def _list_projects(self, query: str) -> Request:
        return _get("/projects", query, "Projects", "list them")


def _get(path: str, query: str, subject: str, action: str) -> Request:
    return Request("GET", f"{path}?{query}" if query else path, subject, action)


def _status(response: Response, *values: str) -> tuple[str, str]:
    status = str(response.status)
    if response.status == 429:
        raise _OpenError("the service asked the probe to slow down (429)")
    return status, status if status in values else ""


def _object(response: Response) -> dict[str, Any]:
    try:
        value = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _page(response: Response) -> dict[str, Any]:
    page = _object(response)
    items = page.get("items")
    if response.status >= 300 or not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _OpenError(f"a list request returned {response.status} and no valid page")
    return {**page, "hasMore": page.get("hasMore") is True}
