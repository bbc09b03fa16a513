"""Events for asset-driven DAGs: one per appearance, whatever fails or restarts, and none for a tag that stays."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

import airflow
import pytest

from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.triggers import project_tags
from tests.triggers.polls import after_polls, events_of, poll_count

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")
NEEDS_3 = pytest.mark.skipif(ON_AIRFLOW_2, reason="event-driven scheduling begins with Airflow 3")

pytestmark = pytest.mark.usefixtures("connection", "polls_at_once", "retries_at_once")


@pytest.mark.skipif(not ON_AIRFLOW_2, reason="Airflow 3 has event-driven scheduling")
def test_airflow_2_lacks_event_triggers_and_nothing_else() -> None:
    from airflow.exceptions import AirflowOptionalProviderFeatureException

    with pytest.raises(AirflowOptionalProviderFeatureException, match="Airflow 3.0 and later.*ProjectTagSensor"):
        from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger  # noqa: F401
    with pytest.raises(AirflowOptionalProviderFeatureException, match="Airflow 3.0 and later"):
        importlib.import_module("airflow_provider_paperspace.triggers.project_tag_events")
    assert project_tags.ProjectTagTrigger


def trigger(**arguments: Any) -> Any:
    from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger

    return ProjectTagEventTrigger(**{"project_id": "p1", "tags": ["approved*"], "poke_interval": 0, **arguments})


class Store:
    """The store of a watched asset, which Airflow 3.3 sets on each trigger."""

    def __init__(self, kept: dict[str, str], error: Exception | None = None) -> None:
        self._kept, self._error = kept, error

    async def aget(self, key: str) -> Any:
        if self._error is not None:
            raise self._error
        return json.loads(self._kept[key]) if key in self._kept else None

    async def aset(self, key: str, value: Any) -> None:
        if self._error is not None:
            raise self._error
        self._kept[key] = json.dumps(value)


def storing(watch: Any, kept: dict[str, str], error: Exception | None = None) -> Any:
    watch.asset_state_store = Store(kept, error)
    return watch


def change(server: LocalPaperspaceServer, *names: str) -> None:
    """Make these the project's only tags besides its first one."""
    state = server.paperspace
    for name in set(state.tag_names("p1")) - {"gpu", *names}:
        state.remove_tag("p1", {"name": name})
    for name in set(names) - set(state.tag_names("p1")):
        state.add_tag("p1", {"name": name})


def events(watch: Any, number: int = 1) -> list[Any]:
    return asyncio.run(events_of(watch.run(), number), debug=True)


@NEEDS_3
def test_a_trigger_fires_once_for_each_tag_that_appears(server: LocalPaperspaceServer) -> None:
    change(server, "approved:old")
    after_polls(server, 2, lambda: change(server, "approved:old", "approved:new"))
    after_polls(server, 5, lambda: change(server, "approved:old", "approved:new", "approved:newer"))
    first, second = events(trigger(), 2)
    assert [event["tag"]["name"] for event in (first, second)] == ["approved:new", "approved:newer"]
    assert (first["project_id"], first["event"]) == ("p1", "appeared")
    assert json.loads(json.dumps(first)) == first
    assert first["event_id"] != second["event_id"]


@NEEDS_3
@pytest.mark.parametrize(
    ("fire_on", "kinds"),
    [
        ("appearance", ["appeared"] * 2),
        ("disappearance", ["disappeared"] * 2),
        ("both", ["appeared", "disappeared"]),
    ],
)
def test_fire_on_selects_the_events(server: LocalPaperspaceServer, fire_on: str, kinds: list[str]) -> None:
    for poll in range(2, 12, 2):
        after_polls(server, poll, lambda poll=poll: change(server, *(["approved"] if poll % 4 == 2 else [])))  # type: ignore[misc]
    fired = events(trigger(fire_on=fire_on), 2)
    assert [event["event"] for event in fired] == kinds
    assert {event["tag"]["name"] for event in fired} == {"approved"}
    assert len({event["event_id"] for event in fired}) == 2


