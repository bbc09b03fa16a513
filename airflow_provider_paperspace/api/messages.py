"""One request, one answer: the words of the conversation between a flow and a runner.

Owns the spelling of requests (paths, percent-encoding, bodies) and the refusal of what could not be spelt safely.
Knows nothing of sockets, and never sees the API key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from airflow_provider_paperspace.api import protocol
from airflow_provider_paperspace.api.protocol import Order

Method = Literal["GET", "POST", "DELETE"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a flow asks its runner to send.

    :param target: percent-encoded path and query below the base URL; a runner sends it to the letter.
    :param subject: whom this is about, to open a message with: ``Project 'prmximcci'``.
    :param action: what is being done, as a message says it: ``add tag 'gpu'``.
    :param attempt: 1 for the first; from 2 on the runner waits before it sends, as the retry policy says.
    :param retry_after_s: seconds the service asked for in the answer that this attempt follows.
    :param because: what became of the attempt before.
    """

    method: Method
    target: str
    subject: str
    action: str
    body: bytes | None = None
    attempt: int = 1
    retry_after_s: float | None = None
    because: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What the service answered.

    :param headers: names in lower case.
    :param body: decoded from its transfer and content encoding.
    :param complete: False when the answer was longer than the runner reads.
    :param attempts: how many times the request was sent for this answer.
    :param at_s: the runner's monotonic clock when the answer was there, in seconds.
    :param retry_after_s: seconds that the service asks to wait, if it does.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool = True
    attempts: int = 1
    at_s: float = 0.0
    retry_after_s: float | None = None


def list_tags(project_id: str, *, after: str | None, order: Order, page_size: int) -> Request:
    """``GET /projects/{id}/tags``."""
    target = f"{_project_path(project_id)}/tags?{_page_query(after, order, page_size)}"
    return Request("GET", target, project_subject(project_id), "list its tags")


def add_tag(project_id: str, name: str) -> Request:
    """``POST /projects/{id}/tags``: one tag a call, there is no bulk form."""
    target = f"{_project_path(project_id)}/tags"
    body = json.dumps({"name": name}).encode("ascii")
    return Request("POST", target, project_subject(project_id), f"add tag {name!r}", body)


def remove_tag(project_id: str, name: str) -> Request:
    """``DELETE /projects/{id}/tags?name=``: the name travels in the query, never in a body."""
    target = f"{_project_path(project_id)}/tags?name={quote(name, safe='')}"
    return Request("DELETE", target, project_subject(project_id), f"remove tag {name!r}")


def list_projects(*, after: str | None, order: Order, page_size: int) -> Request:
    """``GET /projects``."""
    return Request("GET", f"/projects?{_page_query(after, order, page_size)}", "Projects", "list them")


def read_project(project_id: str) -> Request:
    """``GET /projects/{id}``."""
    return Request("GET", _project_path(project_id), project_subject(project_id), "read it")


def read_session() -> Request:
    """``GET /auth/session``: 200 whatever the key; the body is ``null`` when the key is not accepted."""
    return Request("GET", "/auth/session", "Session", "read it")


def project_subject(project_id: str) -> str:
    """How every message names a project."""
    return f"Project {project_id!r}"


def check_project_id(project_id: object) -> str:
    """Give the project id back, or refuse one that could not address a project.

    Ids are opaque; only what would leave ``/projects/{id}`` is refused: nothing at all, ``.`` and ``..``.

    :raises TypeError: it is not text.
    :raises ValueError: it is blank, ``.`` or ``..``, or no valid Unicode.
    """
    if not isinstance(project_id, str):
        raise TypeError(f"A project id is text such as 'prmximcci', not {_kind(project_id)}.")
    if not project_id.strip():
        raise ValueError("The project id is empty. Take it from the end of the project's address in the console.")
    if project_id in (".", ".."):
        raise ValueError(f"{project_id!r} is not a project id: in an address it would lead to another page.")
    return _check_unicode(project_id, "project id")


def check_project_name(name: object) -> str:
    """Give a project's name back.

    :raises TypeError: it is not text.
    :raises ValueError: it is blank.
    """
    if not isinstance(name, str):
        raise TypeError(f"A project name is text such as 'vision-training', not {_kind(name)}.")
    if not name.strip():
        raise ValueError("The project name is empty. Give it as the console shows it.")
    return name


def check_tag_names(names: object) -> tuple[str, ...]:
    """Give one or many tag names as a tuple, each once, in the order given and otherwise untouched.

    :param names: a name, or an iterable of names.
    :raises TypeError: neither text nor an iterable of text.
    :raises ValueError: a name is blank (nobody could remove such a tag) or no valid Unicode.
    """
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Iterable) or isinstance(names, (bytes, Mapping)):
        raise TypeError(f"Tag names are a text or a list of texts, not {_kind(names)}.")
    return tuple(dict.fromkeys(map(_check_tag_name, names)))


def check_page_size(page_size: object) -> int:
    """Give the page size back.

    :raises TypeError: it is not a whole number.
    :raises ValueError: it is not within 1 and 120.
    """
    if not isinstance(page_size, int) or isinstance(page_size, bool):
        raise TypeError(f"page_size is a whole number, not {_kind(page_size)}.")
    if not 1 <= page_size <= protocol.MAX_PAGE_SIZE:
        raise ValueError(f"page_size is {page_size}, and must be within 1 and {protocol.MAX_PAGE_SIZE}.")
    return page_size


def check_order(order: object) -> Order:
    """Give the order back.

    :raises ValueError: it is neither ``asc`` nor ``desc``.
    """
    if order == "asc":
        return "asc"
    if order == "desc":
        return "desc"
    raise ValueError(f"order is {order!r}, and must be 'asc' (oldest first) or 'desc' (newest first).")


def _check_tag_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"A tag name is text, not {_kind(name)}.")
    if not name.strip():
        raise ValueError(f"The tag name {name!r} is blank. Leave it out, or name the tag.")
    return _check_unicode(name, "tag name")


def is_sendable(text: str) -> bool:
    """Say whether the text can be percent-encoded: half of a surrogate pair, which JSON can spell, cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_unicode(text: str, what: str) -> str:
    if not is_sendable(text):
        raise ValueError(f"The {what} {text!r} holds half of a surrogate pair and cannot be sent.")
    return text


def _project_path(project_id: str) -> str:
    return f"/projects/{quote(project_id, safe='')}"


def _page_query(after: str | None, order: Order, page_size: int) -> str:
    query = f"limit={page_size}&orderBy=dtCreated&order={order}"
    return query if after is None else f"{query}&after={quote(after, safe='')}"


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
