"""The trigger that waits for tags on behalf of a deferred task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from airflow_provider_paperspace._arguments import parse_match_mode, parse_patterns
from airflow_provider_paperspace._compat.triggers import BaseTrigger, TriggerEvent
from airflow_provider_paperspace.hooks.paperspace import is_permanent
from airflow_provider_paperspace.rules.watching import MatchMode, TagCondition
from airflow_provider_paperspace.triggers._polling import JITTER, MIN_INTERVAL_S, Reading, Subscription, polling_hub

log = logging.getLogger(__name__)

DEFAULT_MAX_FAILURES: Final = 10

MAX_INTERVAL_S: Final = 86_400.0
"""Maximum interval of a wait whose interval grows without a maximum of its own."""

LAST_POLL_TIMEOUT_S: Final = 30.0
"""Maximum seconds for the last poll after the deadline: the service may have asked all requests to pause."""


class ProjectTagTrigger(BaseTrigger):
    """Wait until a project has, or no longer has, certain tags.

    It ends with one event of plain JSON: ``status`` is ``met`` (with the matching ``tags``), ``timeout``, or ``error``
    (with ``message``, and ``permanent`` if a retry would not help).

    Transient errors, such as 429, 5xx or no answer, are tolerated up to a limit, with one warning when they start and
    one line when they end. A permanent error, such as 401, 403 or a deleted project, ends the wait at once.

    :param project_id: the project id.
    :param tags: patterns such as ``approved:*``, and literal names as ``{"name": ...}``.
    :param mode_of_match: ``all``, ``any`` or ``none`` of them must have a tag.
    :param paperspace_conn_id: the connection id. Nothing else of the connection is stored.
    :param poke_interval: seconds between two polls, plus or minus a tenth. Waits on the same project through the same
        connection share their polls.
    :param exponential_backoff: whether the interval doubles each time this wait has polled.
    :param max_wait: maximum seconds to which it grows; None for a day.
    :param deadline: the instant, ISO 8601 with a time zone, at which the wait ends; None for never.
    :param max_failures: maximum number of failed polls in a row; one more ends the wait.
    """

    def __init__(
        self,
        *,
        project_id: str,
        tags: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
        mode_of_match: MatchMode = "all",
        paperspace_conn_id: str = "paperspace_default",
        poke_interval: float = 60.0,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        deadline: str | None = None,
        max_failures: int = DEFAULT_MAX_FAILURES,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow gives it no types
        self.project_id = project_id
        self.tags = [tags] if isinstance(tags, (str, Mapping)) else list(tags)
        self.mode_of_match = mode_of_match
        self.paperspace_conn_id = paperspace_conn_id
        self.poke_interval = poke_interval
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.deadline = deadline
        self.max_failures = max_failures

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what it takes to continue elsewhere: ids and numbers, no secret."""
        return (
            "airflow_provider_paperspace.triggers.project_tags.ProjectTagTrigger",
            {
                "project_id": self.project_id,
                "tags": self.tags,
                "mode_of_match": self.mode_of_match,
                "paperspace_conn_id": self.paperspace_conn_id,
                "poke_interval": self.poke_interval,
                "exponential_backoff": self.exponential_backoff,
                "max_wait": self.max_wait,
                "deadline": self.deadline,
                "max_failures": self.max_failures,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the wait ends, and yield its one event."""
        try:
            condition = TagCondition(parse_patterns(self.tags, "tags"), parse_match_mode(self.mode_of_match))
            deadline = None if self.deadline is None else _parse_instant(self.deadline)
            hub = polling_hub()
            async with hub.subscribed(self.paperspace_conn_id, self.project_id, self.poke_interval) as polls:
                payload = await self._wait(polls, condition, deadline)
        except Exception as error:
            log.exception("Project %r: the wait failed", self.project_id)
            payload = {"status": "error", "message": f"{type(error).__name__}: {error}", "permanent": False}
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]  # Airflow gives it no types

    async def _wait(self, polls: Subscription, condition: TagCondition, deadline: datetime | None) -> dict[str, Any]:
        failures, backoff = _FailureCount(self.poke_interval), _Backoff(polls, self.max_wait)
        while True:
            left_s = None if deadline is None else (deadline - datetime.now(UTC)).total_seconds()
            if left_s is not None and left_s <= 0:
                # The tag may have come since the last poll, or while nobody polled.
                reading = await polls.poll_now(LAST_POLL_TIMEOUT_S)
                return self._payload_of(reading, condition, failures) or self._timeout(reading, condition)
            reading = await polls.next_reading(left_s)
            if reading is not None and self.exponential_backoff:
                backoff.back_off()
            if payload := self._payload_of(reading, condition, failures):
                return payload

    def _payload_of(
        self, reading: Reading | None, condition: TagCondition, failures: _FailureCount
    ) -> dict[str, Any] | None:
        """Return how the wait ends with this reading; None if it continues."""
        if reading is None:
            return None
        self._log_start_or_end_of_failures(reading, had_failed=failures.number > 0)
        failures.count(reading)
        if reading.error is None:
            match = condition.match(reading.tags)
            if not match.is_met:
                return None
            return {"status": "met", "project_id": self.project_id, "tags": [tag.as_json() for tag in match.tags]}
        if is_permanent(reading.error):
            return {"status": "error", "message": str(reading.error), "permanent": True}
        if failures.number > self.max_failures:
            message = f"{failures.number} polls in a row failed. The last error: {reading.error}"
            return {"status": "error", "message": message, "permanent": False}
        return None

    def _timeout(self, reading: Reading | None, condition: TagCondition) -> dict[str, Any]:
        message = f"Project {self.project_id!r}: its tags did not meet the condition ({condition}) by {self.deadline}."
        if reading is None:
            message += f" The last poll got no answer within {LAST_POLL_TIMEOUT_S:.0f} s."
        elif reading.error is not None:
            message += f" The last poll failed: {reading.error}"
        return {"status": "timeout", "message": message}

    def _log_start_or_end_of_failures(self, reading: Reading, *, had_failed: bool) -> None:
        if reading.error is not None and not had_failed and not is_permanent(reading.error):
            log.warning(
                "Project %r cannot be polled; up to %d failed polls in a row are tolerated: %s",
                self.project_id,
                self.max_failures,
                reading.error,
            )
        if reading.error is None and had_failed:
            log.info("Project %r can be polled again", self.project_id)


class _FailureCount:
    """Counts the failed polls of one wait: those it saw itself, at its own interval.

    A poll is shared with other waits, which may have started earlier and may have a shorter interval.
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


class _Backoff:
    """Doubles the interval of a wait each time that it has passed. Other waits may make polls come more often."""

    def __init__(self, polls: Subscription, max_interval_s: float | None) -> None:
        self._polls = polls
        self._max_interval_s = max_interval_s or MAX_INTERVAL_S
        self._passed_at_s = 0.0

    def back_off(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._passed_at_s:
            self._polls.interval_s = max(MIN_INTERVAL_S, min(2 * self._polls.interval_s, self._max_interval_s))
            self._passed_at_s = now_s + self._polls.interval_s * (1 - 2 * JITTER)


def _parse_instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"The deadline {text!r} has no time zone.")
    return instant
