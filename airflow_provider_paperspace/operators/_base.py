"""Base classes of the operators: one with a connection, and one for the tags of one or many projects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

from airflow_provider_paperspace._arguments import (
    NotSet,
    ProjectIds,
    check_not_empty,
    check_one_of,
    check_project,
    find_project,
    is_constant,
    is_set,
    naming_task,
    parse_bool,
    parse_max_concurrency,
    parse_project_ids,
)
from airflow_provider_paperspace._compat import AirflowException, AirflowFailException, BaseOperator
from airflow_provider_paperspace._quoting import count_of
from airflow_provider_paperspace.api.errors import wait_text
from airflow_provider_paperspace.api.models import TagChange
from airflow_provider_paperspace.hooks.paperspace import open_hook
from airflow_provider_paperspace.links.paperspace import PaperspaceProjectLink, set_link
from airflow_provider_paperspace.operators._batch import (
    BatchResult,
    StopSignal,
    failure_table,
    run_batch,
    stopping_this_thread,
)
from airflow_provider_paperspace.operators._records import ChangeLog, push

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import Project, Tag, TagJson
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_MAX_ROWS_IN_ERROR: Final = 20
_SCHEDULED_TYPES: Final = frozenset({"scheduled", "backfill"})


class ProjectsFailedError(AirflowException):
    """Some of a task's projects failed, or were not completed, and a retry may process them.

    :param retry_after_s: the longest wait in seconds that the service asked for, or None.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PaperspaceOperator(BaseOperator):
    """An operator that has a Paperspace connection and a button to the console, and can process many projects.

    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    """

    operator_extra_links = (PaperspaceProjectLink(),)

    def __init__(self, *, max_concurrency: int, paperspace_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_concurrency = max_concurrency
        self.paperspace_conn_id = paperspace_conn_id
        self._stop = StopSignal()

    def prepare_for_execution(self) -> Self:
        """Return the copy that Airflow runs, with its own stop signal; otherwise the copy would share the task's."""
        copied: Self = super().prepare_for_execution()
        copied._stop = StopSignal()
        return copied

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed. Call it last in each constructor.

        :raises TaskArgumentError: an argument cannot be used.
        """
        with naming_task(self.task_id):
            parse_max_concurrency(self.max_concurrency)
            if is_constant(self.paperspace_conn_id):
                check_not_empty("paperspace_conn_id", self.paperspace_conn_id)

    @contextmanager
    def open_hook(self) -> Iterator[PaperspaceHook]:
        """Open the hook for a ``with`` block.

        :raises AirflowFailException: a call in the block failed permanently.
        """
        with open_hook(self.paperspace_conn_id, self.task_id) as hook:
            yield hook

    def list_projects(self, hook: PaperspaceHook) -> list[Project]:
        """Return the team's projects, without deleted ones."""
        with stopping_this_thread(self._stop):
            return [project for project in hook.iter_projects() if project.dt_deleted is None]

    def run_batch(
        self,
        hook: PaperspaceHook,
        project_ids: Iterable[str],
        flow_for: Callable[[str], Flow[T]],
    ) -> BatchResult[T]:
        """Run one flow per project, several at a time, and return the results."""
        concurrency = parse_max_concurrency(self.max_concurrency)
        result = run_batch(hook.settings.client, project_ids, flow_for, max_concurrency=concurrency, stop=self._stop)
        _log_summary(result)
        return result

    def on_kill(self) -> None:
        """Stop the task: start no more projects, and end in-flight requests."""
        log.info("Stopping the task: starting no more projects and ending in-flight requests")
        self._stop.set()


class ProjectTagsOperator(PaperspaceOperator):
    """An operator for the tags of one project, given by id or name, or of many. Set exactly one of the three.

    :param project_id: the project id, or the project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name. Templated.
    :param project_ids: a list of project ids, or of projects as ``ListProjectsOperator`` returns them. Templated.
    """

    template_fields: Sequence[str] = ("project_id", "project_name", "project_ids", "paperspace_conn_id")
    # Covers the fields of all subclasses.
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(("project_id", "project_ids", "tags"), "json")

    def __init__(
        self,
        *,
        project_id: str | Mapping[str, Any] | NotSet,
        project_name: str | NotSet,
        project_ids: ProjectIds | NotSet,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_one_of(
            f"Task {self.task_id!r}", project_id=project_id, project_name=project_name, project_ids=project_ids
        )
        self.project_id = project_id
        self.project_name = project_name
        self.project_ids = project_ids

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        with naming_task(self.task_id):
            check_project(self.project_id, self.project_name, self.project_ids)

    def record_changes(self, context: Context, *, dry_run: bool | str = False) -> ChangeLog:
        """Return the log of this task's changes, for a ``with`` block; its records become XCom ``change``."""
        return ChangeLog(context, single=not is_set(self.project_ids), dry_run=parse_bool(dry_run, "dry_run"))

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
        if not is_set(self.project_ids):
            with stopping_this_thread(self._stop):
                project_id = hook.run(find_project(self.project_id, self.project_name))
                set_link(self, context, hook.settings, project_id)
                return to_json(hook.run(flow_for(project_id)))
        project_ids = parse_project_ids(self.project_ids)
        set_link(self, context, hook.settings)
        result = self.run_batch(hook, project_ids, flow_for)
        returned = {project_id: to_json(value) for project_id, value in result.done.items()}
        if result.failed or result.remaining:
            push(context, "return_value", returned)
            push(context, "failed", {project_id: str(error) for project_id, error in result.failed.items()})
        raise_for_failures(result)
        return returned


def _log_summary(result: BatchResult[Any]) -> None:
    """Log one summary line for a batch of changes; each changed project has already logged its own line."""
    changes = [value for value in result.done.values() if isinstance(value, TagChange)]
    if not changes:
        return
    changed = sum(map(bool, changes))
    remaining = f", {len(result.remaining)} remaining" if result.remaining else ""
    log.info(
        "%s: %d changed, %d unchanged, %d failed%s",
        count_of(result.total, "project"),
        changed,
        len(changes) - changed,
        len(result.failed),
        remaining,
    )


def raise_for_failures(result: BatchResult[Any]) -> None:
    """Fail the task if a batch was not completed, with a table of the failed projects and what to do about them.

    :raises AirflowFailException: a retry would not help.
    :raises ProjectsFailedError: a retry may process the remaining projects.
    :raises AirflowException: the task was stopped. What interrupted it, or a bug, is raised unchanged.
    """
    ended_by = result.interrupted or result.fatal
    if ended_by is not None:
        raise ended_by
    if result.failed:
        failed = f"{len(result.failed)} of {count_of(result.total, 'project')} failed"
        failed += f", {len(result.remaining):,} remaining" if result.remaining else ""
        log.error("%s:\n%s", failed, failure_table(result.failed))
        message = f"{failed}; completed changes are kept.\n"
        message += failure_table(result.failed, max_rows=_MAX_ROWS_IN_ERROR)
        if result.is_permanent:
            raise AirflowFailException(message)
        message += "\nA retry processes the remaining projects."
        if result.retry_after_s is not None:
            message += f" The service asked the client to wait {wait_text(result.retry_after_s)}."
        raise ProjectsFailedError(message, result.retry_after_s)
    if result.remaining:
        message = f"The task was stopped after {len(result.done)} of {count_of(result.total, 'project')}. "
        message += "A retry processes the remaining projects."
        log.error("%s", message)
        raise AirflowException(message)


def run_instant(context: Context) -> datetime:
    """Return the reference time of a run, which stays the same if the run is late or retried.

    For a scheduled or backfill run it is the end of the data interval. For any other run, started by hand or by an
    event, it is ``run_after`` (on Airflow 2, the logical date), because its data interval may be long past.
    Without a run, it is the current time.
    """
    dag_run = context.get("dag_run")
    run_type = str(getattr(dag_run, "run_type", None) or "scheduled")
    interval_end = context.get("data_interval_end")
    own = (getattr(dag_run, "run_after", None), context.get("logical_date"))
    candidates = (interval_end, *own) if run_type in _SCHEDULED_TYPES else (*own, interval_end)
    return next((instant for instant in candidates if instant is not None), None) or utc_now()


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def tags_as_json(tags: Iterable[Tag]) -> list[TagJson]:
    """Return tags as plain JSON, with the keys of the API."""
    return [tag.as_json() for tag in tags]
