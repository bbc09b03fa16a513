"""The hook: an Airflow connection, as a Paperspace client."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_paperspace._compat import BaseHook, get_async_connection, get_async_extra_dejson, mask_secret
from airflow_provider_paperspace.api.errors import ADVICE_ON_KEY
from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.api.protocol import MAX_PAGE_SIZE, Order
from airflow_provider_paperspace.api.sync_client import PaperspaceClient
from airflow_provider_paperspace.hooks.connection import ConnectionSettings, read_connection
from airflow_provider_paperspace.provider_info import get_provider_info

if TYPE_CHECKING:
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient

TEST_TIMEOUT_S = 10.0
TEST_ATTEMPTS = 2


class PaperspaceHook(BaseHook):
    """Talks to the Paperspace API through an Airflow connection of type ``paperspace``.

    The methods are those of :class:`~airflow_provider_paperspace.api.sync_client.PaperspaceClient`, which keeps its
    connections open between calls. Close the hook, or use it in a ``with`` block; one that is forgotten closes when
    it is collected.

    :param paperspace_conn_id: the connection's id.
    """

    conn_name_attr = "paperspace_conn_id"
    default_conn_name = "paperspace_default"
    conn_type = "paperspace"
    hook_name = "Paperspace"

    def __init__(self, paperspace_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paperspace_conn_id = paperspace_conn_id
        self._client: PaperspaceClient | None = None
        self._settings: ConnectionSettings | None = None

    def get_conn(self) -> PaperspaceClient:
        """Give the client, the same one until :meth:`close`.

        :raises ValueError: a setting of the connection is missing or makes no sense.
        """
        if self._client is None:
            self._client = PaperspaceClient(self.settings.client)
            weakref.finalize(self, self._client.close)
        return self._client

    async def get_async_conn(self, *, max_attempts: int | None = None) -> AsyncPaperspaceClient:
        """Open a client for this event loop. It is the caller's to close, best by ``async with``.

        :param max_attempts: how often it sends a request at most, if that is less than the connection says.
        :raises ValueError: a setting of the connection is missing or makes no sense.
        """
        from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient, prepare

        connection = await get_async_connection(self.paperspace_conn_id, hook=self)
        settings = read_connection(connection, await get_async_extra_dejson(connection))
        await asyncio.to_thread(prepare)
        attempts = min(settings.client.max_attempts, max_attempts or settings.client.max_attempts)
        return AsyncPaperspaceClient(replace(settings.client, max_attempts=attempts))

    @property
    def settings(self) -> ConnectionSettings:
        """What the connection says, read once until :meth:`close`: Airflow may have to be asked for it."""
        if self._settings is None:
            self._settings = self.read_settings()
        return self._settings

    def read_settings(self) -> ConnectionSettings:
        """Read the connection, as it is now.

        :raises ValueError: a setting of the connection is missing or makes no sense.
        """
        connection = self.get_connection(self.paperspace_conn_id)
        settings = read_connection(connection, connection.extra_dejson)
        if settings.client.api_key != connection.password:
            # Airflow masks the password as it stands; the key is what is left without the blanks around it.
            mask_secret(settings.client.api_key)
        return settings

    def test_connection(self) -> tuple[bool, str]:
        """Say whether the API key works, for the Test button: one request, within seconds, never raising."""
        try:
            settings = self.read_settings().client
            timeout_s = min(settings.timeout_s, TEST_TIMEOUT_S)
            attempts = min(settings.max_attempts, TEST_ATTEMPTS)
            with PaperspaceClient(replace(settings, timeout_s=timeout_s, max_attempts=attempts)) as client:
                session = client.get_session()
        except Exception as error:  # noqa: BLE001  # whatever it is belongs on the page, not into a stack trace
            return False, str(error)
        if session is None:
            return False, f"Paperspace does not accept the key of connection {settings.name!r}. {ADVICE_ON_KEY}"
        return True, f"Connected to team {session.team_namespace!r} as {session.user_email}"

    def iter_project_tags(
        self, project_id: str, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE
    ) -> Iterator[Tag]:
        """Iterate over a project's tags with a page in memory at a time."""
        return self.get_conn().iter_project_tags(project_id, order=order, page_size=page_size)

    def list_project_tags(self, project_id: str, *, order: Order = "desc") -> list[Tag]:
        """List a project's tags, each name once."""
        return self.get_conn().list_project_tags(project_id, order=order)

    def add_project_tags(self, project_id: str, names: str | Iterable[str]) -> list[Tag]:
        """Put one or many tags on a project; give the tags now there, in the order asked."""
        return self.get_conn().add_project_tags(project_id, names)

    def remove_project_tags(self, project_id: str, names: str | Iterable[str], *, missing_ok: bool = True) -> list[Tag]:
        """Take one or many tags off a project; give those that were taken off."""
        return self.get_conn().remove_project_tags(project_id, names, missing_ok=missing_ok)

    def set_project_tags(self, project_id: str, names: str | Iterable[str], *, within: str | None = None) -> TagChange:
        """Let a project have exactly these tags among those that begin with ``within``; others stay."""
        return self.get_conn().set_project_tags(project_id, names, within=within)

    def converge_project_tags(self, project_id: str, policy: Policy) -> TagChange:
        """Change a project's tags to what a policy of :mod:`~airflow_provider_paperspace.api.policies` wants."""
        return self.get_conn().converge_project_tags(project_id, policy)

    def iter_projects(self, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> Iterator[Project]:
        """Iterate over the team's projects, deleted ones included, with a page in memory at a time."""
        return self.get_conn().iter_projects(order=order, page_size=page_size)

    def get_project(self, project_id: str) -> Project:
        """Read one project."""
        return self.get_conn().get_project(project_id)

    def resolve_project_id(self, name: str) -> str:
        """Find the id of the one project with exactly this name; deleted projects do not count.

        :raises ProjectNameError: there is none, or there are several.
        """
        return self.get_conn().resolve_project_id(name)

    def get_session(self) -> Session | None:
        """Read who the key belongs to; None when the service does not accept the key."""
        return self.get_conn().get_session()

    def close(self) -> None:
        """Close the client; the next call opens a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._settings = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Give the form's own fields, for Airflow before 3.2."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import StringField

        fields = _connection_type()["conn-fields"]
        return {
            name: StringField(field["label"], widget=BS3TextFieldWidget(), description=field["description"])
            for name, field in fields.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Give the form's labels, placeholders and hidden fields, for Airflow before 3.2."""
        return {key.replace("-", "_"): value for key, value in _connection_type()["ui-field-behaviour"].items()}


def _connection_type() -> dict[str, Any]:
    info: dict[str, Any] = get_provider_info()
    (connection_type,) = info["connection-types"]
    return dict(connection_type)
