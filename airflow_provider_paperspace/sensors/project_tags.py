"""The sensor that waits for a project's tags, with or without a worker."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace._compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow_provider_paperspace.api.conditions import Look, MatchMode, TagCondition, tag_condition
from airflow_provider_paperspace.api.errors import PaperspaceError
from airflow_provider_paperspace.arguments import tag_names, whole_number
from airflow_provider_paperspace.hooks.opening import find_project_id, is_beyond_retry, open_hook
from airflow_provider_paperspace.links.paperspace import PaperspaceProjectLink, push_link
from airflow_provider_paperspace.triggers.project_tag_wait import DEFAULT_MAX_FAILURES, ProjectTagTrigger

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.models import TagJson
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)


class ProjectTagSensor(BaseSensorOperator):
    """Wait until a project has, or no longer has, certain tags.

    Returns the tags that match, as plain JSON under the API's own keys.

    Deferred (``deferrable=True``) it looks once and then leaves the worker; the triggerer polls. The wait ends at an
    instant, ``timeout`` after the task began, which a restart of the triggerer neither moves nor forgets. Many sensors
    on one project share their polls there. Polls that fail and may pass are survived, up to ``max_failures`` in a row.

    :param tags: names, or patterns such as ``approved:*``; or tags as another task returned them. Templated.
    :param project_id: the project's id, or the project as another task returned it. Templated.
    :param project_name: the project's name, exactly, in place of its id. Templated.
    :param mode_of_match: ``all``: each of ``tags`` has a match; ``any``: at least one has; ``none``: none has.
    :param deferrable: whether to wait without a worker. Default: Airflow's ``[operators] default_deferrable``.
    :param max_failures: deferred, how many polls in a row may fail.
    :param paperspace_conn_id: the connection's id. Templated.
    :param kwargs: ``poke_interval``, ``timeout``, ``mode``, ``soft_fail`` and all else that a sensor takes.
    """

    template_fields: Sequence[str] = ("project_id", "project_name", "tags", "paperspace_conn_id")
    operator_extra_links = (PaperspaceProjectLink(),)

    def __init__(
        self,
        *,
        tags: str | Sequence[Any],
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
            raise ValueError(f"Task {self.task_id!r}: give exactly one of project_id and project_name.")
        self.tags = tags
        self.project_id = project_id
        self.project_name = project_name
        self.mode_of_match = mode_of_match
        self.deferrable = deferrable
        self.max_failures = max_failures
        self.paperspace_conn_id = paperspace_conn_id
        self._resolved_id: str | None = None

    def execute(self, context: Context) -> Any:
        """Wait here, or look once and defer."""
        if not self.deferrable:
            return super().execute(context)
        began = datetime.now(UTC)
        try:
            look = self._first_look(context)
        except AirflowFailException as error:
            raise self._skip_or(error) from error
        except PaperspaceError as error:
            if self.never_fail:
                raise self._skip_or(error) from error
            raise
        if look is not None and look.is_met:
            return _as_json(look)
        deadline = began + timedelta(seconds=self.timeout)
        log.info("Project %r has not %s yet: the wait goes on in the triggerer", self._resolved_id, self._condition())
        self.defer(
            trigger=ProjectTagTrigger(
                project_id=self._resolved_id or "",
                tags=self._condition().patterns,
                mode_of_match=self.mode_of_match,
                paperspace_conn_id=self.paperspace_conn_id,
                poke_interval=float(self.poke_interval),
                deadline=deadline.isoformat(),
                max_failures=whole_number(self.max_failures, "max_failures"),
            ),
            method_name="execute_complete",
            timeout=self.execution_timeout,
        )
        raise AssertionError("defer raises")

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        with open_hook(self.paperspace_conn_id, self.task_id) as hook:
            look = self._look(hook, context)
        return PokeReturnValue(is_done=look.is_met, xcom_value=_as_json(look) if look.is_met else None)

    def execute_complete(self, context: Context, event: Any = None) -> list[TagJson]:
        """Take up what the trigger came to.

        :raises AirflowSensorTimeout: the tags did not come in time.
        :raises AirflowFailException: the wait ended for a reason that a retry cannot mend.
        :raises AirflowException: it ended otherwise, or the event is none that the trigger gives.
        """
        status = event.get("status") if isinstance(event, Mapping) else None
        tags = event.get("tags") if isinstance(event, Mapping) else None
        if status == "met" and isinstance(tags, list):
            return tags
        message = str(event.get("message")) if isinstance(event, Mapping) else ""
        if status == "timeout":
            raise self._skip_or(AirflowSensorTimeout(message))
        if status == "error":
            lasting = event.get("lasting") is True
            raise self._skip_or(AirflowFailException(message) if lasting else AirflowException(message))
        raise AirflowException(f"Task {self.task_id!r}: the trigger gave {event!r}, which is no event of a tag's wait.")

    def _first_look(self, context: Context) -> Look | None:
        """Look once; None when the look failed and the failure may pass."""
        with open_hook(self.paperspace_conn_id, self.task_id) as hook:
            try:
                return self._look(hook, context)
            except PaperspaceError as error:
                if self._resolved_id is None or is_beyond_retry(error):
                    raise
                log.warning("The first look failed, the wait goes on: %s", error)
                return None

    def _look(self, hook: PaperspaceHook, context: Context) -> Look:
        condition = self._condition()
        if self._resolved_id is None:
            self._resolved_id = find_project_id(hook, self.project_id, self.project_name)
            push_link(context, hook, self._resolved_id)
        look = condition.look(hook.list_project_tags(self._resolved_id))
        found = ", ".join(repr(tag.name) for tag in look.matching) or "none"
        log.info("Project %r, waiting for %s: found %s", self._resolved_id, condition, found)
        return look

    def _condition(self) -> TagCondition:
        return tag_condition(tag_names(self.tags), self.mode_of_match)

    def _skip_or(self, error: Exception) -> Exception:
        """Give a skip in the error's place, if the task is to be skipped where it would fail."""
        if self.soft_fail or self.never_fail:
            return AirflowSkipException(f"Skipped in place of failing: {error}")
        return error


def _as_json(look: Look) -> list[TagJson]:
    return [tag.as_json() for tag in look.matching]
