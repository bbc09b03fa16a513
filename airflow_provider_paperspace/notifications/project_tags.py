"""The notifier that tags a project when a task or a DAG run ends, well or badly."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace._compat import BaseNotifier
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.arguments import project_id_of, tag_names
from airflow_provider_paperspace.hooks.opening import find_project_id

if TYPE_CHECKING:
    from collections.abc import Generator

    from airflow_provider_paperspace._compat import Context

log = logging.getLogger(__name__)


class ProjectTagNotifier(BaseNotifier):
    """Put tags on a project and take others off, as a callback.

    For ``on_success_callback``, ``on_failure_callback``, ``on_retry_callback`` and the like, of a task or a DAG, and
    for deadlines. It never fails what it reports on: what it could not do is logged, and left.

    :param project_id: the project's id, such as ``prmximcci``. Templated.
    :param project_name: the project's name, exactly, in place of its id. Templated.
    :param add: names of tags that are to be there. Templated.
    :param remove: names of tags that are to be gone. Templated.
    :param paperspace_conn_id: the connection's id. Templated.
    """

    template_fields: Sequence[str] = ("project_id", "project_name", "add", "remove", "paperspace_conn_id")

    def __init__(
        self,
        *,
        project_id: str | None = None,
        project_name: str | None = None,
        add: str | Sequence[str] = (),
        remove: str | Sequence[str] = (),
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (project_id is None) == (project_name is None):
            raise ValueError("ProjectTagNotifier: give exactly one of project_id and project_name.")
        self.project_id = project_id
        self.project_name = project_name
        self.add = add
        self.remove = remove
        self.paperspace_conn_id = paperspace_conn_id

    def __call__(self, *args: Any) -> None:
        """Render and notify, on a copy: one notifier may serve many tasks, and rendering is for good."""
        with self._failing_nothing():
            super(ProjectTagNotifier, copy.copy(self)).__call__(*args)

    def __await__(self) -> Generator[Any, None, None]:
        """Render and notify, where the context was given beforehand: in the triggerer."""
        with self._failing_nothing():
            yield from super(ProjectTagNotifier, copy.copy(self)).__await__()

    def notify(self, context: Context) -> None:
        """Change the tags."""
        from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

        with self._failing_nothing():
            policy = self._policy()
            with PaperspaceHook(self.paperspace_conn_id) as hook:
                project_id = find_project_id(hook, self.project_id, self.project_name)
                hook.converge_project_tags(project_id, policy)

    async def async_notify(self, context: Context) -> None:
        """Change the tags, in an event loop."""
        from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

        with self._failing_nothing():
            policy = self._policy()
            async with await PaperspaceHook(self.paperspace_conn_id).get_async_conn() as client:
                if self.project_name is not None:
                    project_id = await client.resolve_project_id(self.project_name)
                else:
                    project_id = project_id_of(self.project_id)
                await client.converge_project_tags(project_id, policy)

    def _policy(self) -> policies.Policy:
        return policies.changing(add=tag_names(self.add, "add"), remove=tag_names(self.remove, "remove"))

    @contextmanager
    def _failing_nothing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            project = self.project_name or self.project_id
            log.exception("Project %r was not tagged (add %r, remove %r): %s", project, self.add, self.remove, error)
