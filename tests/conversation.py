"""Plays the service to a flow: no sockets, no mocks, only requests and responses.

>>> converse(add("a"), page(), lost(), page("a"))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from airflow_provider_paperspace.api._messages import Flow, Request, Response
from airflow_provider_paperspace.api.errors import PaperspaceError, TransportError

T = TypeVar("T")

Answer = Response | TransportError
"""What a client hands to a flow: a response, or the error that says why there is none."""


def converse(flow: Flow[T], *answers: Answer, max_attempts: int = 3) -> tuple[T, list[Request]]:
    """Send the answers in turn; return the flow's result and its requests. Every answer must be asked for.

    :param max_attempts: what the client stamps on each answer.
    """
    requests: list[Request] = []
    left = list(answers)
    try:
        request = next(flow)
        while True:
            requests.append(request)
            assert left, f"the flow sent {request.method} {request.target} after the last answer"
            answer = left.pop(0)
            if isinstance(answer, TransportError):
                error = deepcopy(answer)  # flows add notes to it
                error.max_attempts = max_attempts
                request = flow.throw(error)
            else:
                request = flow.send(replace(answer, max_attempts=max_attempts))
    except StopIteration as stop:
        assert not left, f"the flow ended before {left}"
        return stop.value, requests
    except PaperspaceError:
        assert not left, f"the flow raised before {left}"
        raise


def play(flow: Flow[T], service: Callable[[Request], Response]) -> T:
    """Answer each request by a function; return the flow's result."""
    try:
        request = next(flow)
        while True:
            request = flow.send(service(request))
    except StopIteration as stop:
        result: T = stop.value
        return result


class TagStore:
    """The tags of one project, which answers requests as the service does. Two tags fit on a page.

    ``writes`` holds those that changed something. To add a tag a second time is a 409, and to remove it a 404.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = list(names)
        self.writes: list[tuple[str, str]] = []
        self._created: dict[str, int] = {}
        self._creations = 0

    def __call__(self, request: Request) -> Response:
        query = parse_qs(
            urlsplit(request.target).query, keep_blank_values=True, strict_parsing=bool(request.body is None)
        )
        if request.method == "GET":
            return self._page(int(query.get("after", ["0"])[0]))
        name = json.loads(request.body)["name"] if request.body is not None else query["name"][0]
        if (name in self.names) == (request.method == "POST"):
            return refusal(409 if request.method == "POST" else 404)
        self.writes.append((request.method, name))
        if request.method == "POST":
            self.names.append(name)
        else:
            self.names.remove(name)
            self._created.pop(name, None)
        return answer(tag(name))

    def _page(self, after: int) -> Response:
        """Return the next two tags in the order of their creation: whoever is removed meanwhile, none is skipped."""
        for name in self.names:
            if name not in self._created:
                self._creations += 1
                self._created[name] = self._creations
        left = [name for name in self.names if self._created[name] > after]
        return page(*left[:2], next_page=str(self._created[left[1]]) if len(left) > 2 else None)


def answer(value: Any, status: int = 200, **more: Any) -> Response:
    return Response(status, {}, json.dumps(value).encode(), **more)


def lost(at_s: float = 0.0) -> TransportError:
    """Return the error for an answer that was lost on its way."""
    return TransportError("reset", subject="Project 'p'", action="write", at_s=at_s)


def tag(name: str, number: int = 1, dt_created: str = "2026-03-02T09:15:00.000Z") -> dict[str, Any]:
    return {"id": number, "name": name, "dtCreated": dt_created}


def page(*names: str, next_page: str | None = None, has_more: bool | None = None) -> Response:
    more = next_page is not None if has_more is None else has_more
    return answer({"hasMore": more, "items": [tag(name) for name in names], "nextPage": next_page})


def refusal(status: int, code: str = "", message: str = "no", **more: Any) -> Response:
    return answer({"code": code or f"CODE_{status}", "message": message}, status, **more)
