"""The blocking client: runs the flows over requests."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self, TypeVar

import requests
import urllib3
from requests.auth import AuthBase
from tenacity import Retrying

from airflow_provider_paperspace.api import flows, policies, retries, walks
from airflow_provider_paperspace.api.answers import Flow
from airflow_provider_paperspace.api.errors import PaperspaceError, TransportError
from airflow_provider_paperspace.api.exchange import Exchange, common_headers, content_headers
from airflow_provider_paperspace.api.messages import Request, Response, check_tag_names
from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.api.protocol import MAX_PAGE_SIZE, Order
from airflow_provider_paperspace.api.settings import ClientSettings, ca_bundle

log = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNK_BYTES = 65_536


class PaperspaceClient:
    """The Paperspace API for blocking code. Close it, or use it in a ``with`` block.

    Every method raises the errors of :mod:`airflow_provider_paperspace.api.errors`, and :class:`ValueError` or
    :class:`TypeError` on an argument that could not be sent.

    :param settings: the key, and how to reach the service.
    :param sleep: waits so many seconds between attempts.
    """

    def __init__(self, settings: ClientSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings = settings
        self._sleep = sleep
        self._session = _new_session(settings)
        self._timeout = urllib3.Timeout(total=settings.timeout_s)

    def iter_project_tags(
        self, project_id: str, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE
    ) -> Iterator[Tag]:
        """Iterate over a project's tags with a page in memory at a time.

        :param order: by creation, ``desc`` newest first or ``asc`` oldest first.
        :param page_size: tags per request, 1 to 120.
        """
        return self._iterate(walks.walk_project_tags(project_id, order=order, page_size=page_size))

    def list_project_tags(self, project_id: str, *, order: Order = "desc") -> list[Tag]:
        """List a project's tags, each name once."""
        return self._run(flows.list_project_tags(project_id, order=order))

    def add_project_tags(self, project_id: str, names: str | Iterable[str]) -> list[Tag]:
        """Put one or many tags on a project; those already there stay.

        :return: the tags now there, in the order asked.
        """
        asked = check_tag_names(names)
        return self.converge_project_tags(project_id, policies.adding(asked)).present(asked)

    def remove_project_tags(self, project_id: str, names: str | Iterable[str], *, missing_ok: bool = True) -> list[Tag]:
        """Take one or many tags off a project.

        :param missing_ok: whether a tag that is not there is well. If not, nothing at all is removed.
        :return: the tags that were taken off.
        """
        policy = policies.removing(names, missing_ok=missing_ok)
        return list(self.converge_project_tags(project_id, policy).removed)

    def set_project_tags(self, project_id: str, names: str | Iterable[str], *, within: str | None = None) -> TagChange:
        """Let a project have exactly these tags among those that begin with ``within``; others stay.

        What is missing is added before what is too much is removed, and one request is all when nothing differs.

        :param within: a prefix such as ``stage:``. None manages all of the project's tags.
        """
        return self.converge_project_tags(project_id, policies.setting(names, within=within))

    def converge_project_tags(self, project_id: str, policy: Policy) -> TagChange:
        """Change a project's tags to what a policy of :mod:`~airflow_provider_paperspace.api.policies` wants."""
        flow = flows.converge_project_tags(project_id, policy, max_attempts=self.settings.max_attempts)
        change = self._run(flow)
        log.info("Project %r: %s", project_id, change)
        return change

    def iter_projects(self, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> Iterator[Project]:
        """Iterate over the team's projects, deleted ones included, with a page in memory at a time."""
        return self._iterate(walks.walk_projects(order=order, page_size=page_size))

    def get_project(self, project_id: str) -> Project:
        """Read one project."""
        return self._run(flows.read_project(project_id))

    def resolve_project_id(self, name: str) -> str:
        """Find the id of the one project with exactly this name."""
        return self._run(flows.resolve_project_id(name))

    def get_session(self) -> Session | None:
        """Read who the key belongs to; None when the service does not accept the key."""
        return self._run(flows.read_session())

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _iterate(self, walk: walks.Walk[T]) -> Iterator[T]:
        while walk.has_more:
            yield from self._run(walk.next_new_items())

    def _run(self, flow: Flow[T]) -> T:
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
            error.without(self.settings.api_key)
            raise

    def _send(self, request: Request) -> Response:
        if pause := retries.pause_before(request):
            self._sleep(pause)
        retrying = Retrying(**retries.retrying_options(request, self.settings.max_attempts, self._sleep))
        try:
            response: Response = retrying(self._send_once, request)
        except TransportError as error:
            error.attempts = retrying.statistics["attempt_number"]
            raise
        attempts = retrying.statistics["attempt_number"]
        return response if attempts == 1 else replace(response, attempts=attempts)

    def _send_once(self, request: Request) -> Response:
        exchange = Exchange(self.settings, request)
        try:
            with self._session.request(
                request.method,
                exchange.url,
                data=request.body,
                headers=content_headers(request),
                timeout=self._timeout,  # type: ignore[arg-type]  # requests takes urllib3's, its stubs do not know
                stream=True,
                allow_redirects=False,
            ) as answer:
                # What has come, as it comes: iter_content would wait for a full chunk, and outwait the timeout.
                while (chunk := answer.raw.read1(_CHUNK_BYTES, decode_content=True)) and exchange.read(chunk):
                    pass
                return exchange.answered(answer.status_code, answer.headers)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            failure = exchange.failed(error)
        raise failure


class _KeyAuth(AuthBase):
    """Sets the key itself: without an auth of its own, requests looks into ``~/.netrc`` and replaces the header."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._settings.authorization
        return request


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow nothing, and do not even read ahead: requests would load the whole body of a redirect."""
        return


def _new_session(settings: ClientSettings) -> requests.Session:
    session = _Session()
    session.auth = _KeyAuth(settings)
    session.headers.update(common_headers())
    session.trust_env = not settings.is_loopback
    session.verify = ca_bundle(os.environ) or True
    return session
