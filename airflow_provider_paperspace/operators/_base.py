"""The two bases of the operators: one with a connection, and one for the tags of one project or of many."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_paperspace._arguments import find_project, parse_project_ids, parse_whole_number
from airflow_provider_paperspace._compat import AirflowException, AirflowFailException, BaseOperator
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.hooks.paperspace import open_hook
from airflow_provider_paperspace.links.paperspace import PaperspaceProjectLink, push_link
from airflow_provider_paperspace.operators._batch import BatchResult, StopSignal, failure_table, run_batch
from airflow_provider_paperspace.operators._records import ChangeLog, push

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import Tag, TagJson
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_MAX_ROWS_IN_ERROR: Final = 20


class PaperspaceOperator(BaseOperator):
    """An operator with a Paperspace connection, a button to the console, and batches over many projects.

    :param paperspace_conn_id: the connection id. Templated.
    """

    operator_extra_links = (PaperspaceProjectLink(),)

    def __init__(self, *, paperspace_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paperspace_conn_id = paperspace_conn_id
        self._stop = StopSignal()

    def open_hook(self) -> AbstractContextManager[PaperspaceHook]:
        """Open the hook for a ``with`` block.

        :raises AirflowFailException: in the block, something failed permanently.
        """
        return open_hook(self.paperspace_conn_id, self.task_id)

    def run_batch(
        self,
        hook: PaperspaceHook,
        project_ids: Iterable[str],
        flow_for: Callable[[str], Flow[T]],
        *,
        max_concurrency: object,
    ) -> BatchResult[T]:
        """Run one flow per project, several at a time, and return what became of each."""
        concurrency = parse_whole_number(max_concurrency, "max_concurrency")
        if concurrency < 1:
            raise InvalidArgumentError(f"max_concurrency is {concurrency}; it must be at least 1.")
        return run_batch(hook.settings.client, project_ids, flow_for, max_concurrency=concurrency, stop=self._stop)

    def on_kill(self) -> None:
        """Stop: start no further project, and end the requests that are in flight."""
        log.info("The task is stopped: no further project is started")
        self._stop.set()


class ProjectTagsOperator(PaperspaceOperator):
    """An operator for the tags of one project, given by id or by name, or of many. Exactly one of the three is set.

    :param project_id: the project id, or the project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name. Templated.
    :param project_ids: the ids of many projects, or the projects. Templated.
    :param max_concurrency: maximum number of projects at a time.
    """

    template_fields: Sequence[str] = ("project_id", "project_name", "project_ids", "paperspace_conn_id")

    def __init__(
        self,
        *,
        project_id: str | Mapping[str, Any] | None,
        project_name: str | None,
        project_ids: Sequence[Any] | Mapping[str, Any] | None,
        max_concurrency: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if [project_id is None, project_name is None, project_ids is None].count(False) != 1:
            raise InvalidArgumentError(
                f"Task {self.task_id!r}: set exactly one of project_id, project_name and project_ids."
            )
        self.project_id = project_id
        self.project_name = project_name
        self.project_ids = project_ids
        self.max_concurrency = max_concurrency

    def record_changes(self, context: Context) -> ChangeLog:
        """Return the log of this task's changes, for a ``with`` block; its records become XCom ``change``."""
        return ChangeLog(context, single=self.project_ids is None)

    def run_for_projects(
        self,
        hook: PaperspaceHook,
        context: Context,
        flow_for: Callable[[str], Flow[T]],
        to_json: Callable[[T], R],
    ) -> R | dict[str, R]:
        """Run one flow for the project, or one for each of many.

        :param flow_for: returns the flow for a project id.
        :param to_json: turns a flow's result into what the task returns.
        :return: the JSON for the one project, or JSON by project id.
        """
        if self.project_ids is None:
            project_id = hook.run(find_project(self.project_id, self.project_name))
            push_link(context, hook, project_id)
            return to_json(hook.run(flow_for(project_id)))
        project_ids = parse_project_ids(self.project_ids)
        push_link(context, hook)
        result = self.run_batch(hook, project_ids, flow_for, max_concurrency=self.max_concurrency)
        returned = {project_id: to_json(value) for project_id, value in result.done.items()}
        if result.failed or result.remaining:
            push(context, "return_value", returned)
            push(context, "failed", {project_id: str(error) for project_id, error in result.failed.items()})
        raise_for_failures(result)
        return returned


def raise_for_failures(result: BatchResult[Any]) -> None:
    """Fail the task if a batch was not completed, with a table of what to do about each failed project.

    :raises AirflowFailException: a retry could fix nothing.
    :raises AirflowException: a retry may process the remaining projects.
    """
    ended_by = result.interrupted or result.fatal
    if ended_by is not None:
        raise ended_by
    if result.failed:
        log.error("%d of %d projects failed:\n%s", len(result.failed), result.total, failure_table(result.failed))
        message = f"{len(result.failed)} of {result.total} projects failed; completed changes are kept.\n"
        message += failure_table(result.failed, max_rows=_MAX_ROWS_IN_ERROR)
        if result.is_permanent:
            raise AirflowFailException(message)
        raise AirflowException(f"{message}\nA retry processes the remaining projects.")
    if result.remaining:
        raise AirflowException(
            f"The task was stopped after {len(result.done)} of {result.total} projects. "
            "A retry processes the remaining projects."
        )


def run_instant(context: Context) -> datetime:
    """Return the instant that a run stands for, the same however late it runs and however often it is retried.

    It is the end of the data interval, or else the logical date, or when the run was due, or now.
    """
    candidates = (
        context.get("data_interval_end"),
        context.get("logical_date"),
        getattr(context.get("dag_run"), "run_after", None),
        datetime.now(UTC),
    )
    return next(instant for instant in candidates if instant is not None)


def tags_as_json(tags: Iterable[Tag]) -> list[TagJson]:
    """Return tags as plain JSON, under the API's own keys."""
    return [tag.as_json() for tag in tags]
