"""The trigger that starts DAGs when a tag appears or goes: event-driven scheduling, from Airflow 3.0 on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Hashable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from airflow_provider_paperspace._compat import AirflowOptionalProviderFeatureException
from airflow_provider_paperspace._compat.triggers import HAS_EVENT_TRIGGERS, BaseEventTrigger, TriggerEvent
from airflow_provider_paperspace.api.messages import check_project_id, check_tag_names
from airflow_provider_paperspace.api.sightings import Sighting, Sightings, event_id
from airflow_provider_paperspace.triggers.watch import Reading, hub

log = logging.getLogger(__name__)

if not HAS_EVENT_TRIGGERS:
    raise AirflowOptionalProviderFeatureException(
        "ProjectTagEventTrigger starts DAGs by events, which needs Airflow 3.0 or later. "
        "On Airflow 2, wait with ProjectTagSensor(deferrable=True)."
    )

FireOn = Literal["appearance", "disappearance", "both"]

_STORE_KEY: Final = "paperspace_tags_seen_{}"


class ProjectTagEventTrigger(BaseEventTrigger):
    """Fire once when a matching tag appears on a project, for an ``AssetWatcher``; not again while it stays.

    The event's payload is ``{"project_id", "tag", "event", "event_id", "seen_at"}``: ``event`` is ``appeared`` or
    ``disappeared``, and ``event_id`` is the same wherever and however often the same event is told.

    It polls for ever. While the project cannot be read it warns once and polls less often, up to an eighth as often.

    From Airflow 3.3 on, what was seen survives a restart of the triggerer: a tag that came meanwhile fires. Before 3.3
    the first poll after a restart is a baseline: what came or went while no triggerer ran is missed, and ``event_id``
    is no longer the same on two triggerers.

    :param project_id: the project's id.
    :param tags: names, or patterns such as ``approved:*``; each tag that matches fires by itself.
    :param fire_on: ``appearance``, ``disappearance`` or ``both``.
    :param paperspace_conn_id: the connection's id. Nothing else of the connection is kept.
    :param poke_interval: seconds between two polls, give or take a tenth. Watchers of one project share their polls.
    :param watch_name: tells this watch from another with the same arguments. Airflow joins equal triggers into one; two
        assets need one each for what was seen to survive a restart.
    :raises ValueError: an argument makes no sense. :raises TypeError: it is of the wrong type.
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
            raise ValueError(f"fire_on is {fire_on!r}, and must be one of {', '.join(map(repr, get_args(FireOn)))}.")
        self.project_id = check_project_id(project_id)
        # Sorted: Airflow tells watchers apart by their arguments, and the order of names makes no difference.
        self.tags = sorted(check_tag_names(tags))
        if not self.tags:
            raise ValueError("There is no tag to watch: the list is empty.")
        self.fire_on = fire_on
        self.paperspace_conn_id = paperspace_conn_id
        self.poke_interval = float(poke_interval)
        self.watch_name = watch_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give what it takes to go on elsewhere: ids and numbers, no secret."""
        return (
            "airflow_provider_paperspace.triggers.project_tags.ProjectTagEventTrigger",
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
        """Poll, and give an event for each tag that came or went."""
        async for event in self.filter_shared_stream(self._open_stream()):
            yield event

    def shared_stream_key(self) -> Hashable:
        """Say which watchers share a stream of polls: those of one project and interval, through one connection."""
        return ("paperspace", self.paperspace_conn_id, self.project_id, self.poke_interval)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Reading]:
        """Poll for all watchers of the stream."""
        trigger = cls(**kwargs)
        async for reading in trigger._open_stream():
            yield reading

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Turn the polls into this watcher's events."""
        sightings, memory = Sightings(tuple(self.tags)), _Memory(self)
        troubled = False
        async for reading in shared_stream:
            troubled = self._tell_change_of_state(reading, troubled=troubled)
            if reading.error is not None or not await memory.recall(sightings):
                continue
            for sighting in sightings.look(reading.tags):
                if self._fires(sighting):
                    yield TriggerEvent(self._payload_of(sighting))  # type: ignore[no-untyped-call]
            # After the event: what is told twice has the same id, and what is lost is lost.
            await memory.keep(sightings)

    async def _open_stream(self) -> AsyncIterator[Reading]:
        async with hub().watching(self.paperspace_conn_id, self.project_id, self.poke_interval) as watch:
            while True:
                reading = await watch.next()
                assert reading is not None
                yield reading

    def _fires(self, sighting: Sighting) -> bool:
        return self.fire_on == "both" or sighting.appeared == (self.fire_on == "appearance")

    def _payload_of(self, sighting: Sighting) -> dict[str, Any]:
        seen_at = datetime.now(UTC).isoformat(timespec="seconds")
        # Without a store the numbers begin anew with each start: the instant tells the starts apart.
        of_this_start = "" if store_of(self) is not None else seen_at
        event = "appeared" if sighting.appeared else "disappeared"
        return {
            "project_id": self.project_id,
            "tag": sighting.tag.as_json() if sighting.tag is not None else {"name": sighting.name},
            "event": event,
            "event_id": event_id(
                *(self.project_id, self.tags, self.watch_name, sighting.name, event, sighting.number, of_this_start)
            ),
            "seen_at": seen_at,
        }

    def _tell_change_of_state(self, reading: Reading, *, troubled: bool) -> bool:
        if reading.error is not None and not troubled:
            log.warning("Project %r cannot be polled; the watch goes on: %s", self.project_id, reading.error)
        if reading.error is None and troubled:
            log.info("Project %r can be polled again", self.project_id)
        return reading.error is not None


