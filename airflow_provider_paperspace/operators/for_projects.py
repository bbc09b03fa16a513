"""What the operators share that work on one project, given by id or by name, or on many in one task."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_paperspace._compat import AirflowException, AirflowFailException
from airflow_provider_paperspace.api.errors import PaperspaceError
from airflow_provider_paperspace.api.many import DEFAULT_MAX_CONCURRENCY, GRACE_S, ManyProjects, Outcome
from airflow_provider_paperspace.arguments import project_ids_of, whole_number
from airflow_provider_paperspace.hooks.opening import find_project_id, is_beyond_retry
from airflow_provider_paperspace.links.paperspace import push_link
from airflow_provider_paperspace.operators.base import PaperspaceBaseOperator
from airflow_provider_paperspace.operators.outcomes import has_tries_left, is_lasting, push, will_be_tried_again
from airflow_provider_paperspace.operators.tables import table

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)

T = TypeVar("T")

_ROWS_IN_ERROR: Final = 20


class ManyProjectsOperator(PaperspaceBaseOperator):
    """An operator that can work on many projects at once.

    :param max_concurrency: how many projects are worked on at a time.
    """

    def __init__(self, *, max_concurrency: int = DEFAULT_MAX_CONCURRENCY, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_concurrency = max_concurrency
        self._running: ManyProjects[Any, Any] | None = None
        self._killed = False

    def run_for_projects(
        self,
        hook: PaperspaceHook,
        project_ids: Sequence[str],
        work: Callable[[AsyncPaperspaceClient, str], Awaitable[T]],
        *,
        keep: Callable[[Outcome[T]], None] = lambda outcome: None,
    ) -> Outcome[T]:
        """Do the same work on many projects, over one client, and wait for the end.

        The event loop runs in a thread of its own: Airflow stops a task by an exception in the main thread, which a
        loop there would lose or hand to any one of its tasks.

        :param keep: is given the outcome in any case, before an exception comes out.
        """
        from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient

        settings = hook.settings.client
        running = ManyProjects(work, max_concurrency=whole_number(self.max_concurrency, "max_concurrency"))
        ended: Future[Outcome[T]] = Future()

        async def run() -> Outcome[T]:
            async with AsyncPaperspaceClient(settings) as client:
                return await running.run(client, project_ids)

        def run_and_tell() -> None:
            try:
                ended.set_result(asyncio.run(run()))
            except BaseException as error:  # noqa: BLE001  # comes out in the main thread
                ended.set_exception(error)

        self._running = running
        if self._killed:
            running.stop()
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(run_and_tell,), name="paperspace-projects", daemon=True
        )
        thread.start()
        try:
            wait([ended])
        except BaseException:
            log.info("The task is interrupted: no further project is begun")
            running.stop()
            thread.join(2 * GRACE_S)
            if ended.done() and ended.exception() is None:
                keep(ended.result())
            raise
        finally:
            self._running = None
        outcome = ended.result()
        keep(outcome)
        if outcome.ended_by is not None:
            raise outcome.ended_by
        return outcome

    def raise_for(self, outcome: Outcome[Any]) -> None:
        """Fail the task if a project failed or was left, with a table of what to do about each.

        :raises AirflowFailException: nothing of it can be mended by a retry.
        :raises AirflowException: a retry may do what is left.
        """
        total = len(outcome.done) + len(outcome.failed) + len(outcome.left)
        if outcome.failed:
            header = ("project", "what happened", "what to do")
            rows = [_row(project_id, error) for project_id, error in outcome.failed.items()]
            log.error("%d of %d projects failed:\n%s", len(rows), total, table(header, rows))
            told = f"{len(rows)} of {total} projects failed; what was done stays done.\n"
            told += table(header, rows, at_most=_ROWS_IN_ERROR)
            if is_lasting(outcome):
                raise AirflowFailException(told)
            raise AirflowException(f"{told}\nA retry does what is left.")
        if outcome.left:
            raise AirflowException(
                f"The task was stopped after {len(outcome.done)} of {total} projects. A retry does what is left."
            )

    def on_kill(self) -> None:
        """Stop: begin no further project, and end what is under way."""
        self._killed = True
        if self._running is not None:
            log.info("The task is told to stop: no further project is begun")
            self._running.stop()


class ProjectOperator(ManyProjectsOperator):
    """An operator that works on one project or on many: exactly one of the three is given.

    :param project_id: the project's id, such as ``prmximcci``: the end of its address in the console; or a project
        as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the project's name, exactly, in place of its id. Templated.
    :param project_ids: many projects' ids, or projects, in place of one. Templated.
    """

    template_fields: Sequence[str] = ("project_id", "project_name", "project_ids", "paperspace_conn_id")

    def __init__(
        self,
        *,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        project_ids: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if [project_id is None, project_name is None, project_ids is None].count(False) != 1:
            raise ValueError(f"Task {self.task_id!r}: give exactly one of project_id, project_name and project_ids.")
        self.project_id = project_id
        self.project_name = project_name
        self.project_ids = project_ids

    def execute(self, context: Context) -> Any:
        """Do the work on the project, or on all of them."""
        with self.open_hook() as hook:
            self.check_given()
            self.prepare(context)
            if self.project_ids is None:
                return self._execute_one(hook, context)
            return self._execute_many(hook, context)

    @abstractmethod
    def prepare(self, context: Context) -> None:
        """Check the arguments, before anything is asked of the service."""

    @abstractmethod
    def on_one(self, hook: PaperspaceHook, project_id: str) -> Any:
        """Do the work on the only project."""

    @abstractmethod
    async def on_one_of_many(self, client: AsyncPaperspaceClient, project_id: str) -> Any:
        """Do the work on one of many projects."""

    @abstractmethod
    def result_of(self, project_id: str, value: Any, context: Context) -> Any:
        """Give what the task returns about a project, as plain JSON."""

    def keep(self, values: Mapping[str, Any], context: Context, *, many: bool, tried_again: bool) -> None:
        """Keep what was done on each project.

        :param tried_again: whether the task fails after that, and is then tried again.
        """

    def value_of(self, error: PaperspaceError) -> Any:
        """Give what was done on a project that failed, or None."""
        return None

    def _execute_one(self, hook: PaperspaceHook, context: Context) -> Any:
        project_id = find_project_id(hook, self.project_id, self.project_name)
        push_link(context, hook, project_id)
        try:
            value = self.on_one(hook, project_id)
        except PaperspaceError as error:
            if (done := self.value_of(error)) is not None:
                tried_again = not is_beyond_retry(error) and has_tries_left(context)
                self.keep({project_id: done}, context, many=False, tried_again=tried_again)
            raise
        self.keep({project_id: value}, context, many=False, tried_again=False)
        return self.result_of(project_id, value, context)

    def _execute_many(self, hook: PaperspaceHook, context: Context) -> dict[str, Any]:
        project_ids = project_ids_of(self.project_ids)
        push_link(context, hook)
        outcome = self.run_for_projects(
            hook, project_ids, self.on_one_of_many, keep=lambda outcome: self._keep_many(outcome, context)
        )
        self.raise_for(outcome)
        return self._results_of(outcome, context)

    def _keep_many(self, outcome: Outcome[Any], context: Context) -> None:
        """Keep what was done, of the projects that failed or were cut off as well."""
        values = {project_id: self.value_of(error) for project_id, error in outcome.broken_off.items()}
        partial = {project_id: value for project_id, value in values.items() if value is not None}
        self.keep({**outcome.done, **partial}, context, many=True, tried_again=will_be_tried_again(outcome, context))
        if outcome.failed or outcome.left:
            push(context, "return_value", self._results_of(outcome, context))
            push(context, "failed", {project_id: str(error) for project_id, error in outcome.failed.items()})

    def _results_of(self, outcome: Outcome[Any], context: Context) -> dict[str, Any]:
        return {project_id: self.result_of(project_id, value, context) for project_id, value in outcome.done.items()}


def _row(project_id: str, error: PaperspaceError) -> tuple[str, str, str]:
    action = f"could not {error.action}: " if error.action else ""
    return project_id, " ".join([f"{action}{error.problem}.", *error.notes]), error.advice
