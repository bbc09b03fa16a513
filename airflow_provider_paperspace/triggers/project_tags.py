"""The trigger that waits for tags on behalf of a deferred task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_paperspace._arguments import parse_match_mode, parse_patterns
from airflow_provider_paperspace._compat.triggers import BaseTrigger, TriggerEvent
from airflow_provider_paperspace._quoting import count_of
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.hooks.paperspace import is_permanent
from airflow_provider_paperspace.rules.watching import Match, MatchMode, TagCondition
from airflow_provider_paperspace.triggers._polling import JITTER, MIN_INTERVAL_S, Reading, Subscription, polling_hub

if TYPE_CHECKING:
    from airflow_provider_paperspace.api.models import TagJson

log = logging.getLogger(__name__)

DEFAULT_MAX_FAILURES: Final = 10

MAX_INTERVAL_S: Final = 86_400.0
"""Maximum interval in seconds with exponential backoff, if ``max_wait`` is not set."""

LAST_POLL_TIMEOUT_S: Final = 30.0
"""Maximum seconds for the last poll after the deadline: the service may have asked the client to wait."""


class ProjectTagTrigger(BaseTrigger):
    """Wait until a project has certain tags, or no longer has them; or until this is true of many projects at once.

    It ends with one event of plain JSON: ``status`` is ``met`` (with the matching ``tags``, by project id for many),
    ``timeout``, or ``error`` (with ``message``, and ``permanent`` if a retry would not help).

    Transient errors, such as 429, 5xx or no answer, are tolerated up to a limit, with one warning when they start and
    one line when they end. A permanent error, such as 401, 403 or a deleted project, ends the wait at once.

    :param project_id: the project id.
    :param project_ids: the project ids, instead of one.
    :param tags: patterns such as ``approved:*``, and literal names as ``{"name": ...}``.
    :param mode_of_match: whether ``all``, ``any`` or ``none`` of them must match a tag.
    :param paperspace_conn_id: the connection id. Nothing else of the connection is stored.
    :param poke_interval: seconds between two polls, plus or minus 10%. Waits on the same project through the same
        connection share their polls.
    :param exponential_backoff: whether the interval doubles each time this wait polls.
    :param max_wait: maximum interval in seconds with exponential backoff; None means one day.
    :param deadline: the instant, ISO 8601 with a time zone, at which the wait ends; None for never.
    :param max_failures: maximum number of failed polls in a row; one more ends the wait.
    """

    def __init__(
        self,
        *,
        project_id: str | None = None,
        project_ids: Sequence[str] | None = None,
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
        if (project_id is None) == (project_ids is None):
            raise InvalidArgumentError("ProjectTagTrigger: set exactly one of project_id and project_ids.")
        self.project_id = project_id
        self.project_ids = None if project_ids is None else list(project_ids)
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
                "project_ids": self.project_ids,
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
            ids = [self.project_id] if self.project_id is not None else self.project_ids or []
            wait = _Wait(self, ids, condition, deadline)
            async with AsyncExitStack() as stack:
                payload = await wait.run(
                    {
                        id_: await stack.enter_async_context(
                            polling_hub().subscribed(self.paperspace_conn_id, id_, self.poke_interval)
                        )
                        for id_ in ids
                    }
                )
        except Exception as error:
            log.exception("Project %r: the wait failed", self.project_id or self.project_ids)
            payload = {"status": "error", "message": f"{type(error).__name__}: {error}", "permanent": False}
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]  # Airflow gives it no types


class _Wait:
    """One wait on one project or on many, all of which must meet the condition at the same time."""

    def __init__(
        self, trigger: ProjectTagTrigger, ids: Sequence[str], condition: TagCondition, deadline: datetime | None
    ) -> None:
        self._trigger = trigger
        self._condition = condition
        self._deadline = deadline
        self._matches: dict[str, Match | None] = dict.fromkeys(ids)
        self._last_readings: dict[str, Reading | None] = {}

    async def run(self, polls: dict[str, Subscription]) -> dict[str, Any]:
        """Follow all projects until the wait ends; return the payload of its event."""
        if len(polls) == 1:
            ((project_id, one),) = polls.items()
            return await self._follow(project_id, one) or self._at_the_deadline()
        following = {asyncio.create_task(self._follow(project_id, one)) for project_id, one in polls.items()}
        pending = following
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if payload := task.result():
                        return payload
            return self._at_the_deadline()
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

    async def _follow(self, project_id: str, polls: Subscription) -> dict[str, Any] | None:
        """Follow one project; return how it ends the wait, or None after its last poll at the deadline."""
        trigger = self._trigger
        failures, backoff = _FailureCount(trigger.poke_interval), _Backoff(polls, trigger.max_wait)
        while True:
            left_s = None if self._deadline is None else (self._deadline - datetime.now(UTC)).total_seconds()
            if left_s is not None and left_s <= 0:
                # The tag may have appeared since the last poll, or while nobody was polling.
                reading = await polls.poll_now(LAST_POLL_TIMEOUT_S)
                self._last_readings[project_id] = reading
                return self._payload_of(project_id, reading, failures)
            reading = await polls.next_reading(left_s)
            if reading is not None and trigger.exponential_backoff:
                backoff.back_off()
            if payload := self._payload_of(project_id, reading, failures):
                return payload

    def _payload_of(self, project_id: str, reading: Reading | None, failures: _FailureCount) -> dict[str, Any] | None:
        """Return how the wait ends with this reading; None if it continues."""
        if reading is None:
            return None
        self._log_start_or_end_of_failures(project_id, reading, had_failed=failures.number > 0)
        failures.count(reading)
        if reading.error is None:
            self._matches[project_id] = self._condition.match(reading.tags)
            return self._met()
        if is_permanent(reading.error):
            return {"status": "error", "message": str(reading.error), "permanent": True}
        if failures.number > self._trigger.max_failures:
            message = f"{failures.number} polls in a row failed. The last error: {reading.error}"
            return {"status": "error", "message": message, "permanent": False}
        return None

    def _met(self) -> dict[str, Any] | None:
        """Return the payload if every project, as last read, meets the condition; otherwise None."""
        tags: dict[str, list[TagJson]] = {}
        for project_id, match in self._matches.items():
            if match is None or not match.is_met:
                return None
            tags[project_id] = [tag.as_json() for tag in match.tags]
        if self._trigger.project_id is not None:
            return {"status": "met", "project_id": self._trigger.project_id, "tags": tags[self._trigger.project_id]}
        return {"status": "met", "tags": tags}

    def _at_the_deadline(self) -> dict[str, Any]:
        """Return the payload for a wait that has timed out, after the last poll of each project."""
        unmet = [id_ for id_, match in self._matches.items() if match is None or not match.is_met]
        project_id = next((id_ for id_ in unmet), next(iter(self._matches)))
        others = f", nor did those of {count_of(len(unmet) - 1, 'other project')}" if len(unmet) > 1 else ""
        message = f"Project {project_id!r}: its tags did not meet the condition ({self._condition})"
        message += f" by {self._trigger.deadline}{others}."
        reading = self._last_readings[project_id]
        if reading is None:
            message += f" The last poll got no answer within {LAST_POLL_TIMEOUT_S:.0f} s."
        elif reading.error is not None:
            message += f" The last poll failed: {reading.error}"
        return {"status": "timeout", "message": message}

    def _log_start_or_end_of_failures(self, project_id: str, reading: Reading, *, had_failed: bool) -> None:
        if reading.error is not None and not had_failed and not is_permanent(reading.error):
            log.warning(
                "Project %r cannot be polled; up to %d failed polls in a row are tolerated: %s",
                project_id,
                self._trigger.max_failures,
                reading.error,
            )
        if reading.error is None and had_failed:
            log.info("Project %r can be polled again", project_id)


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
    """Doubles the interval of a wait each time it elapses. Other waits may cause more frequent polls."""

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
