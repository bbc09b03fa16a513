"""The notifier that tags a project when a task or a DAG run succeeds or fails."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_paperspace._arguments import (
    NOT_SET,
    NotSet,
    ProjectIds,
    Tags,
    check_one_of,
    find_project,
    is_set,
    parse_project_ids,
    parse_tag_names,
)
from airflow_provider_paperspace._compat import BaseNotifier
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import PaperspaceError, StoppedError
from airflow_provider_paperspace.api.project_tags import converge_project_tags
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

if TYPE_CHECKING:
    from collections.abc import Generator

    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow

log = logging.getLogger(__name__)

BUDGET_S: Final = 20.0
"""Maximum seconds for all requests together. Airflow's DAG processor ends a callback after 50 s."""

MAX_ATTEMPTS: Final = 2

_FAILED: Final = "Project %r: could not make all tag changes (add %r, remove %r): %s"

ATTEMPT_TIMEOUT_S: Final = 9.0
"""Maximum seconds for one attempt, so that a request to a silent service can be sent a second time."""


class ProjectTagNotifier(BaseNotifier):
    """Add tags to a project, or to many, and remove others, as a callback.

    Use it for ``on_success_callback``, ``on_failure_callback``, ``on_retry_callback`` and similar arguments of a task
    or a DAG, and for deadlines. It never raises; errors are logged, and an error on one project does not stop the
    others. It takes at most 20 seconds and sends each request at most twice, because Airflow's DAG processor stops slow
    callbacks.

    :param project_id: the project id, such as ``prmximcci``, or the project as ``ListProjectsOperator`` returns it.
        Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: a list of project ids, or of projects, instead of one project. They are changed one after the
        other, all within the 20 seconds, so keep the list short. Templated.
    :param add: names of tags to add. Templated.
    :param remove: names of tags to remove. Templated.
    :param paperspace_conn_id: the connection id. Templated.
    """

    template_fields: Sequence[str] = (
        "project_id",
        "project_name",
        "project_ids",
        "add",
        "remove",
        "paperspace_conn_id",
    )

    def __init__(
        self,
        *,
        project_id: str | Mapping[str, Any] | NotSet = NOT_SET,
        project_name: str | NotSet = NOT_SET,
        project_ids: ProjectIds | NotSet = NOT_SET,
        add: Tags = (),
        remove: Tags = (),
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_one_of("ProjectTagNotifier", project_id=project_id, project_name=project_name, project_ids=project_ids)
        self.project_id = project_id
        self.project_name = project_name
        self.project_ids = project_ids
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
        from airflow_provider_paperspace.api.client import PaperspaceClient

        with self._logging_errors():
            settings = PaperspaceHook(self.paperspace_conn_id).settings.client
            hasty = replace(
                settings,
                max_attempts=min(settings.max_attempts, MAX_ATTEMPTS),
                timeout_s=min(settings.timeout_s, ATTEMPT_TIMEOUT_S),
            )
            with PaperspaceClient(hasty, budget_s=BUDGET_S) as client:
                client.run(self._change())

    async def async_notify(self, context: Context) -> None:
        """Change the tags, in an event loop."""
        with self._logging_errors():
            try:
                async with asyncio.timeout(BUDGET_S):
                    hook = PaperspaceHook(self.paperspace_conn_id)
                    opening = hook.get_async_conn(max_attempts=MAX_ATTEMPTS, timeout_s=ATTEMPT_TIMEOUT_S)
                    async with await opening as client:
                        await client.run(self._change())
            except TimeoutError:
                raise TimeoutError(f"the time limit of {BUDGET_S:g} s for all requests was exceeded") from None

    def _change(self) -> Flow[None]:
        policy = policies.changing(add=parse_tag_names(self.add, "add"), remove=parse_tag_names(self.remove, "remove"))
        if not is_set(self.project_ids):
            project_id = yield from find_project(self.project_id, self.project_name)
            yield from converge_project_tags(project_id, policy)
            return
        for project_id in parse_project_ids(self.project_ids):
            try:
                yield from converge_project_tags(project_id, policy)
            except StoppedError:
                raise
            except PaperspaceError as error:
                log.exception(_FAILED, project_id, self.add, self.remove, error)  # as in _logging_errors

    @contextmanager
    def _logging_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            given = (self.project_id, self.project_name, self.project_ids)
            log.exception(_FAILED, next(filter(is_set, given)), self.add, self.remove, error)
