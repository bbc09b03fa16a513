"""The notifier that tags a project when a task or a DAG run succeeds or fails."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace._arguments import find_project, parse_tag_names
from airflow_provider_paperspace._compat import BaseNotifier
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.project_tags import converge_project_tags
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

if TYPE_CHECKING:
    from collections.abc import Generator

    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import TagChange

log = logging.getLogger(__name__)


class ProjectTagNotifier(BaseNotifier):
    """Add tags to a project and remove others, as a callback.

    For ``on_success_callback``, ``on_failure_callback``, ``on_retry_callback`` and the like, of a task or a DAG, and
    for deadlines. It never raises: what it could not do is logged.

    :param project_id: the project id, such as ``prmximcci``, or the project as ``ListProjectsOperator`` returns it.
        Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param add: names of tags to add. Templated.
    :param remove: names of tags to remove. Templated.
    :param paperspace_conn_id: the connection id. Templated.
    """

    template_fields: Sequence[str] = ("project_id", "project_name", "add", "remove", "paperspace_conn_id")

    def __init__(
        self,
        *,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        add: str | Sequence[str] = (),
        remove: str | Sequence[str] = (),
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (project_id is None) == (project_name is None):
            raise InvalidArgumentError("ProjectTagNotifier: set exactly one of project_id and project_name.")
        self.project_id = project_id
        self.project_name = project_name
        self.add = add
        self.remove = remove
        self.paperspace_conn_id = paperspace_conn_id

    def __call__(self, *args: Any) -> None:
        """Render and notify, on a copy: one notifier may serve many tasks, and rendering changes it."""
        with self._logging_errors():
            super(ProjectTagNotifier, copy.copy(self)).__call__(*args)

    def __await__(self) -> Generator[Any, None, None]:
        """Render and notify in the triggerer, with the context that was passed to the constructor."""
        with self._logging_errors():
            yield from super(ProjectTagNotifier, copy.copy(self)).__await__()

    def notify(self, context: Context) -> None:
        """Change the tags."""
        with self._logging_errors(), PaperspaceHook(self.paperspace_conn_id) as hook:
            hook.run(self._change())

    async def async_notify(self, context: Context) -> None:
        """Change the tags, in an event loop."""
        with self._logging_errors():
            async with await PaperspaceHook(self.paperspace_conn_id).get_async_conn() as client:
                await client.run(self._change())

    def _change(self) -> Flow[TagChange]:
        policy = policies.changing(add=parse_tag_names(self.add, "add"), remove=parse_tag_names(self.remove, "remove"))
        project_id = yield from find_project(self.project_id, self.project_name)
        return (yield from converge_project_tags(project_id, policy))

    @contextmanager
    def _logging_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            project = self.project_name or self.project_id
            log.exception("Project %r was not tagged (add %r, remove %r): %s", project, self.add, self.remove, error)
