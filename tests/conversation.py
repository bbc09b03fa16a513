"""Plays the service to a flow: no sockets, no mocks, only requests and responses."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from airflow_provider_paperspace.api.answers import Flow
from airflow_provider_paperspace.api.errors import TransportError
from airflow_provider_paperspace.api.messages import Request, Response

T = TypeVar("T")


def converse(flow: Flow[T], *answers: Response | TransportError) -> tuple[T, list[Request]]:
    """Send the answers in turn; give the flow's result and its requests. Every answer must be asked for."""
    requests: list[Request] = []
    left = list(answers)
    try:
        request = next(flow)
        while True:
            requests.append(request)
            answer = left.pop(0)
            request = flow.throw(answer) if isinstance(answer, TransportError) else flow.send(answer)
    except StopIteration as stop:
        assert not left, f"the flow ended before {left}"
        return stop.value, requests


def answer(value: Any, status: int = 200, **more: Any) -> Response:
    return Response(status, {}, json.dumps(value).encode(), **more)


def tag(name: str, number: int = 1, dt_created: str = "2026-03-02T09:15:00.000Z") -> dict[str, Any]:
    return {"id": number, "name": name, "dtCreated": dt_created}


def page(*names: str, next_page: str | None = None, has_more: bool | None = None) -> Response:
    more = next_page is not None if has_more is None else has_more
    return answer({"hasMore": more, "items": [tag(name) for name in names], "nextPage": next_page})


def refusal(status: int, code: str = "", message: str = "no", **more: Any) -> Response:
    return answer({"code": code or f"CODE_{status}", "message": message}, status, **more)
