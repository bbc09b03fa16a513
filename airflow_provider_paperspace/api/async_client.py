"""The asynchronous client: runs the flows over httpx, for triggers and for many projects at once."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio
import httpx
from tenacity import AsyncRetrying

from airflow_provider_paperspace.api import flows, policies, retries, walks
from airflow_provider_paperspace.api.answers import Flow
from airflow_provider_paperspace.api.errors import PaperspaceError, StoppedError, TransportError
from airflow_provider_paperspace.api.exchange import Exchange, common_headers, content_headers
from airflow_provider_paperspace.api.lanes import WIDTH, Lanes
from airflow_provider_paperspace.api.messages import Request, Response, check_tag_names
from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange
from airflow_provider_paperspace.api.pace import Pace
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.api.protocol import MAX_PAGE_SIZE, Order
from airflow_provider_paperspace.api.settings import ClientSettings, ca_bundle

log = logging.getLogger(__name__)

T = TypeVar("T")


class AsyncPaperspaceClient:
    """The Paperspace API for an event loop: :class:`PaperspaceClient`'s methods, to be awaited.

    Requests that run at the same time share one :class:`~airflow_provider_paperspace.api.pace.Pace`: a 429 to one of
    them holds all of them up.

    :param settings: the key, and how to reach the service.
    :param sleep: waits so many seconds between attempts.
    :param clock: tells the seconds of a monotonic clock.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self._clock = clock
        self._pace = Pace()
        self._stopped = asyncio.Event()
        self._lanes = Lanes(lambda: _new_http_client(settings))

    def iter_project_tags(
        self, project_id: str, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE
    ) -> AsyncIterator[Tag]:
        """Iterate over a project's tags with a page in memory at a time."""
        return self._iterate(walks.walk_project_tags(project_id, order=order, page_size=page_size))

    async def list_project_tags(self, project_id: str, *, order: Order = "desc") -> list[Tag]:
        """List a project's tags, each name once."""
        return await self._run(flows.list_project_tags(project_id, order=order))

    async def add_project_tags(self, project_id: str, names: str | Iterable[str]) -> list[Tag]:
        """Put one or many tags on a project; give the tags now there, in the order asked."""
        asked = check_tag_names(names)
        return (await self.converge_project_tags(project_id, policies.adding(asked))).present(asked)

    async def remove_project_tags(
        self, project_id: str, names: str | Iterable[str], *, missing_ok: bool = True
    ) -> list[Tag]:
        """Take one or many tags off a project; give those that were taken off."""
        policy = policies.removing(names, missing_ok=missing_ok)
        return list((await self.converge_project_tags(project_id, policy)).removed)

    async def set_project_tags(
        self, project_id: str, names: str | Iterable[str], *, within: str | None = None
    ) -> TagChange:
        """Let a project have exactly these tags among those that begin with ``within``; others stay."""
        return await self.converge_project_tags(project_id, policies.setting(names, within=within))

    async def converge_project_tags(self, project_id: str, policy: Policy) -> TagChange:
        """Change a project's tags to what a policy of :mod:`~airflow_provider_paperspace.api.policies` wants."""
        flow = flows.converge_project_tags(project_id, policy, max_attempts=self.settings.max_attempts)
        change = await self._run(flow)
        log.info("Project %r: %s", project_id, change)
        return change

    def iter_projects(self, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> AsyncIterator[Project]:
        """Iterate over the team's projects, deleted ones included, with a page in memory at a time."""
        return self._iterate(walks.walk_projects(order=order, page_size=page_size))

    async def get_project(self, project_id: str) -> Project:
        """Read one project."""
        return await self._run(flows.read_project(project_id))

    async def resolve_project_id(self, name: str) -> str:
        """Find the id of the one project with exactly this name."""
        return await self._run(flows.resolve_project_id(name))

    async def get_session(self) -> Session | None:
        """Read who the key belongs to; None when the service does not accept the key."""
        return await self._run(flows.read_session())

    def stop(self) -> None:
        """Send no further request, and end every wait: what is under way raises StoppedError at its next step."""
        self._stopped.set()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._lanes.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _iterate(self, walk: walks.Walk[T]) -> AsyncIterator[T]:
        while walk.has_more:
            for item in await self._run(walk.next_new_items()):
                yield item

    async def _run(self, flow: Flow[T]) -> T:
        try:
            request = next(flow)
            while True:
                try:
                    response = await self._send(request)
                except TransportError as error:
                    request = flow.throw(error)
                else:
                    request = flow.send(response)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except PaperspaceError as error:
            error.connection = self.settings.name
            error.without(self.settings.api_key)
            raise

    async def _send(self, request: Request) -> Response:
        async def pause(seconds: float) -> None:
            await self._pause(seconds, request)

        if seconds := retries.pause_before(request):
            await pause(seconds)
        sent_at_s = 0.0

        async def send_in_turn() -> Response:
            nonlocal sent_at_s
            sent_at_s = await self._wait_for_turn(pause)
            self._check_not_stopped(request)
            ours = _OURS.set(True)
            try:
                answer = await self._send_once(request)
            finally:
                _OURS.reset(ours)
            if answer.status != 429:
                self._pace.went_well(self._clock())
            return answer

        def pause_all(seconds: float) -> None:
            self._pace.refused(self._clock(), sent_at_s=sent_at_s, pause_s=seconds)

        attempts = self.settings.max_attempts
        options = retries.retrying_options(request, attempts, pause, pause_all=pause_all)
        retrying = AsyncRetrying(**options)
        try:
            response: Response = await retrying(send_in_turn)
        except TransportError as error:
            error.attempts = retrying.statistics["attempt_number"]
            raise
        attempts = retrying.statistics["attempt_number"]
        return response if attempts == 1 else replace(response, attempts=attempts)

    async def _pause(self, seconds: float, request: Request) -> None:
        """Wait so long, or until the client is told to stop."""
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([sleeping, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopped.cancel()
        self._check_not_stopped(request)

    def _check_not_stopped(self, request: Request) -> None:
        if self._stopped.is_set():
            advice = "Run it again: it goes on with what is left."
            about = {"subject": request.subject, "action": request.action, "advice": advice}
            raise StoppedError("the work was told to stop", at_s=self._clock(), **about)

    async def _wait_for_turn(self, pause: Callable[[float], Awaitable[None]]) -> float:
        """Wait until the pace lets one more request go; give that instant."""
        while True:
            episode = self._pace.episode
            turn_s = self._pace.turn_s(self._clock())
            while (now_s := self._clock()) < turn_s and self._pace.episode == episode:
                await pause(turn_s - now_s)
            if self._pace.episode == episode:
                return now_s

    async def _send_once(self, request: Request) -> Response:
        exchange = Exchange(self.settings, request)
        try:
            with self._lanes.one() as http:
                async with (
                    asyncio.timeout(self.settings.timeout_s),
                    http.stream(
                        request.method, exchange.url, content=request.body, headers=content_headers(request)
                    ) as answer,
                ):
                    async for chunk in answer.aiter_bytes():
                        if not exchange.read(chunk):
                            break
                    return exchange.answered(answer.status_code, answer.headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            failure = exchange.failed(error)
        raise failure


class _OwnLineIsEnough(logging.Filter):
    """Drops httpx's line about each of our requests: at INFO, it would drown a log of many projects or sensors."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or not _OURS.get()


_OURS: ContextVar[bool] = ContextVar("paperspace_request", default=False)
logging.getLogger("httpx").addFilter(_OwnLineIsEnough())


def _new_http_client(settings: ClientSettings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers={**common_headers(), "Authorization": settings.authorization},
        timeout=settings.timeout_s,
        follow_redirects=False,
        trust_env=not settings.is_loopback,
        limits=httpx.Limits(max_connections=WIDTH, max_keepalive_connections=WIDTH, keepalive_expiry=30),
        verify=_tls_context(ca_bundle(os.environ)),
    )


@cache
def prepare() -> None:
    """Do in a thread what would block an event loop at the first client.

    That is to read the CA certificates, and to load what httpx loads late.
    """
    httpx.AsyncClient(verify=_tls_context(ca_bundle(os.environ)))
    anyio.run(anyio.sleep, 0)


@cache
def _tls_context(bundle: str | None) -> ssl.SSLContext:
    """Read the CA certificates once a process: it takes tens of milliseconds, and blocks the event loop."""
    if bundle is None:
        return httpx.create_ssl_context()
    if Path(bundle).is_dir():
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)
