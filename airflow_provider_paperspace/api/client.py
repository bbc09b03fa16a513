"""The blocking client: runs flows with the ``requests`` library."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import requests
import urllib3
from requests.auth import AuthBase
from tenacity import Retrying

from airflow_provider_paperspace.api import policies, project_tags, projects
from airflow_provider_paperspace.api._checks import check_tag_names
from airflow_provider_paperspace.api._messages import Flow, Request, Response
from airflow_provider_paperspace.api._pages import Pager
from airflow_provider_paperspace.api._transport import (
    COMMON_HEADERS,
    Exchange,
    content_headers,
    pause_before,
    retry_options,
    settled,
    user_ca_bundle,
)
from airflow_provider_paperspace.api.errors import PaperspaceError, TransportError
from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.api.settings import ClientSettings
from airflow_provider_paperspace.protocol import MAX_PAGE_SIZE, Order

T = TypeVar("T")

_CHUNK_BYTES = 65_536


class PaperspaceClient:
    """The Paperspace API for blocking code. Close it, or use it in a ``with`` block.

    Every method raises the errors of :mod:`airflow_provider_paperspace.api.errors`.

    :param settings: the API key, and how to reach the service.
    :param sleep: called with the number of seconds to wait between attempts.
    :param budget_s: maximum seconds for all requests together; after that none is sent.
    :raises InvalidArgumentError: an environment variable points to CA certificates that do not exist, or to a file that
        is not in PEM format.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        sleep: Callable[[float], None] = time.sleep,
        budget_s: float = math.inf,
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self._session = _new_session(settings)
        self._ends_s = time.monotonic() + budget_s

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to completion: send each request that it yields, and return its result."""
        try:
            request = next(flow)
            while True:
                try:
                    response = self._send(request)
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
    ) -> Iterator[Tag]:
        """Iterate over a project's tags, with one page in memory at a time.

        :param order: by creation, ``desc`` newest first or ``asc`` oldest first.
        :param page_size: tags per request, 1 to 120.
        """
        return self._iterate(project_tags.page_project_tags(project_id, order=order, page_size=page_size))

    def list_project_tags(self, project_id: str, *, order: Order = "desc") -> list[Tag]:
        """Return all tags of a project, each name once."""
        return self.run(project_tags.list_project_tags(project_id, order=order))

    def add_project_tags(self, project_id: str, names: str | Iterable[str]) -> list[Tag]:
        """Add one or more tags to a project; existing ones stay.

        :return: the tags as they are now on the project, in the given order.
        """
        names = check_tag_names(names)
        return self.converge_project_tags(project_id, policies.adding(names)).present(names)

    def remove_project_tags(self, project_id: str, names: str | Iterable[str], *, missing_ok: bool = True) -> list[Tag]:
        """Remove one or more tags from a project.

        :param missing_ok: whether missing tags are allowed. If not, nothing is removed when one is missing.
        :return: the tags that were removed.
        """
        policy = policies.removing(names, missing_ok=missing_ok)
        return self.converge_project_tags(project_id, policy).removed

    def set_project_tags(self, project_id: str, names: str | Iterable[str], *, within: str | None = None) -> TagChange:
        """Make these the only tags among those that start with ``within``; all others stay.

        Missing tags are added before others are removed. When nothing differs, the tags are only read.

        :param within: a prefix such as ``stage:``. None manages all tags of the project.
        """
        return self.converge_project_tags(project_id, policies.setting(names, within=within))

    def converge_project_tags(self, project_id: str, policy: Policy, change: TagChange | None = None) -> TagChange:
        """Change a project's tags to what a policy of :mod:`~airflow_provider_paperspace.api.policies` wants.

        :param change: a record to which each confirmed write is added; after an error it shows what was done.
        """
        return self.run(project_tags.converge_project_tags(project_id, policy, change))

    def iter_projects(self, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> Iterator[Project]:
        """Iterate over the team's projects, deleted ones included, with one page in memory at a time."""
        return self._iterate(projects.page_projects(order=order, page_size=page_size))

    def get_project(self, project_id: str) -> Project:
        """Return one project."""
        return self.run(projects.get_project(project_id))

    def resolve_project_id(self, name: str) -> str:
        """Return the id of the one project with exactly this name; deleted projects do not count."""
        return self.run(projects.resolve_project_id(name))

    def get_session(self) -> Session | None:
        """Return who the API key belongs to; None when the service does not accept the key."""
        return self.run(projects.get_session())

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _iterate(self, pager: Pager[T]) -> Iterator[T]:
        while pager.has_more:
            yield from self.run(pager.next_new_items())

    def _send(self, request: Request) -> Response:
        if pause := pause_before(request):
            self._pause(pause)
        retrying = Retrying(**retry_options(request, self.settings.max_attempts, self._pause))
        return settled(retrying(self._send_once, request), retrying.statistics["attempt_number"])

    def _send_once(self, request: Request) -> Response | TransportError:
        exchange = Exchange(self.settings, request, timeout_s=self._ends_s - time.monotonic())
        if exchange.timeout_s <= 0:
            return exchange.out_of_time()
        try:
            with self._session.request(
                request.method,
                exchange.url,
                data=request.body,
                headers=content_headers(request),
                # requests accepts a urllib3 Timeout, but its type stubs do not say so.
                timeout=urllib3.Timeout(total=exchange.timeout_s),  # type: ignore[arg-type]
                stream=True,
                allow_redirects=False,
            ) as answer:
                # Read what has arrived: iter_content waits for a full chunk, which can exceed the timeout.
                while (chunk := answer.raw.read1(_CHUNK_BYTES, decode_content=True)) and exchange.receive(chunk):
                    pass
                return exchange.response(answer.status_code, answer.headers)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return exchange.failure(error)

    def _pause(self, seconds: float) -> None:
        self._sleep(max(0.0, min(seconds, self._ends_s - time.monotonic())))


class _KeyAuth(AuthBase):
    """Sets the key itself: without an auth object, requests reads ``~/.netrc`` and replaces the header."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._settings.authorization
        return request


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Never follow a redirect: to do so, ``requests`` would first load the whole body of the response."""
        return


def _new_session(settings: ClientSettings) -> requests.Session:
    session = _Session()
    session.auth = _KeyAuth(settings)
    session.headers.update(COMMON_HEADERS)
    session.trust_env = not (settings.is_loopback or settings.proxy)
    if settings.proxy_address:
        session.proxies = {"https": settings.proxy}
    if settings.base_url.startswith("https:"):
        session.verify = user_ca_bundle() or True
    return session
