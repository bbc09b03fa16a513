"""The asynchronous client: runs flows over aiohttp, for triggers and for many projects at once."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
import certifi
from tenacity import AsyncRetrying
from yarl import URL

from airflow_provider_paperspace.api import policies, project_tags, projects
from airflow_provider_paperspace.api._checks import check_tag_names
from airflow_provider_paperspace.api._messages import Flow, Request, Response
from airflow_provider_paperspace.api._pages import Pager
from airflow_provider_paperspace.api._rate_limit import RateLimiter
from airflow_provider_paperspace.api._transport import (
    COMMON_HEADERS,
    Exchange,
    content_headers,
    pause_before,
    retry_options,
    settled,
    should_retry,
    unreadable_ca_bundle,
    user_ca_bundle,
)
from airflow_provider_paperspace.api.errors import (
    InvalidArgumentError,
    PaperspaceError,
    StoppedError,
    TransportError,
)
from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.api.settings import ClientSettings
from airflow_provider_paperspace.protocol import MAX_PAGE_SIZE, Order

T = TypeVar("T")

_KEEP_ALIVE_S = 30.0


class AsyncPaperspaceClient:
    """The Paperspace API for an event loop: the methods of :class:`PaperspaceClient`, to be awaited.

    Create it in a running event loop, and close it, preferably with ``async with``. Requests that run at the same time
    share one rate limiter: a 429 to one of them pauses all of them.

    :param settings: the API key, and how to reach the service.
    :param sleep: called with the number of seconds to wait between attempts.
    :param clock: returns the time of a monotonic clock in seconds.
    :raises InvalidArgumentError: the environment sets a proxy or CA certificates that cannot be used.
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
        self._rate_limiter = RateLimiter()
        self._stopped = asyncio.Event()
        self._proxy = settings.proxy if settings.proxy_address else _environment_proxy(settings)
        self._session = _new_session(settings)

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow to completion: send each request that it yields, and return its result."""
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
            error.redact(self.settings.api_key)
            raise

    def iter_project_tags(
        self, project_id: str, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE
    ) -> AsyncIterator[Tag]:
        """Iterate over a project's tags, with one page in memory at a time."""
        return self._iterate(project_tags.page_project_tags(project_id, order=order, page_size=page_size))

    async def list_project_tags(self, project_id: str, *, order: Order = "desc") -> list[Tag]:
        """Return all tags of a project, each name once."""
        return await self.run(project_tags.list_project_tags(project_id, order=order))

    async def add_project_tags(self, project_id: str, names: str | Iterable[str]) -> list[Tag]:
        """Add one or more tags to a project; return them as they are now on the project, in the given order."""
        names = check_tag_names(names)
        return (await self.converge_project_tags(project_id, policies.adding(names))).present(names)

    async def remove_project_tags(
        self, project_id: str, names: str | Iterable[str], *, missing_ok: bool = True
    ) -> list[Tag]:
        """Remove one or more tags from a project; return the tags that were removed."""
        policy = policies.removing(names, missing_ok=missing_ok)
        return (await self.converge_project_tags(project_id, policy)).removed

    async def set_project_tags(
        self, project_id: str, names: str | Iterable[str], *, within: str | None = None
    ) -> TagChange:
        """Make these the project's only tags, or its only tags that start with ``within`` if that is set."""
        return await self.converge_project_tags(project_id, policies.setting(names, within=within))

    async def converge_project_tags(
        self, project_id: str, policy: Policy, change: TagChange | None = None
    ) -> TagChange:
        """Change a project's tags to what a policy of :mod:`~airflow_provider_paperspace.api.policies` wants."""
        return await self.run(project_tags.converge_project_tags(project_id, policy, change))

    def iter_projects(self, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> AsyncIterator[Project]:
        """Iterate over the team's projects, deleted ones included, with one page in memory at a time."""
        return self._iterate(projects.page_projects(order=order, page_size=page_size))

    async def get_project(self, project_id: str) -> Project:
        """Return one project."""
        return await self.run(projects.get_project(project_id))

    async def resolve_project_id(self, name: str) -> str:
        """Return the id of the one project with exactly this name; deleted projects do not count."""
        return await self.run(projects.resolve_project_id(name))

    async def get_session(self) -> Session | None:
        """Return who the API key belongs to; None when the service does not accept the key."""
        return await self.run(projects.get_session())

    def stop(self) -> None:
        """Send no further request and end every wait: running calls raise StoppedError at their next step."""
        self._stopped.set()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _iterate(self, pager: Pager[T]) -> AsyncIterator[T]:
        while pager.has_more:
            for item in await self.run(pager.next_new_items()):
                yield item

    async def _send(self, request: Request) -> Response:
        sent_at_s = 0.0

        async def attempt() -> Response | TransportError:
            nonlocal sent_at_s
            sent_at_s = await self._wait_for_start(request)
            self._check_not_stopped(request)
            outcome = await self._send_once(request)
            if isinstance(outcome, Response) and outcome.status != 429:
                self._rate_limiter.record_success(self._clock())
            return outcome

        def on_429(seconds: float) -> None:
            self._rate_limiter.record_429(self._clock(), sent_at_s=sent_at_s, pause_s=seconds)

        async def pause(seconds: float) -> None:
            await self._pause(seconds, request)

        if seconds := pause_before(request):
            await pause(seconds)
        outcome = await attempt()
        if not should_retry(request, outcome):
            return settled(outcome, 1)  # tenacity would add half as much CPU time as the request
        retrying = AsyncRetrying(**retry_options(request, self.settings.max_attempts, pause, on_429=on_429))
        outcome = await retrying(_starting_with(outcome, attempt))
        return settled(outcome, retrying.statistics["attempt_number"])

    async def _send_once(self, request: Request) -> Response | TransportError:
        exchange = Exchange(self.settings, request)
        try:
            async with (
                asyncio.timeout(self.settings.timeout_s),
                self._session.request(
                    request.method,
                    URL(exchange.url, encoded=True),
                    data=request.body,
                    # Not among the session's headers: aiohttp sends those to the proxy, too.
                    headers={**content_headers(request), "Authorization": self.settings.authorization},
                    proxy=self._proxy,
                    allow_redirects=False,
                ) as answer,
            ):
                async for chunk in answer.content.iter_any():
                    if not exchange.receive(chunk):
                        break
                return exchange.response(answer.status, answer.headers)
        except (aiohttp.ClientError, OSError) as error:
            return exchange.failure(error)

    async def _pause(self, seconds: float, request: Request) -> None:
        """Wait this long, or until the client is stopped."""
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
            raise StoppedError(
                "the client was stopped",
                at_s=self._clock(),
                subject=request.subject,
                action=request.action,
                advice="Repeat the call to finish what remains.",
            )

    async def _wait_for_start(self, request: Request) -> float:
        """Wait until the rate limiter lets the request start; return that instant."""
        while True:
            pauses = self._rate_limiter.pauses
            start_s = self._rate_limiter.reserve_start(self._clock())
            while (now_s := self._clock()) < start_s and self._rate_limiter.pauses == pauses:
                await self._pause(start_s - now_s, request)
            if self._rate_limiter.pauses == pauses:
                return now_s


def _starting_with(
    first: Response | TransportError, attempt: Callable[[], Awaitable[Response | TransportError]]
) -> Callable[[], Awaitable[Response | TransportError]]:
    """Return a function that returns the first outcome on its first call, and makes further attempts after that."""
    outcomes = [first]

    async def next_outcome() -> Response | TransportError:
        return outcomes.pop() if outcomes else await attempt()

    return next_outcome


def prepare(settings: ClientSettings) -> None:
    """Read the CA certificates. Call it in a thread: it would block an event loop for tens of milliseconds."""
    if urlsplit(settings.base_url).scheme == "https":
        _tls_context(user_ca_bundle())


def _new_session(settings: ClientSettings) -> aiohttp.ClientSession:
    is_https = urlsplit(settings.base_url).scheme == "https"
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=_KEEP_ALIVE_S,
            ssl=_tls_context(user_ca_bundle()) if is_https else True,
        ),
        headers=COMMON_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # asyncio.timeout covers the whole attempt
        trust_env=False,  # it would read ~/.netrc, whose entry replaces the Authorization header or conflicts with it
    )
    # When a connection breaks, aiohttp sends a GET or DELETE again on its own. A removal would then be answered with
    # 404, as if someone else had removed the tag. No public option turns this off:
    # github.com/aio-libs/aiohttp/issues/10790
    session._retry_connection = False  # noqa: SLF001
    return session


@cache
def _tls_context(bundle: str | None) -> ssl.SSLContext:
    """Return the TLS settings, made once per process and bundle."""
    if bundle is None:
        return ssl.create_default_context(cafile=certifi.where())
    if Path(bundle).is_dir():
        return ssl.create_default_context(capath=bundle)
    try:
        return ssl.create_default_context(cafile=bundle)
    except ssl.SSLError:
        raise unreadable_ca_bundle(bundle) from None


def _environment_proxy(settings: ClientSettings) -> str | None:
    """Return the proxy that the environment sets for the base URL, as the ``requests`` library finds it."""
    parts = urlsplit(settings.base_url)
    if settings.is_loopback or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        proxy_parts = urlsplit(proxy)
        host, _ = proxy_parts.hostname, proxy_parts.port
    except ValueError:
        host = None
    if not host:
        # Not quoted: it may contain a password.
        raise InvalidArgumentError(
            "The environment sets a proxy without a valid host and port. Check HTTPS_PROXY and ALL_PROXY."
        )
    if proxy_parts.scheme not in ("http", "https"):
        scheme = proxy_parts.scheme
        raise InvalidArgumentError(
            f"The environment sets a proxy with {scheme}://; only http:// and https:// proxies are supported."
        )
    return proxy
