"""The sensor that waits for a project's tags, with or without a worker."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace._arguments import (
    Tags,
    find_project,
    parse_match_mode,
    parse_patterns,
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
from airflow_provider_paperspace.api.errors import InvalidArgumentError, PaperspaceError
from airflow_provider_paperspace.hooks.paperspace import is_permanent, open_hook
from airflow_provider_paperspace.links.paperspace import PaperspaceProjectLink, push_link
from airflow_provider_paperspace.rules.watching import Match, MatchMode, TagCondition
from airflow_provider_paperspace.triggers.project_tags import DEFAULT_MAX_FAILURES, ProjectTagTrigger

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.models import TagJson
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)


class ProjectTagSensor(BaseSensorOperator):
    """Wait until a project has, or no longer has, certain tags.

    Returns the matching tags, as plain JSON under the API's own keys.

    With ``deferrable=True`` it polls once and then leaves the worker; the triggerer keeps polling. The wait ends
    ``timeout`` seconds after the task started, whatever restarts there are. Sensors on one project share their polls
    there. Up to ``max_failures`` polls in a row may fail with an error that may pass.

    :param tags: names, or patterns such as ``approved:*``; or tags as another task returned them. Templated.
    :param project_id: the project id, or the project as another task returned it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param mode_of_match: ``all``: each of ``tags`` has a match; ``any``: at least one has; ``none``: none has.
    :param deferrable: whether to wait without a worker. Default: Airflow's ``[operators] default_deferrable``.
    :param max_failures: when deferred, maximum number of failed polls in a row.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: ``poke_interval``, ``timeout``, ``mode``, ``soft_fail`` and the other arguments of a sensor.
    """

    template_fields: Sequence[str] = ("project_id", "project_name", "tags", "paperspace_conn_id")
    operator_extra_links = (PaperspaceProjectLink(),)

    def __init__(
        self,
        *,
        tags: Tags,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        mode_of_match: MatchMode = "all",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        max_failures: int = DEFAULT_MAX_FAILURES,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (project_id is None) == (project_name is None):
            raise InvalidArgumentError(f"Task {self.task_id!r}: set exactly one of project_id and project_name.")
        self.tags = tags
        self.project_id = project_id
        self.project_name = project_name
        self.mode_of_match = mode_of_match
        self.deferrable = deferrable
        self.max_failures = max_failures
        self.paperspace_conn_id = paperspace_conn_id
        self._found_project_id: str | None = None

    def execute(self, context: Context) -> Any:
        """Wait here, or poll once and defer."""
        if not self.deferrable:
            return super().execute(context)
        deadline = datetime.now(UTC) + timedelta(seconds=self.timeout)
        try:
            with open_hook(self.paperspace_conn_id, self.task_id) as hook:
                condition, max_failures = self._condition(), parse_whole_number(self.max_failures, "max_failures")
                project_id = self._find_project_id(hook, context)
                match = self._first_poll(hook, project_id, condition)
        except AirflowFailException as error:
            if self.soft_fail or self.never_fail:
                raise _skip(error) from error
            raise
        except PaperspaceError as error:
            if self.never_fail:
                raise _skip(error) from error
            raise
        if match is not None and match.is_met:
            return _as_json(match)
        log.info(
            "Project %r: %s not met yet; waiting in the triggerer until %s",
            project_id,
            condition,
            deadline.strftime("%Y-%m-%d %H:%M UTC"),
        )
        self.defer(
            trigger=ProjectTagTrigger(
                project_id=project_id,
                tags=condition.patterns,
                mode_of_match=condition.mode,
                paperspace_conn_id=self.paperspace_conn_id,
                poke_interval=float(self.poke_interval),
                deadline=deadline.isoformat(),
                max_failures=max_failures,
            ),
            method_name="execute_complete",
            timeout=self.execution_timeout,
        )
        raise AssertionError("defer raises")

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once."""
        with open_hook(self.paperspace_conn_id, self.task_id) as hook:
            condition = self._condition()
            match = _poll(hook, self._find_project_id(hook, context), condition)
        return PokeReturnValue(is_done=match.is_met, xcom_value=_as_json(match) if match.is_met else None)

    def execute_complete(self, context: Context, event: Any = None) -> list[TagJson]:
        """Return the matching tags from the trigger's event.

        :raises AirflowSensorTimeout: the condition was not met in time.
        :raises AirflowFailException: the wait ended for a permanent reason.
        :raises AirflowException: it ended for another reason, or the event is not one of the trigger's.
        """
        status = event.get("status") if isinstance(event, Mapping) else None
        tags = event.get("tags") if isinstance(event, Mapping) else None
        if status == "met" and isinstance(tags, list):
            return tags
        message = str(event.get("message")) if isinstance(event, Mapping) else ""
        if status == "timeout":
            raise self._skip_or(AirflowSensorTimeout(message))
        if status == "error":
            permanent = event.get("permanent") is True
            raise self._skip_or(AirflowFailException(message) if permanent else AirflowException(message))
        raise AirflowException(f"Task {self.task_id!r}: unexpected event from ProjectTagTrigger: {event!r}")

    def _first_poll(self, hook: PaperspaceHook, project_id: str, condition: TagCondition) -> Match | None:
        """Poll once; return None if that failed with an error that may pass."""
        try:
            return _poll(hook, project_id, condition)
        except PaperspaceError as error:
            if is_permanent(error):
                raise
            log.warning("The first poll failed; the triggerer keeps polling: %s", error)
            return None

    def _find_project_id(self, hook: PaperspaceHook, context: Context) -> str:
        """Return the project id, looked up on the first poll only."""
        if self._found_project_id is None:
            self._found_project_id = hook.run(find_project(self.project_id, self.project_name))
            push_link(context, hook, self._found_project_id)
        return self._found_project_id

    def _condition(self) -> TagCondition:
        patterns = parse_patterns(self.tags, "tags")
        if not patterns:
            raise InvalidArgumentError("tags is empty: there is no tag to wait for.")
        return TagCondition(patterns, parse_match_mode(self.mode_of_match))

    def _skip_or(self, error: Exception) -> Exception:
        """Return the error, or a skip if the task is to be skipped rather than fail."""
        return _skip(error) if self.soft_fail or self.never_fail else error


def _skip(error: Exception) -> AirflowSkipException:
    return AirflowSkipException(f"Skipped instead of failing: {error}")


def _poll(hook: PaperspaceHook, project_id: str, condition: TagCondition) -> Match:
    match = condition.match(hook.list_project_tags(project_id))
    matching = ", ".join(repr(tag.name) for tag in match.tags) or "none"
    log.info("Project %r: waiting for %s; matching tags: %s", project_id, condition, matching)
    return match


def _as_json(match: Match) -> list[TagJson]:
    return [tag.as_json() for tag in match.tags]