@NEEDS_3
def test_a_hundred_appearances_amid_faults_fire_as_often(server: LocalPaperspaceServer) -> None:
    kept: dict[str, str] = {}
    appearances, event_ids = 0, []

    async def play() -> None:
        """Add or remove the tag as soon as the last change has been polled; faults hit every third request."""
        nonlocal appearances
        for at in range(3, 3_000, 3):
            server.fault(("500", "reset", "502", "truncated", "lost-answer", "wrong-types")[at // 3 % 6], at=at)
        server.fault("429", at=100, retry_after="0")
        watch = storing(trigger(), kept)
        original = watch.filter_shared_stream

        async def change_after_each_good_reading(stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
            nonlocal appearances
            async for reading in stream:
                yield reading
                if reading.error is None:
                    is_there = "approved" in server.paperspace.tag_names("p1")
                    appearances += not is_there
                    change(server, *([] if is_there else ["approved"]))

        stream = original(change_after_each_good_reading(watch._open_stream()))
        async for event in stream:
            event_ids.append(event.payload["event_id"])
            if len(event_ids) == 100:
                break
        await stream.aclose()

    asyncio.run(play())
    assert (appearances, len(set(event_ids))) == (100, 100)


async def first_stored_event(watch: Any) -> Any:
    """Run a watch until it has fired and then stored what it saw."""
    payloads: list[Any] = []
    stored = asyncio.Event()
    store = watch.asset_state_store.aset

    async def store_and_tell(key: str, value: Any) -> None:
        await store(key, value)
        if payloads:
            stored.set()

    async def listen() -> None:
        async for event in watch.run():
            payloads.append(event.payload)  # noqa: PERF401  # one by one, as they come

    watch.asset_state_store.aset = store_and_tell
    listening = asyncio.create_task(listen())
    await stored.wait()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    return payloads[0]


@NEEDS_3
def test_a_watch_with_a_store_survives_a_restart(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.triggers.project_tag_events.HANDOVER_S", 0.0)
    kept: dict[str, str] = {}
    change(server, "approved:1")
    after_polls(server, 2, lambda: change(server, "approved:1", "approved:2"))
    first = asyncio.run(first_stored_event(storing(trigger(), kept)))
    change(server, "approved:1", "approved:2", "approved:3")  # while no triggerer runs
    second = asyncio.run(first_stored_event(storing(trigger(), kept)))
    assert (first["tag"]["name"], second["tag"]["name"]) == ("approved:2", "approved:3")


@NEEDS_3
def test_an_event_delivered_twice_has_the_same_id(server: LocalPaperspaceServer) -> None:
    """Two triggerers may watch at once, when one of them is taken for dead."""
    kept: dict[str, str] = {}
    change(server)
    after_polls(server, 2, lambda: change(server, "approved"))
    (first,) = events(storing(trigger(), kept))
    seen_before = {**kept}
    change(server, "approved", "approve-first-by-name", "approved:0")
    again = events(storing(trigger(), seen_before), 2)
    assert first["event_id"] in [event["event_id"] for event in again]
    assert [event["tag"]["name"] for event in again] == ["approved", "approved:0"]


@NEEDS_3
def test_without_a_store_the_first_poll_is_a_baseline(server: LocalPaperspaceServer) -> None:
    after_polls(server, 2, lambda: change(server, "approved:1"))
    (first,) = events(trigger())
    change(server, "approved:1", "approved:2")  # while no triggerer runs: missed, as the docs say
    after_polls(server, 3, lambda: change(server, "approved:1", "approved:2", "approved:3"))
    (second,) = events(trigger())
    assert (first["tag"]["name"], second["tag"]["name"]) == ("approved:1", "approved:3")


@NEEDS_3
def test_a_trigger_of_several_assets_warns_and_watches_on(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    after_polls(server, 2, lambda: change(server, "approved"))
    (event,) = events(storing(trigger(), {}, ValueError("Task has 2 concrete inlets")))
    assert event["tag"]["name"] == "approved"
    (warning,) = [record.getMessage() for record in caplog.records if "forgotten at a restart" in record.getMessage()]
    assert "Set a different watch_name on the trigger of each asset" in warning


@NEEDS_3
def test_a_store_outage_neither_loses_nor_repeats_events(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    kept: dict[str, str] = {}
    watch = storing(trigger(), kept, OSError("503"))

    def answer_again() -> None:
        watch.asset_state_store._error = None

    after_polls(server, 3, answer_again)
    after_polls(server, 5, lambda: change(server, "approved:1"))
    after_polls(server, 6, lambda: setattr(watch.asset_state_store, "_error", OSError("503")))
    after_polls(server, 9, answer_again)
    after_polls(server, 11, lambda: change(server, "approved:1", "approved:2"))
    fired = [event["tag"]["name"] for event in events(watch, 2)]
    assert fired == ["approved:1", "approved:2"]
    assert len([r for r in caplog.records if "asset state store failed" in r.getMessage()]) == 2
    (state,) = kept.values()
    assert json.loads(state)["seen"] == ["approved:1", "approved:2"], "stored once the store answered again"


@NEEDS_3
def test_each_watch_of_an_asset_has_its_own_memory(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.triggers.project_tag_events.HANDOVER_S", 0.0)
    kept: dict[str, str] = {}
    change(server, "approved:1")
    after_polls(server, 2, lambda: change(server, "approved:1", "approved:2"))
    asyncio.run(first_stored_event(storing(trigger(), kept)))
    after_polls(server, 3, lambda: change(server, "approved:3", "approved:2"))
    for other in (trigger(tags="*"), trigger(tags="approved*", watch_name="b"), trigger(fire_on="both")):
        fired = asyncio.run(first_stored_event(storing(other, kept)))
        assert fired["tag"]["name"].startswith("approved:"), "a tag of the baseline does not fire"
        change(server, "approved:1", "approved:2")
        after_polls(server, 3, lambda: change(server, "approved:1", "approved:2", "approved:4"))
    assert len(kept) == 4


@NEEDS_3
@pytest.mark.parametrize("kind", ["401", "500", "403"])
def test_a_watch_outlasts_errors_with_one_warning(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    server.fault(kind, at=2, times=4)
    after_polls(server, 2, lambda: change(server, "approved"))
    with caplog.at_level(logging.INFO):
        assert len(events(trigger())) == 1
    ours = [record for record in caplog.records if record.name.endswith("project_tag_events")]
    assert [record.levelname for record in ours] == ["WARNING", "INFO"]
    assert "cannot be polled; the watch continues" in ours[0].getMessage()


@NEEDS_3
def test_watches_of_one_project_share_a_stream(server: LocalPaperspaceServer) -> None:
    first, second = trigger(), trigger(tags="gpu", watch_name="other")
    assert first.shared_stream_key() == second.shared_stream_key()
    assert first.shared_stream_key() != trigger(project_id="p2").shared_stream_key()
    after_polls(server, 2, lambda: change(server, "approved"))

    async def share() -> list[Any]:
        _, arguments = first.serialize()
        stream = type(first).open_shared_stream(arguments)
        payloads = await events_of(first.filter_shared_stream(stream))
        await stream.aclose()  # type: ignore[attr-defined]
        return payloads

    assert [payload["tag"]["name"] for payload in asyncio.run(share())] == ["approved"]
    assert poll_count(server) == 3


@NEEDS_3
def test_the_order_of_tags_makes_no_other_trigger() -> None:
    from airflow.triggers.base import BaseEventTrigger

    def fingerprint(watch: Any) -> int:
        return BaseEventTrigger.hash(*watch.serialize())

    assert fingerprint(trigger(tags=["a", "b"])) == fingerprint(trigger(tags=["b", "a", "b"]))
    assert fingerprint(trigger(tags="a")) != fingerprint(trigger(tags="a", watch_name="other"))
    path, arguments = trigger().serialize()
    module, _, name = path.rpartition(".")
    assert getattr(sys.modules[module], name)(**arguments).serialize() == (path, arguments)


@NEEDS_3
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"fire_on": "always"}, "fire_on is 'always'; it must be one of 'appearance', 'disappearance', 'both'"),
        ({"tags": []}, "tags is empty"),
        ({"tags": " "}, "blank"),
        ({"project_id": ""}, "project_id is blank"),
    ],
)
def test_bad_arguments_fail_when_the_dag_is_parsed(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        trigger(**arguments)
