"""The six operations over HTTP, as an ASGI application: routing, auth, validation, faults and a record of requests."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import anyio
import anyio.lowlevel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from airflow_provider_paperspace.emulator._page import page_of
from airflow_provider_paperspace.emulator.faults import HTML_STATUSES, Fault, first_hit
from airflow_provider_paperspace.emulator.state import Json, Paperspace, RefusalError, cursor_to_the_start
from airflow_provider_paperspace.protocol import API_PREFIX

MAX_REQUEST_BODY_BYTES: Final = 100_000
"""Roughly where servers of this kind stop reading a request body and answer 413."""

BREAK_EXTENSION: Final = "local_paperspace.break"
"""The server stores a callable here that breaks the connection: ``break_connection(refuse_for_s)``."""

_CODE_BY_FAULT: Final = {
    "401": "UNAUTHORIZED",
    "403": "FORBIDDEN",
    "408": "TIMEOUT",
    "409": "CONFLICT",
    "429": "TOO_MANY_REQUESTS",
    "500": "INTERNAL_SERVER_ERROR",
}

_RATE_LIMIT_HEADERS: Final = {"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "599", "X-RateLimit-Reset": "60"}

Operation = Callable[[Request], Awaitable[Json | None]]


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request that was received. The Authorization header is not kept.

    :param target: path and query as received, percent-encoded, without ``/v1``.
    :param status: what was answered; None when the connection was broken.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    status: int | None


class LocalPaperspaceApp:
    """An ASGI application that answers like the Paperspace API v1.

    :param paperspace: the state to serve.
    :param api_key: the API key to accept.
    :param latency_s: minimum response time in seconds.
    :param rate_limit: maximum number of requests per second; others get a 429 with ``Retry-After: 1``. 0 for no limit.
    """

    def __init__(self, paperspace: Paperspace, *, api_key: str, latency_s: float = 0.0, rate_limit: int = 0) -> None:
        self.rate_limit = rate_limit
        self._served_at_s: deque[float] = deque()
        self.paperspace = paperspace
        self.api_key = api_key
        self.latency_s = latency_s
        self.faults: list[Fault] = []
        self.requests: deque[SeenRequest] = deque(maxlen=100_000)
        self.request_count = 0
        self._starlette = Starlette(
            routes=[
                Route(f"{API_PREFIX}/auth/session", self._serving(GET=self._session)),
                Route(f"{API_PREFIX}/projects", self._serving(GET=self._list_projects)),
                Route(f"{API_PREFIX}/projects/{{id}}", self._serving(GET=self._get_project)),
                Route(
                    f"{API_PREFIX}/projects/{{id}}/tags",
                    self._serving(GET=self._list_tags, POST=self._add_tag, DELETE=self._remove_tag),
                ),
                Route("/_local/requests", self._count),
                Route("/", self._page),
            ],
            exception_handlers={HTTPException: self._unknown_path},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Paths are matched as received: an encoded slash stays within its id."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._starlette(scope, receive, send)

    def _serving(self, **operations: Operation) -> type:
        """Return the endpoint of one path: an ASGI application, so that it sees every method."""
        app = self

        class Endpoint:
            def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
                self._request = Request(scope, receive)
                self._ends = (scope, receive, send)

            def __await__(self) -> Any:
                return self._serve().__await__()

            async def _serve(self) -> None:
                response = await app._serve(self._request, operations)
                if response is not None:
                    await response(*self._ends)

        return Endpoint

    async def _serve(self, request: Request, operations: dict[str, Operation]) -> Response | None:
        fault = first_hit(self.faults, request.method, request.url.path) or self._fault_of_too_many()
        try:
            response = await self._answer(request, operations, fault)
        except Exception:
            await self._record(request, 500)
            raise
        await self._record(request, None if response is None else response.status_code)
        if response is None:
            await self._break(request, fault)
        elif self.paperspace.switches.rate_limit_headers == "sent":
            response.headers.update(_RATE_LIMIT_HEADERS)
        return response

    async def _record(self, request: Request, status: int | None) -> None:
        target = request.scope["raw_path"].decode("latin-1").removeprefix(API_PREFIX)
        query = request.scope["query_string"].decode("latin-1")
        headers = {name: value for name, value in request.headers.items() if name != "authorization"}
        body = await request.body() if status is not None else b""
        self.request_count += 1
        self.requests.append(
            SeenRequest(request.method, f"{target}?{query}" if query else target, headers, body, status)
        )

    def _fault_of_too_many(self) -> Fault | None:
        if not self.rate_limit:
            return None
        now_s = anyio.current_time()
        while self._served_at_s and self._served_at_s[0] <= now_s - 1:
            self._served_at_s.popleft()
        if len(self._served_at_s) >= self.rate_limit:
            return Fault("429", retry_after="1")
        self._served_at_s.append(now_s)
        return None

    async def _answer(self, request: Request, operations: dict[str, Operation], fault: Fault | None) -> Response | None:
        delay_s = self.latency_s + (fault.seconds if fault is not None and fault.kind == "slow" else 0.0)
        if delay_s:
            await anyio.sleep(delay_s)
        if fault is not None and not fault.applied:
            if fault.kind in ("refused", "reset"):
                return None
            if fault.kind in _CODE_BY_FAULT or fault.kind in HTML_STATUSES:
                return self._error_of(fault)
        try:
            answer = await self._operate(request, operations)
        except RefusalError as refusal:
            return self._refused(refusal)
        if fault is None or fault.kind == "slow":
            return JSONResponse(answer)
        return self._faulty_answer(fault, answer, request)

    async def _operate(self, request: Request, operations: dict[str, Operation]) -> Json | None:
        operation = operations.get(request.method)
        if operation is None:
            raise _not_found()
        return await operation(request)

    def _faulty_answer(self, fault: Fault, answer: Json | None, request: Request) -> Response | None:
        """Return the answer that the fault calls for, after the operation has run."""
        if fault.kind in ("lost-answer", "refused", "reset"):
            return None
        if fault.kind in _CODE_BY_FAULT or fault.kind in HTML_STATUSES:
            return self._error_of(fault)
        if fault.kind == "truncated":
            text = json.dumps(answer)
            return Response(text[: len(text) // 2], media_type="application/json")
        if fault.kind == "wrong-types":
            return JSONResponse(_with_other_types(answer))
        page = {**(answer or {}), "hasMore": True, "nextPage": None}
        if fault.kind == "repeated-cursor":
            query = _query(request)
            page["nextPage"] = query.get("after") or cursor_to_the_start(query)
        return JSONResponse(page)

    def _error_of(self, fault: Fault) -> Response:
        headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
        if fault.kind in HTML_STATUSES:
            page = f"<html><head><title>{fault.kind} from the edge</title></head><body></body></html>"
            return HTMLResponse(page, int(fault.kind), headers)
        refusal = RefusalError(_CODE_BY_FAULT[fault.kind], "Simulated error from the local Paperspace")
        response = self._refused(refusal)
        response.headers.update(headers)
        return response

    def _refused(self, refusal: RefusalError) -> Response:
        body: Json = {"message": refusal.message, "code": refusal.code}
        extras = self.paperspace.switches.error_extras
        if refusal.problems and extras == "details":
            body["details"] = {"problems": [f"{field}: {problem}" for field, problem in refusal.problems]}
        if refusal.problems and extras == "issues":
            body["issues"] = [{"message": problem, "path": [field]} for field, problem in refusal.problems]
        return JSONResponse(body, refusal.status)

    async def _unknown_path(self, request: Request, error: Exception) -> Response:
        """Answer as the service does to an unknown path: routing comes before auth."""
        response = self._refused(_not_found())
        if request.url.path.startswith(API_PREFIX):
            await self._record(request, response.status_code)
        return response

    async def _break(self, request: Request, fault: Fault | None) -> None:
        refuse_for_s = fault.seconds if fault is not None and fault.kind == "refused" else 0.0
        request.scope["extensions"][BREAK_EXTENSION](refuse_for_s)
        await anyio.lowlevel.checkpoint()  # lets the server see that the connection is gone

    def _authorize(self, request: Request) -> None:
        if not self._knows_the_key(request):
            raise RefusalError("UNAUTHORIZED", "You must be logged in to access this method.")

    def _knows_the_key(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.api_key}"

    async def _session(self, request: Request) -> Json | None:
        return self.paperspace.session() if self._knows_the_key(request) else None

    async def _list_projects(self, request: Request) -> Json:
        self._authorize(request)
        return self.paperspace.list_projects(_query(request))

    async def _get_project(self, request: Request) -> Json:
        self._authorize(request)
        return self.paperspace.get_project(_project_id(request))

    async def _list_tags(self, request: Request) -> Json:
        self._authorize(request)
        return self.paperspace.list_tags(_project_id(request), _query(request))

    async def _add_tag(self, request: Request) -> Json:
        self._authorize(request)
        return self.paperspace.add_tag(_project_id(request), await _json_body(request))

    async def _remove_tag(self, request: Request) -> Json:
        self._authorize(request)
        return self.paperspace.remove_tag(_project_id(request), _query(request))

    async def _count(self, request: Request) -> Response:
        """Return the number of API requests so far: for benchmarks, not part of the Paperspace API."""
        return JSONResponse({"count": self.request_count})

    async def _page(self, request: Request) -> Response:
        """Return the web page: projects, tags and recent requests."""
        return HTMLResponse(page_of(self.paperspace, reversed(self.requests)))


def _project_id(request: Request) -> str:
    return unquote(request.path_params["id"])


def _query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))


async def _json_body(request: Request) -> object:
    """Return the body, which servers of this kind read only for ``application/json`` without parameters."""
    body = await request.body()
    if len(body) > MAX_REQUEST_BODY_BYTES:
        raise RefusalError("PAYLOAD_TOO_LARGE", "Request body is too large")
    if request.headers.get("content-type", "").lower() != "application/json":
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RefusalError("PARSE_ERROR", "Failed to parse request body") from None


def _with_other_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_other_types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_other_types(item) for item in value] or "no items"
    return {"unexpected": value}


def _not_found() -> RefusalError:
    """Return what the service answers to an unknown path or to a wrong method; it has no 405."""
    return RefusalError("NOT_FOUND", "Not found")
