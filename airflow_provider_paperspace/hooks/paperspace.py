"""The hook: an Airflow connection as a Paperspace client.

Importing this module loads no HTTP library, so operators and sensors may import it in a DAG file.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from airflow_provider_paperspace._arguments import check_not_empty
from airflow_provider_paperspace._compat import (
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
    get_async_connection,
    get_async_extra_dejson,
    mask_secret,
)
from airflow_provider_paperspace._quoting import in_log_lines, printable, quoted
from airflow_provider_paperspace.api.errors import InvalidArgumentError, NotFoundError, PaperspaceError
from airflow_provider_paperspace.hooks.connection import ConnectionSettings, read_connection
from airflow_provider_paperspace.protocol import MAX_PAGE_SIZE, Order
from airflow_provider_paperspace.provider_info import get_provider_info

if TYPE_CHECKING:
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.api.client import PaperspaceClient
    from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange
    from airflow_provider_paperspace.api.policies import Policy
    from airflow_provider_paperspace.api.settings import ClientSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

TEST_TIMEOUT_S: Final = 10.0
TEST_MAX_ATTEMPTS: Final = 2


class PaperspaceHook(BaseHook):
    """Calls the Paperspace API through an Airflow connection of type ``paperspace``.

    The methods are those of :class:`~airflow_provider_paperspace.api.PaperspaceClient`, which keeps its connections
    open between calls. Close the hook, or use it in a ``with`` block; a hook that is not closed is closed when it is
    garbage-collected.

    :param paperspace_conn_id: the connection id, ``paperspace_default`` if left out.
    :param kwargs: the arguments of Airflow's ``BaseHook``.
    """

    conn_name_attr = "paperspace_conn_id"
    default_conn_name = "paperspace_default"
    conn_type = "paperspace"
    hook_name = "Paperspace"

    def __init__(self, paperspace_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paperspace_conn_id = paperspace_conn_id
        self._client: PaperspaceClient | None = None
        self._close_when_collected: Callable[[], Any] | None = None
        self._settings: ConnectionSettings | None = None

    @property
    def settings(self) -> ConnectionSettings:
        """The settings in the connection, read once and kept until :meth:`close`.

        :raises InvalidArgumentError: a setting is missing or cannot be used.
        """
        if self._settings is None:
            connection = self.get_connection(self.paperspace_conn_id)
            self._settings = read_connection(connection, connection.extra_dejson)
            _mask_secrets(self._settings.client, connection.password)
        return self._settings

    def get_conn(self) -> PaperspaceClient:
        """Return the blocking client, the same one until :meth:`close`.

        :raises InvalidArgumentError: a setting of the connection is missing or cannot be used.
        """
        if self._client is None:
            from airflow_provider_paperspace.api.client import PaperspaceClient

            self._client = PaperspaceClient(self.settings.client)
            self._close_when_collected = weakref.finalize(self, self._client.close)
        return self._client

    async def get_async_conn(
        self, *, max_attempts: int | None = None, timeout_s: float | None = None
    ) -> AsyncPaperspaceClient:
        """Return a new client for the running event loop. The caller closes it, preferably with ``async with``.

        :param max_attempts: maximum number of times it sends a request, if lower than the connection's.
        :param timeout_s: maximum seconds for one attempt, if lower than the connection's.
        :raises InvalidArgumentError: a setting of the connection is missing or cannot be used.
        """
        connection = await get_async_connection(self.paperspace_conn_id, hook=self)
        settings = read_connection(connection, await get_async_extra_dejson(connection)).client
        settings = replace(
            settings,
            max_attempts=min(settings.max_attempts, max_attempts or settings.max_attempts),
            timeout_s=min(settings.timeout_s, timeout_s or settings.timeout_s),
        )
        client_class = await asyncio.to_thread(_prepare_async_client, settings, connection.password)
        return client_class(settings)

    def run(self, flow: Flow[T]) -> T:
        """Run a flow of :mod:`airflow_provider_paperspace.api` to completion, and return its result."""
        return self.get_conn().run(flow)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the API key works, for the Test button. Sends one request, at most twice. Never raises."""
        from airflow_provider_paperspace.api.client import PaperspaceClient

        try:
            team, settings = self.settings.team, self.settings.client
            timeout_s = min(settings.timeout_s, TEST_TIMEOUT_S)
            attempts = min(settings.max_attempts, TEST_MAX_ATTEMPTS)
            with PaperspaceClient(replace(settings, timeout_s=timeout_s, max_attempts=attempts)) as client:
                session = client.get_session()
        except NotFoundError:
            return (
                False,
                f"There is no Paperspace API at {settings.base_url} (404). Check the connection's Base URL (Host).",
            )
        except Exception as error:  # noqa: BLE001  # any error belongs on the page, not in a stack trace
            return False, self._without_conn_id(str(error))
        if session is None:
            return False, (
                "Paperspace does not accept this API key. Create a new one in the Paperspace console (Team settings > "
                "API keys) and enter it as the connection's API key."
            )
        namespace = quoted(session.team_namespace)
        message = f"Connected to team {namespace} as {printable(session.user_email)}"
        if team != session.team_namespace:
            message += f". To add a link from each task to its project, set Team to {namespace}"
        return True, message

    def _without_conn_id(self, text: str) -> str:
        # The Test button tests a copy of the connection under a random id, which would confuse its reader.
        name = f"onnection {self.paperspace_conn_id!r}"
        return text.replace(f"c{name}", "this connection").replace(f"C{name}", "This connection")

    def iter_project_tags(
        self, project_id: str, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE
    ) -> Iterator[Tag]:
        """Iterate over a project's tags, with one page in memory at a time."""
        return self.get_conn().iter_project_tags(project_id, order=order, page_size=page_size)

    def list_project_tags(self, project_id: str, *, order: Order = "desc") -> list[Tag]:
        """Return all tags of a project, each name once."""
        return self.get_conn().list_project_tags(project_id, order=order)

    def add_project_tags(self, project_id: str, names: str | Iterable[str]) -> list[Tag]:
        """Add one or more tags to a project; return them as they are now on the project, in the given order."""
        return self.get_conn().add_project_tags(project_id, names)

    def remove_project_tags(self, project_id: str, names: str | Iterable[str], *, missing_ok: bool = True) -> list[Tag]:
        """Remove one or more tags from a project; return the tags that were removed."""
        return self.get_conn().remove_project_tags(project_id, names, missing_ok=missing_ok)

    def set_project_tags(self, project_id: str, names: str | Iterable[str], *, within: str | None = None) -> TagChange:
        """Make these the project's only tags, or its only tags that start with ``within`` if that is set."""
        return self.get_conn().set_project_tags(project_id, names, within=within)

    def converge_project_tags(self, project_id: str, policy: Policy, change: TagChange | None = None) -> TagChange:
        """Change a project's tags to what a policy of :mod:`~airflow_provider_paperspace.api.policies` wants."""
        return self.get_conn().converge_project_tags(project_id, policy, change)

    def iter_projects(self, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> Iterator[Project]:
        """Iterate over the team's projects, deleted ones included, with one page in memory at a time."""
        return self.get_conn().iter_projects(order=order, page_size=page_size)

    def get_project(self, project_id: str) -> Project:
        """Return one project."""
        return self.get_conn().get_project(project_id)

    def resolve_project_id(self, name: str) -> str:
        """Return the id of the one project with exactly this name; deleted projects do not count.

        :raises ProjectNameError: no project has the name, or several do.
        """
        return self.get_conn().resolve_project_id(name)

    def get_session(self) -> Session | None:
        """Return who the API key belongs to; None when the service does not accept the key."""
        return self.get_conn().get_session()

    def close(self) -> None:
        """Close the client and forget the settings; the next call reads the connection again."""
        if self._close_when_collected is not None:
            self._close_when_collected()  # at most once
            self._client = self._close_when_collected = None
        self._settings = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the provider's own form fields, for Airflow before 3.2."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import StringField

        fields = _connection_type()["conn-fields"]
        return {
            name: StringField(field["label"], widget=BS3TextFieldWidget(), description=field["description"])
            for name, field in fields.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's labels, placeholders and hidden fields, for Airflow before 3.2."""
        return {key.replace("-", "_"): value for key, value in _connection_type()["ui-field-behaviour"].items()}


@contextmanager
def open_hook(paperspace_conn_id: str, task_id: str) -> Iterator[PaperspaceHook]:
    """Open the hook for a ``with`` block of a task.

    The provider's errors are logged on a separate line, because Airflow's log view truncates the first line of an
    exception and collapses it with the stack trace. They are raised without their cause, which would only repeat them.

    :raises AirflowFailException: a call in the block failed permanently.
    """
    failure: Exception
    try:
        check_not_empty("paperspace_conn_id", paperspace_conn_id)
        with PaperspaceHook(paperspace_conn_id) as hook:
            yield hook
        return
    except AirflowNotFoundException as error:
        failure = AirflowFailException(
            f"Task {task_id!r}: Airflow has no connection {paperspace_conn_id!r} ({error}). Create it under Admin > "
            f"Connections with type Paperspace, or set AIRFLOW_CONN_{paperspace_conn_id.upper()}."
        )
    except InvalidArgumentError as error:
        failure = AirflowFailException(f"Task {task_id!r}: {error}")
    except PaperspaceError as error:
        failure = AirflowFailException(str(error)) if error.is_permanent else error
    log.error("%s", in_log_lines(str(failure)))
    raise failure from None


def is_permanent(error: BaseException) -> bool:
    """Return whether another try of the same task would fail in the same way."""
    if isinstance(error, PaperspaceError):
        return error.is_permanent
    return isinstance(error, (AirflowFailException, AirflowNotFoundException))


def _prepare_async_client(settings: ClientSettings, password: str | None) -> type[AsyncPaperspaceClient]:
    """Import the client and read the CA certificates: slow, so not in the event loop."""
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient, prepare

    prepare(settings)
    _mask_secrets(settings, password)
    return AsyncPaperspaceClient


def _mask_secrets(settings: ClientSettings, password: str | None) -> None:
    """Mask what Airflow does not: the key without surrounding whitespace, and the proxy's password without its URL."""
    if settings.api_key != password:
        mask_secret(settings.api_key)
    for secret in settings.proxy_secrets:
        mask_secret(secret)


def _connection_type() -> dict[str, Any]:
    info: dict[str, Any] = get_provider_info()
    (connection_type,) = info["connection-types"]
    return dict(connection_type)
