"""The sensor that waits for a project's tags, with or without holding a worker."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_paperspace._arguments import (
    NOT_SET,
    NotSet,
    Patterns,
    ProjectIds,
    check_not_empty,
    check_one_of,
    check_project,
    find_project,
    is_constant,
    is_set,
    naming_task,
    parse_match_mode,
    parse_patterns,
    parse_project_ids,
    parse_whole_number,
)
from airflow_provider_paperspace._compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow_provider_paperspace._quoting import count_of, in_log_lines, quoted_list
from airflow_provider_paperspace.api.errors import PaperspaceError
from airflow_provider_paperspace.hooks.paperspace import is_permanent, open_hook
from airflow_provider_paperspace.links.paperspace import (
    PaperspaceProjectLink,
    link_of,
    restore_link,
    set_link,
)
from airflow_provider_paperspace.rules.watching import MatchMode, TagCondition
from airflow_provider_paperspace.triggers.project_tags import DEFAULT_MAX_FAILURES, ProjectTagTrigger

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.models import TagJson
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)


class ProjectTagSensor(BaseSensorOperator):
    """Wait until a project has certain tags, or no longer has them; or until this is true of many projects at once.

    Returns the matching tags, as plain JSON with the keys of the API; for many projects, by project id.

    With ``deferrable=True`` it polls once and then leaves the worker; the triggerer keeps polling, and sensors on the
    same project share their polls there. The wait ends ``timeout`` seconds after the task started, even if the
    triggerer is restarted. Up to ``max_failures`` polls in a row may fail with a transient error.

    :param tags: names, or patterns such as ``approved:*``; or tags as another task returned them, which are taken
        literally. Templated.
    :param project_id: the project id, or the project as another task returned it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: a list of project ids, or of projects, instead of one project: all of them must meet the
        condition at the same time. An empty list meets it. Templated.
    :param mode_of_match: ``all``: each of ``tags`` has a match; ``any``: at least one does; ``none``: none does.
    :param deferrable: whether to wait without holding a worker. Default: Airflow's ``[operators] default_deferrable``.
    :param max_failures: when deferred, maximum number of failed polls in a row.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: ``poke_interval``, ``timeout``, ``mode``, ``soft_fail`` and the other arguments of a sensor.
    """

    template_fields: Sequence[str] = ("project_id", "project_name", "project_ids", "tags", "paperspace_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(("project_id", "project_ids", "tags"), "json")
    operator_extra_links = (PaperspaceProjectLink(),)

    def __init__(
        self,
        *,
        tags: Patterns,
        project_id: str | Mapping[str, Any] | NotSet = NOT_SET,
        project_name: str | NotSet = NOT_SET,
        project_ids: ProjectIds | NotSet = NOT_SET,
        mode_of_match: MatchMode = "all",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        max_failures: int = DEFAULT_MAX_FAILURES,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_one_of(
            f"Task {self.task_id!r}", project_id=project_id, project_name=project_name, project_ids=project_ids
        )
        self.tags = tags
        self.project_id = project_id
        self.project_name = project_name
        self.project_ids = project_ids
        self.mode_of_match = mode_of_match
        self.deferrable = deferrable
        self.max_failures = max_failures
        self.paperspace_conn_id = paperspace_conn_id
        self._found_project_id: str | None = None
        self._check_constants()

    def _check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        with naming_task(self.task_id):
            parse_match_mode(self.mode_of_match)
            parse_whole_number(self.max_failures, "max_failures")
            check_project(self.project_id, self.project_name, self.project_ids)
            if is_constant(self.paperspace_conn_id):
                check_not_empty("paperspace_conn_id", self.paperspace_conn_id)
            if is_constant(self.tags):
                parse_patterns(self.tags, "tags")

    def execute(self, context: Context) -> Any:
        """Wait here, or poll once and defer."""
        if not self.deferrable:
            return super().execute(context)
        deadline = datetime.now(UTC) + timedelta(seconds=self.timeout)
        try:
            with open_hook(self.paperspace_conn_id, self.task_id) as hook:
                condition, max_failures = self._condition(), parse_whole_number(self.max_failures, "max_failures")
                ids = self._find_project_ids(hook, context)
                tags = self._first_poll(hook, ids, condition)
        except AirflowFailException as error:
            if self.soft_fail or self.never_fail:
                raise _skip(error) from error
            raise
        except PaperspaceError as error:
            if self.never_fail:
                raise _skip(error) from error
            raise
        if tags is not None:
            return self._returned(tags)
        project = count_of(len(ids), "project") if is_set(self.project_ids) else f"Project {ids[0]!r}"
        until = deadline.strftime("%Y-%m-%d %H:%M UTC")
        message = f"{project}: waiting in the triggerer until {until} for the condition ({condition})"
        log.info("%s", in_log_lines(message))
        self.defer(
            trigger=ProjectTagTrigger(
                project_id=None if is_set(self.project_ids) else ids[0],
                project_ids=ids if is_set(self.project_ids) else None,
                tags=[pattern.as_json() for pattern in condition.patterns],
                mode_of_match=condition.mode,
                paperspace_conn_id=self.paperspace_conn_id,
                poke_interval=float(self.poke_interval),
                exponential_backoff=bool(self.exponential_backoff),
                max_wait=_seconds(self.max_wait) if self.max_wait else None,
                deadline=deadline.isoformat(),
                max_failures=max_failures,
            ),
            method_name="execute_complete",
            kwargs={"console_url": link_of(self)},
            timeout=self.execution_timeout,
        )
        raise AssertionError("defer raises")

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once."""
        with open_hook(self.paperspace_conn_id, self.task_id) as hook:
            condition = self._condition()
            tags = _poll(hook, self._find_project_ids(hook, context), condition)
        return PokeReturnValue(is_done=tags is not None, xcom_value=None if tags is None else self._returned(tags))

    def execute_complete(
        self, context: Context, event: Any = None, console_url: str = ""
    ) -> list[TagJson] | dict[str, list[TagJson]]:
        """Return the matching tags from the trigger's event.

        :param console_url: the address of the task's button, as it was before the deferral.

        :raises AirflowSensorTimeout: the condition was not met in time.
        :raises AirflowFailException: the wait ended for a permanent reason.
        :raises AirflowException: the wait ended for another reason, or the event is malformed.
        """
        restore_link(self, console_url)
        status = event.get("status") if isinstance(event, Mapping) else None
        tags = event.get("tags") if isinstance(event, Mapping) else None
        if status == "met" and isinstance(tags, dict if is_set(self.project_ids) else list):
            return tags
        message = str(event.get("message")) if isinstance(event, Mapping) else ""
        if status == "timeout":
            raise self._skip_or(AirflowSensorTimeout(message))
        if status == "error":
            permanent = event.get("permanent") is True
            raise self._skip_or(AirflowFailException(message) if permanent else AirflowException(message))
        raise AirflowException(f"Task {self.task_id!r}: unexpected event from ProjectTagTrigger: {event!r}")

    def _first_poll(
        self, hook: PaperspaceHook, ids: Sequence[str], condition: TagCondition
    ) -> dict[str, list[TagJson]] | None:
        """Poll once; also return None if that failed with a transient error."""
        try:
            return _poll(hook, ids, condition)
        except PaperspaceError as error:
            if is_permanent(error):
                raise
            log.warning("The first poll failed; the triggerer keeps polling: %s", error)
            return None

    def _find_project_ids(self, hook: PaperspaceHook, context: Context) -> list[str]:
        """Return the project ids; a name is looked up once, or for each poll in ``reschedule`` mode."""
        if is_set(self.project_ids):
            set_link(self, context, hook.settings)
            return parse_project_ids(self.project_ids)
        if self._found_project_id is None:
            self._found_project_id = hook.run(find_project(self.project_id, self.project_name))
            set_link(self, context, hook.settings, self._found_project_id)
        return [self._found_project_id]

    def _returned(self, tags: dict[str, list[TagJson]]) -> list[TagJson] | dict[str, list[TagJson]]:
        return tags if is_set(self.project_ids) else next(iter(tags.values()))

    def _condition(self) -> TagCondition:
        return TagCondition(parse_patterns(self.tags, "tags"), parse_match_mode(self.mode_of_match))

    def _skip_or(self, error: Exception) -> Exception:
        """Return the error, or a skip if the task should be skipped instead of failing."""
        return _skip(error) if self.soft_fail or self.never_fail else error


def _skip(error: Exception) -> AirflowSkipException:
    return AirflowSkipException(f"Skipped instead of failing: {error}")


def _poll(hook: PaperspaceHook, ids: Sequence[str], condition: TagCondition) -> dict[str, list[TagJson]] | None:
    """Poll the projects in turn, up to the first that does not meet the condition.

    :return: the matching tags by project id; None if a project does not meet the condition.
    """
    tags: dict[str, list[TagJson]] = {}
    for project_id in ids:
        match = condition.match(hook.list_project_tags(project_id))
        matching = quoted_list(tag.name for tag in match.tags) or "none"
        log.info("Project %r: condition (%s); matching tags: %s", project_id, condition, matching)
        if not match.is_met:
            return None
        tags[project_id] = [tag.as_json() for tag in match.tags]
    return tags


def _seconds(duration: Any) -> float:
    return float(duration.total_seconds() if isinstance(duration, timedelta) else duration)
