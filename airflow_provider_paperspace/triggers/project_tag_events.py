"""The trigger that starts DAGs when a tag appears or disappears: event-driven scheduling, from Airflow 3.0 on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Hashable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from airflow_provider_paperspace._arguments import parse_patterns, parse_project_id
from airflow_provider_paperspace._compat import AirflowOptionalProviderFeatureException
from airflow_provider_paperspace._compat.triggers import HAS_EVENT_TRIGGERS, BaseEventTrigger, TriggerEvent
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.rules.watching import TagEvent, TagWatch, event_id
from airflow_provider_paperspace.triggers._polling import Reading, polling_hub

log = logging.getLogger(__name__)

if not HAS_EVENT_TRIGGERS:
    raise AirflowOptionalProviderFeatureException(
        "ProjectTagEventTrigger needs Airflow 3.0 or later, which can start DAGs by events. "
        "On Airflow 2, wait with ProjectTagSensor(deferrable=True)."
    )

FireOn = Literal["appearance", "disappearance", "both"]

_STORE_KEY: Final = "paperspace_tags_seen_{}"


class ProjectTagEventTrigger(BaseEventTrigger):
    """Fire once when a matching tag appears on a project, for an ``AssetWatcher``; not again while it stays.

    The event's payload is ``{"project_id", "tag", "event", "event_id", "seen_at"}``: ``event`` is ``appeared`` or
    ``disappeared``, and ``event_id`` is the same wherever and however often the same event is delivered.

    It polls forever. While the project cannot be read it warns once and polls less often, down to an eighth as often.

    From Airflow 3.3 on, what was seen survives a restart of the triggerer: a tag that appeared meanwhile fires. Before
    3.3 the first poll after a restart is a baseline: what appeared or disappeared while no triggerer ran is missed,
    and ``event_id`` differs between two triggerers.

    :param project_id: the project id.
    :param tags: names, or patterns such as ``approved:*``; each matching tag fires on its own.
    :param fire_on: ``appearance``, ``disappearance`` or ``both``.
    :param paperspace_conn_id: the connection id. Nothing else of the connection is stored.
    :param poke_interval: seconds between two polls, plus or minus a tenth. Watchers of one project share their polls.
    :param watch_name: tells this watch from another with the same arguments. Airflow merges equal triggers; two assets
        need one each for what was seen to survive a restart.
    :raises InvalidArgumentError: an argument cannot be used.
    """

    def __init__(
        self,
        *,
        project_id: str,
        tags: str | Sequence[str],
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
        self.tags = sorted(parse_patterns(tags, "tags"))
        if not self.tags:
            raise InvalidArgumentError("tags is empty: there is no tag to watch.")
        self.fire_on = fire_on
        self.paperspace_conn_id = paperspace_conn_id
        self.poke_interval = float(poke_interval)
        self.watch_name = watch_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what it takes to continue elsewhere: ids and numbers, no secret."""
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
        watch, memory = TagWatch(tuple(self.tags)), _Memory(self)
        had_failed = False
        async for reading in shared_stream:
            self._log_start_or_end_of_failures(reading, had_failed=had_failed)
            had_failed = reading.error is not None
            if had_failed or not await memory.restore(watch):
                continue
            for event in watch.observe(reading.tags):
                if self._fires(event):
                    yield TriggerEvent(self._payload_of(event))  # type: ignore[no-untyped-call]
            # After the events: an event that is delivered twice has the same id; a lost one would be lost.
            await memory.save(watch)

    async def _open_stream(self) -> AsyncIterator[Reading]:
        hub = polling_hub()
        async with hub.subscribed(self.paperspace_conn_id, self.project_id, self.poke_interval) as polls:
            while True:
                reading = await polls.next_reading()
                assert reading is not None
                yield reading

    def _fires(self, event: TagEvent) -> bool:
        return self.fire_on == "both" or event.appeared == (self.fire_on == "appearance")

    def _payload_of(self, event: TagEvent) -> dict[str, Any]:
        seen_at = datetime.now(UTC).isoformat(timespec="seconds")
        # Without a store the numbers start anew with each start of the trigger: the instant tells the starts apart.
        started = "" if store_of(self) is not None else seen_at
        kind = "appeared" if event.appeared else "disappeared"
        return {
            "project_id": self.project_id,
            "tag": event.tag.as_json() if event.tag is not None else {"name": event.name},
            "event": kind,
            "event_id": event_id(self.project_id, self.tags, self.watch_name, event.name, kind, event.number, started),
            "seen_at": seen_at,
        }

    def _log_start_or_end_of_failures(self, reading: Reading, *, had_failed: bool) -> None:
        if reading.error is not None and not had_failed:
            log.warning("Project %r cannot be polled; the watch continues: %s", self.project_id, reading.error)
        if reading.error is None and had_failed:
            log.info("Project %r can be polled again", self.project_id)


class _Memory:
    """What survives a restart: Airflow 3.3's store of the watched asset. Before 3.3 there is none.

    An asset may have several watchers, and a watcher may be changed: the key tells whose memory it is.
    """

    def __init__(self, trigger: ProjectTagEventTrigger) -> None:
        _, arguments = trigger.serialize()
        del arguments["poke_interval"]
        self._trigger = trigger
        self._key = _STORE_KEY.format(event_id(*sorted(arguments.items()))[:12])
        self._restored = False
        self._stored: object = None
        self._warned = False

    async def restore(self, watch: TagWatch) -> bool:
        """Continue from what was stored, once; False while the store does not answer, or events would be missed."""
        store = store_of(self._trigger)
        if not self._restored and store is not None:
            try:
                self._stored = await store.aget(self._key)
            except Exception as error:  # noqa: BLE001  # whatever it is, the watch continues
                self._warn(error)
                return store_of(self._trigger) is None
            watch.restore(self._stored)
        self._restored = True
        return True

    async def save(self, watch: TagWatch) -> None:
        """Store what was seen if it changed; a failure is repeated after the next poll."""
        store, seen = store_of(self._trigger), watch.as_json()
        if store is None or seen == self._stored:
            return
        try:
            await store.aset(self._key, seen)
        except Exception as error:  # noqa: BLE001  # whatever it is, the watch continues
            self._warn(error)
        else:
            self._stored, self._warned = seen, False

    def _warn(self, error: Exception) -> None:
        project_id = self._trigger.project_id
        if isinstance(error, ValueError):
            log.warning(
                "Project %r: what was seen will not survive a restart, because one trigger serves several assets. "
                "Set a different watch_name on the trigger of each asset. (%s)",
                project_id,
                error,
            )
            self._trigger.asset_state_store = None
        elif not self._warned:
            log.warning("Project %r: Airflow's asset store does not answer: %s", project_id, error)
            self._warned = True


def store_of(trigger: ProjectTagEventTrigger) -> Any:
    """Return Airflow 3.3's store of a watched asset; None before 3.3, or if the trigger has none."""
    return getattr(trigger, "asset_state_store", None)
