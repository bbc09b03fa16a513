"""The trigger that waits for a tag, for a task that is deferred meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from airflow_provider_paperspace._compat.triggers import BaseTrigger, TriggerEvent
from airflow_provider_paperspace.api.conditions import MatchMode, TagCondition, tag_condition
from airflow_provider_paperspace.hooks.opening import is_beyond_retry
from airflow_provider_paperspace.triggers.watch import JITTER, Reading, Watch, hub

log = logging.getLogger(__name__)

DEFAULT_MAX_FAILURES: Final = 10

LAST_LOOK_S: Final = 30.0
"""So long a wait whose time is up waits for its last look: the service may have asked all of us to pause."""


class ProjectTagTrigger(BaseTrigger):
    """Wait until a project has, or no longer has, certain tags.

    It ends with one event of plain JSON: ``status`` is ``met`` (with the matching ``tags``), ``timeout``, or ``error``
    (with ``message``, and ``lasting`` where a retry would not help).

    Passing faults, such as 429, 5xx or no answer, are survived up to a limit, with one warning when they begin and one
    line when they end. What will not pass, such as 401, 403 or a project that is gone, ends the wait at once.

    :param project_id: the project's id.
    :param tags: names, or patterns such as ``approved:*``.
    :param mode_of_match: ``all``, ``any`` or ``none`` of them must have a tag.
    :param paperspace_conn_id: the connection's id. Nothing else of the connection is kept.
    :param poke_interval: seconds between two polls, give or take a tenth. Waits on the same project through the same
        connection share their polls.
    :param deadline: the instant, ISO 8601 with a time zone, at which the wait ends; None for never.
    :param max_failures: how many polls in a row may fail; one more ends the wait.
    """

    def __init__(
        self,
        *,
        project_id: str,
        tags: Sequence[str],
        mode_of_match: MatchMode = "all",
        paperspace_conn_id: str = "paperspace_default",
        poke_interval: float = 60.0,
        deadline: str | None = None,
        max_failures: int = DEFAULT_MAX_FAILURES,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow gives it no types
        self.project_id = project_id
        self.tags = list(tags)
        self.mode_of_match = mode_of_match
        self.paperspace_conn_id = paperspace_conn_id
        self.poke_interval = poke_interval
        self.deadline = deadline
        self.max_failures = max_failures

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give what it takes to go on elsewhere: ids and numbers, no secret."""
        return (
            "airflow_provider_paperspace.triggers.project_tags.ProjectTagTrigger",
            {
                "project_id": self.project_id,
                "tags": self.tags,
                "mode_of_match": self.mode_of_match,
                "paperspace_conn_id": self.paperspace_conn_id,
                "poke_interval": self.poke_interval,
                "deadline": self.deadline,
                "max_failures": self.max_failures,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until there is something to tell."""
        try:
            condition = tag_condition(self.tags, self.mode_of_match)
            deadline = None if self.deadline is None else _instant(self.deadline)
            async with hub().watching(self.paperspace_conn_id, self.project_id, self.poke_interval) as watch:
                payload = await self._wait(watch, condition, deadline)
        except Exception as error:
            log.exception("Project %r: the wait broke off", self.project_id)
            payload = {"status": "error", "message": f"{type(error).__name__}: {error}", "lasting": False}
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]  # Airflow gives it no types

    async def _wait(self, watch: Watch, condition: TagCondition, deadline: datetime | None) -> dict[str, Any]:
        failures = _Failures(self.poke_interval)
        while True:
            left_s = None if deadline is None else (deadline - datetime.now(UTC)).total_seconds()
            if left_s is not None and left_s <= 0:
                # One more look at the end: the tag may have come since the last poll, or while nobody polled.
                reading = await watch.now(LAST_LOOK_S)
                return self._payload_of(reading, condition, failures) or self._timeout(reading, condition)
            reading = await watch.next(left_s)
            if payload := self._payload_of(reading, condition, failures):
                return payload

    def _payload_of(
        self, reading: Reading | None, condition: TagCondition, failures: _Failures
    ) -> dict[str, Any] | None:
        """Say how the wait ends with this reading; None when it goes on."""
        if reading is None:
            return None
        self._tell_change_of_state(reading, troubled=failures.number > 0)
        failures.count(reading)
        if reading.error is None:
            look = condition.look(reading.tags)
            if not look.is_met:
                return None
            return {"status": "met", "project_id": self.project_id, "tags": [tag.as_json() for tag in look.matching]}
        if is_beyond_retry(reading.error):
            return {"status": "error", "message": str(reading.error), "lasting": True}
        if failures.number > self.max_failures:
            message = f"{failures.number} polls in a row failed, the last one so: {reading.error}"
            return {"status": "error", "message": message, "lasting": False}
        return None

    def _timeout(self, reading: Reading | None, condition: TagCondition) -> dict[str, Any]:
        message = f"Project {self.project_id!r} did not have {condition} by {self.deadline}."
        if reading is None:
            message += f" The last look got no answer within {LAST_LOOK_S:.0f} s."
        elif reading.error is not None:
            message += f" The last look failed: {reading.error}"
        return {"status": "timeout", "message": message}

    def _tell_change_of_state(self, reading: Reading, *, troubled: bool) -> None:
        if reading.error is not None and not troubled and not is_beyond_retry(reading.error):
            log.warning(
                "Project %r cannot be polled; the wait goes on for up to %d polls in a row: %s",
                *(self.project_id, self.max_failures, reading.error),
            )
        if reading.error is None and troubled:
            log.info("Project %r can be polled again", self.project_id)


class _Failures:
    """Counts the failed polls of one wait: those that it saw itself, and at its own interval.

    A poll is shared with others, who may have begun earlier and may be more eager.
    """

    def __init__(self, interval_s: float) -> None:
        self.number = 0
        self._interval_s = interval_s * (1 - 2 * JITTER)
        self._counted_at_s = 0.0

    def count(self, reading: Reading) -> None:
        now_s = asyncio.get_running_loop().time()
        if reading.error is None:
            self.number = 0
        elif not self.number or now_s - self._counted_at_s >= self._interval_s:
            self.number += 1
            self._counted_at_s = now_s


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"The deadline {text!r} has no time zone.")
    return instant
