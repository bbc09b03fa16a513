"""The trigger that starts DAGs when a tag appears or disappears: event-driven scheduling, Airflow 3.0 or later."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Hashable
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from airflow_provider_paperspace._arguments import Patterns, parse_patterns, parse_project_id
from airflow_provider_paperspace._compat import AirflowOptionalProviderFeatureException
from airflow_provider_paperspace._compat.triggers import HAS_EVENT_TRIGGERS, BaseEventTrigger, TriggerEvent
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.rules.watching import TagEvent, TagWatch, event_id
from airflow_provider_paperspace.triggers._polling import Reading, polling_hub

log = logging.getLogger(__name__)

if not HAS_EVENT_TRIGGERS:
    raise AirflowOptionalProviderFeatureException(
        "ProjectTagEventTrigger needs the event-driven scheduling of Airflow 3.0 and later. "
        "On Airflow 2, use ProjectTagSensor(deferrable=True)."
    )

FireOn = Literal["appearance", "disappearance", "both"]

HANDOVER_S: Final = 5.0
"""How long the triggerer may take to save an event: it collects them about once a second."""

_STORE_KEY: Final = "paperspace_tags_seen_{}"


class ProjectTagEventTrigger(BaseEventTrigger):
    """Fire once when a matching tag appears on a project, for an ``AssetWatcher``; not again while it stays.

    The event's payload is ``{"project_id", "tag", "event", "event_id", "seen_at"}``: ``event`` is ``appeared`` or
    ``disappeared``, and ``event_id`` is the same however often the same event is delivered. Airflow stores it in the
    asset event as ``extra["payload"]``, alongside ``extra["from_trigger"]``. An asset event from a task has neither.

    It polls forever. While the project cannot be read it warns once and polls less often, down to an eighth as often.

    From Airflow 3.3 on, the trigger remembers across a restart which tags it has seen, and fires for a tag that
    appeared during the restart. No event is lost, but one may be delivered twice, with the same ``event_id``. Before
    3.3, the first poll after a restart is a new baseline, and changes before it are missed.

    :param project_id: the project id.
    :param tags: names, or patterns such as ``approved:*``; each matching tag fires on its own.
    :param fire_on: ``appearance``, ``disappearance`` or ``both``.
    :param paperspace_conn_id: the connection id. Nothing else of the connection is stored.
    :param poke_interval: seconds between two polls, plus or minus 10%. Watchers of one project through one
        connection share their polls, at the shortest of their intervals.
    :param watch_name: distinguishes this watch from another one with the same arguments, because Airflow merges equal
        triggers. Set it if two assets watch the same tags; otherwise neither remembers them across a restart.
    :raises InvalidArgumentError: an argument cannot be used.
    """

    def __init__(
        self,
        *,
        project_id: str,
        tags: Patterns,
        fire_on: FireOn = "appearance",
        paperspace_conn_id: str = "paperspace_default",
        poke_interval: float = 60.0,
        watch_name: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow gives it no types
        if fire_on not in get_args(FireOn):
            raise InvalidArgumentError(
                f"fire_on is {fire_on!r}; it must be one of {', '.join(map(repr, get_args(FireOn)))}."
            )
        self.project_id = parse_project_id(project_id)
        # Sorted: Airflow tells watchers apart by their arguments, and the order of names makes no difference.
        self.tags = sorted((pattern.as_json() for pattern in parse_patterns(tags, "tags")), key=repr)
        self.fire_on = fire_on
        self.paperspace_conn_id = paperspace_conn_id
        self.poke_interval = float(poke_interval)
        self.watch_name = watch_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what it takes to continue elsewhere: the arguments, none of them secret."""
        return (
            "airflow_provider_paperspace.triggers.project_tag_events.ProjectTagEventTrigger",
            {
                "project_id": self.project_id,
                "tags": self.tags,
                "fire_on": self.fire_on,
                "paperspace_conn_id": self.paperspace_conn_id,
                "poke_interval": self.poke_interval,
                "watch_name": self.watch_name,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll, and yield an event for each tag that appeared or disappeared."""
        async for event in self.filter_shared_stream(self._open_stream()):
            yield event

    def shared_stream_key(self) -> Hashable:
        """Return what watchers must have in common to share a stream: project, interval and connection."""
        return ("paperspace", self.paperspace_conn_id, self.project_id, self.poke_interval)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Reading]:
        """Poll for all watchers of the stream."""
        trigger = cls(**kwargs)
        async for reading in trigger._open_stream():
            yield reading

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Turn the readings into this watcher's events."""
        # A new watch is a new epoch: its events must not have the ids of an earlier one.
        watch, memory = TagWatch(parse_patterns(self.tags, "tags"), secrets.token_hex(8)), _Memory(self)
        had_failed = False
        async for reading in shared_stream:
            self._log_start_or_end_of_failures(reading, had_failed=had_failed)
            had_failed = reading.error is not None
            if had_failed or not await memory.restore(watch):
                continue
            events = [
                self._payload_of(event, watch.epoch) for event in watch.observe(reading.tags) if self._fires(event)
            ]
            # Stored before they are handed over: whatever happens then, they keep their ids.
            for payload in await memory.save(watch, events):
                yield TriggerEvent(payload)  # type: ignore[no-untyped-call]

    async def _open_stream(self) -> AsyncIterator[Reading]:
        hub = polling_hub()
        async with hub.subscribed(self.paperspace_conn_id, self.project_id, self.poke_interval) as polls:
            while True:
                reading = await polls.next_reading()
                assert reading is not None
                yield reading

    def _fires(self, event: TagEvent) -> bool:
        return self.fire_on == "both" or event.appeared == (self.fire_on == "appearance")

    def _payload_of(self, event: TagEvent, epoch: str) -> dict[str, Any]:
        kind = "appeared" if event.appeared else "disappeared"
        return {
            "project_id": self.project_id,
            "tag": event.tag.as_json() if event.tag is not None else {"name": event.name},
            "event": kind,
            "event_id": event_id(self.project_id, self.watch_name, epoch, event.name, kind, event.number),
            "seen_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _log_start_or_end_of_failures(self, reading: Reading, *, had_failed: bool) -> None:
        if reading.error is not None and not had_failed:
            log.warning("Project %r cannot be polled; the watch continues: %s", self.project_id, reading.error)
        if reading.error is None and had_failed:
            log.info("Project %r can be polled again", self.project_id)


class _Memory:
    """What survives a restart, in Airflow 3.3's store of the watched asset. Before 3.3 there is none.

    That is the tags seen, and the events that the triggerer may not have saved yet: those handed over at the last save,
    or less than ``HANDOVER_S`` before it. If the triggerer dies, they are delivered again, with the same ids, rather
    than lost.

    An asset may have several watchers, and a watcher may be changed, so each watcher has its own key.
    """

    def __init__(self, trigger: ProjectTagEventTrigger) -> None:
        _, arguments = trigger.serialize()
        del arguments["poke_interval"]
        self._trigger = trigger
        self._key = _STORE_KEY.format(event_id(*sorted(arguments.items()))[:12])
        self._restored = False
        self._stored: object = None
        self._again: list[dict[str, Any]] = []
        self._handed_over: deque[tuple[float, dict[str, Any]]] = deque()
        self._warned = False

    async def restore(self, watch: TagWatch) -> bool:
        """Continue from what was stored, once.

        Return False while the store does not answer, so that no event is missed.
        """
        store = store_of(self._trigger)
        if not self._restored and store is not None:
            try:
                self._stored = await store.aget(self._key)
            except Exception as error:  # noqa: BLE001  # whatever it is, the watch continues
                self._warn(error)
                return store_of(self._trigger) is None
            watch.restore(self._stored)
            self._again = [] if watch.seen is None else _unsaved_events(self._stored)
        self._restored = True
        return True

    async def save(self, watch: TagWatch, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Store what was seen, if it changed, and return the events to hand over now.

        :param events: payloads of new events. After a restart, those that may not have been saved come before them.
        """
        store, now_s = store_of(self._trigger), asyncio.get_running_loop().time()
        while self._handed_over and self._handed_over[0][0] <= now_s:
            self._handed_over.popleft()
        due, self._again = [*self._again, *events], []
        self._handed_over.extend((now_s + HANDOVER_S, payload) for payload in due)
        state = {**watch.as_json(), "unsaved": [payload for _, payload in self._handed_over]}
        if store is None or state == self._stored:
            return due
        try:
            await store.aset(self._key, state)
        except Exception as error:  # noqa: BLE001  # whatever it is, the watch continues; a later poll stores the state
            self._warn(error)
        else:
            self._stored, self._warned = state, False
        return due

    def _warn(self, error: Exception) -> None:
        project_id = self._trigger.project_id
        if isinstance(error, ValueError):
            log.warning(
                "Project %r: the tags seen so far are forgotten at a restart, because one trigger serves several "
                "assets. Set a different watch_name on the trigger of each asset. (%s)",
                project_id,
                error,
            )
            self._trigger.asset_state_store = None
        elif not self._warned:
            log.warning(
                "Project %r: Airflow's asset state store failed; trying again after a later poll: %s", project_id, error
            )
            self._warned = True


def _unsaved_events(stored: Any) -> list[dict[str, Any]]:
    events = stored.get("unsaved")
    return [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []


def store_of(trigger: ProjectTagEventTrigger) -> Any:
    """Return Airflow 3.3's store of a watched asset; None before 3.3, or if the trigger has none."""
    return getattr(trigger, "asset_state_store", None)