class _Memory:
    """What survives a restart: Airflow 3.3's store of the watched asset. Before 3.3 there is none.

    An asset may have several watchers, and a watcher may be changed: the key tells whose memory it is.
    """

    def __init__(self, trigger: ProjectTagEventTrigger) -> None:
        _, arguments = trigger.serialize()
        del arguments["poke_interval"]
        self._trigger = trigger
        self._key = _STORE_KEY.format(event_id(*sorted(arguments.items()))[:12])
        self._recalled = False
        self._kept: object = None
        self._warned = False

    async def recall(self, sightings: Sightings) -> bool:
        """Take up what was kept, once; False while the store cannot be asked, for else what came would be missed."""
        store = store_of(self._trigger)
        if not self._recalled and store is not None:
            try:
                self._kept = await store.aget(self._key)
            except Exception as error:  # noqa: BLE001  # whatever it is, the watch goes on
                self._tell(error)
                return store_of(self._trigger) is None
            sightings.recall(self._kept)
        self._recalled = True
        return True

    async def keep(self, sightings: Sightings) -> None:
        """Keep what was seen, if it is news; what could not be kept is tried again after the next poll."""
        store, seen = store_of(self._trigger), sightings.as_json()
        if store is None or seen == self._kept:
            return
        try:
            await store.aset(self._key, seen)
        except Exception as error:  # noqa: BLE001  # whatever it is, the watch goes on
            self._tell(error)
        else:
            self._kept, self._warned = seen, False

    def _tell(self, error: Exception) -> None:
        project_id = self._trigger.project_id
        if isinstance(error, ValueError):
            log.warning(
                "Project %r: what the watch has seen will not survive a restart: one trigger serves several assets. "
                "Give the trigger of each its own watch_name. (%s)",
                *(project_id, error),
            )
            self._trigger.asset_state_store = None
        elif not self._warned:
            log.warning("Project %r: Airflow's store of what was seen does not answer yet: %s", project_id, error)
            self._warned = True


def store_of(trigger: ProjectTagEventTrigger) -> Any:
    """Give Airflow 3.3's store for a watched asset; None before, and where none was given."""
    return getattr(trigger, "asset_state_store", None)
