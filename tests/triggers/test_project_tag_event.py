"""Events for asset-driven DAGs: one for each appearance, over faults and restarts, and none for what stays."""

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

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.triggers import project_tags
from tests.triggers.polls import after_polls, events_of, lists

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")
NEEDS_3 = pytest.mark.skipif(ON_AIRFLOW_2, reason="event-driven scheduling begins with Airflow 3")

pytestmark = pytest.mark.usefixtures("connection")


@pytest.mark.skipif(not ON_AIRFLOW_2, reason="Airflow 3 has event-driven scheduling")
def test_airflow_2_says_why_it_cannot_be_had_and_all_else_works() -> None:
    from airflow.exceptions import AirflowOptionalProviderFeatureException

    with pytest.raises(AirflowOptionalProviderFeatureException, match="needs Airflow 3.0 or later.*ProjectTagSensor"):
        from airflow_provider_paperspace.triggers.project_tags import ProjectTagEventTrigger  # noqa: F401
    with pytest.raises(AirflowOptionalProviderFeatureException, match="needs Airflow 3.0"):
        importlib.import_module("airflow_provider_paperspace.triggers.project_tag_event")
    assert project_tags.ProjectTagTrigger


def test_a_name_that_is_not_there_is_missed_as_usual() -> None:
    assert not hasattr(project_tags, "ProjectTagNothing")


def trigger(**arguments: Any) -> Any:
    return project_tags.ProjectTagEventTrigger(
        **{"project_id": "p1", "tags": ["approved*"], "poke_interval": 0.1, **arguments}
    )


class Store:
    """A watched asset's store, as Airflow 3.3 gives one to each trigger."""

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
    """Let the project have exactly these tags besides its own."""
    state = server.paperspace
    for name in set(state.tag_names("p1")) - {"gpu", *names}:
        state.remove_tag("p1", {"name": name})
    for name in set(names) - set(state.tag_names("p1")):
        state.add_tag("p1", {"name": name})


def events(watch: Any, number: int = 1) -> list[Any]:
    return asyncio.run(events_of(watch.run(), number), debug=True)


@NEEDS_3
def test_it_fires_once_when_a_tag_appears_and_not_for_what_was_there(server: LocalPaperspaceServer) -> None:
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
    ("fire_on", "told"),
    [
        ("appearance", ["appeared"] * 2),
        ("disappearance", ["disappeared"] * 2),
        ("both", ["appeared", "disappeared"]),
    ],
)
def test_it_fires_on_what_it_is_asked_for(server: LocalPaperspaceServer, fire_on: str, told: list[str]) -> None:
    for poll in range(2, 12, 2):
        after_polls(server, poll, lambda poll=poll: change(server, *(["approved"] if poll % 4 == 2 else [])))  # type: ignore[misc]
    fired = events(trigger(fire_on=fire_on), 2)
    assert [event["event"] for event in fired] == told
    assert {event["tag"]["name"] for event in fired} == {"approved"}
    assert len({event["event_id"] for event in fired}) == 2


@NEEDS_3
def test_a_hundred_appearances_among_faults_fire_a_hundred_times(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api.retries.wait_s", lambda *_: 0.0)
    kept: dict[str, str] = {}
    appearances, told = 0, []

    async def play() -> None:
        """Let the tag come and go, each time as soon as the last change was polled; faults hit every third request."""
        nonlocal appearances
        for at in range(3, 3_000, 3):
            server.fault(("500", "reset", "502", "truncated", "lost-answer", "wrong-types")[at // 3 % 6], at=at)
        server.fault("429", at=100, retry_after="0")
        watch = storing(trigger(poke_interval=0.01), kept)
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
            told.append(event.payload["event_id"])
            if len(told) == 100:
                break
        await stream.aclose()

    monkeypatch.setattr("airflow_provider_paperspace.triggers.watch.MIN_INTERVAL_S", 0.01)
    monkeypatch.setattr(sys.modules["airflow_provider_paperspace.triggers.watch"], "SLOWEST", 1)
    asyncio.run(play())
    assert (appearances, len(set(told))) == (100, 100)


async def first_event_and_its_note(watch: Any) -> Any:
    """Run a watch until it has told an event and kept what it saw after it."""
    payloads: list[Any] = []
    noted = asyncio.Event()
    note = watch.asset_state_store.aset

    async def note_and_tell(key: str, value: Any) -> None:
        await note(key, value)
        if payloads:
            noted.set()

    async def listen() -> None:
        payloads.extend([event.payload async for event in telling(watch.run())])

    async def telling(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for event in events:
            payloads.append(event.payload)
            yield event

    watch.asset_state_store.aset = note_and_tell
    listening = asyncio.create_task(listen())
    await noted.wait()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    return payloads[0]


@NEEDS_3
def test_what_was_seen_survives_a_restart_where_airflow_keeps_it(server: LocalPaperspaceServer) -> None:
    kept: dict[str, str] = {}
    change(server, "approved:1")
    after_polls(server, 2, lambda: change(server, "approved:1", "approved:2"))
    first = asyncio.run(first_event_and_its_note(storing(trigger(), kept)))
    change(server, "approved:1", "approved:2", "approved:3")  # while no triggerer runs
    second = asyncio.run(first_event_and_its_note(storing(trigger(), kept)))
    assert (first["tag"]["name"], second["tag"]["name"]) == ("approved:2", "approved:3")


@NEEDS_3
def test_an_event_that_is_told_twice_has_the_same_id(server: LocalPaperspaceServer) -> None:
    """As when a triggerer dies between an event and the note of it, or two triggerers watch at once."""
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
def test_without_a_store_the_first_poll_is_the_baseline(server: LocalPaperspaceServer) -> None:
    after_polls(server, 2, lambda: change(server, "approved:1"))
    (first,) = events(trigger())
    change(server, "approved:1", "approved:2")  # while no triggerer runs: missed, as the docs say
    after_polls(server, 3, lambda: change(server, "approved:1", "approved:2", "approved:3"))
    (second,) = events(trigger())
    assert (first["tag"]["name"], second["tag"]["name"]) == ("approved:1", "approved:3")


@NEEDS_3
def test_a_store_of_several_assets_is_told_and_the_watch_goes_on(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
) -> None:
    after_polls(server, 2, lambda: change(server, "approved"))
    (event,) = events(storing(trigger(), {}, ValueError("Task has 2 concrete inlets")))
    assert event["tag"]["name"] == "approved"
    (warning,) = [record.getMessage() for record in caplog.records if "survive a restart" in record.getMessage()]
    assert "Give the trigger of each its own watch_name" in warning


@NEEDS_3
def test_a_store_that_does_not_answer_for_a_while_is_asked_again_and_nothing_is_told_twice(
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
    told = [event["tag"]["name"] for event in events(watch, 2)]
    assert told == ["approved:1", "approved:2"]
    assert len([r for r in caplog.records if "does not answer yet" in r.getMessage()]) == 2
    (state,) = kept.values()
    assert json.loads(state)["seen"] == ["approved:1"], "kept once the store answered again"


@NEEDS_3
def test_watchers_of_one_asset_and_a_changed_watch_do_not_mix_their_memories(
    server: LocalPaperspaceServer,
) -> None:
    kept: dict[str, str] = {}
    change(server, "approved:1")
    after_polls(server, 2, lambda: change(server, "approved:1", "approved:2"))
    asyncio.run(first_event_and_its_note(storing(trigger(), kept)))
    after_polls(server, 3, lambda: change(server, "approved:3", "approved:2"))
    for other in (trigger(tags="*"), trigger(tags="approved*", watch_name="b"), trigger(fire_on="both")):
        fired = asyncio.run(first_event_and_its_note(storing(other, kept)))
        assert fired["tag"]["name"].startswith("approved:"), "what was there for long does not fire"
        change(server, "approved:1", "approved:2")
        after_polls(server, 3, lambda: change(server, "approved:1", "approved:2", "approved:4"))
    assert len(kept) == 4


@NEEDS_3
@pytest.mark.parametrize("kind", ["401", "500", "403"])
def test_it_keeps_polling_whatever_fails_and_says_so_once(
    server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api.retries.wait_s", lambda *_: 0.0)
    server.fault(kind, at=2, times=4)
    after_polls(server, 2, lambda: change(server, "approved"))
    with caplog.at_level(logging.INFO):
        assert len(events(trigger())) == 1
    ours = [record for record in caplog.records if record.name.endswith("project_tag_event")]
    assert [record.levelname for record in ours] == ["WARNING", "INFO"]
    assert "cannot be polled; the watch goes on" in ours[0].getMessage()


@NEEDS_3
def test_watchers_of_one_project_share_a_stream_and_its_polls(server: LocalPaperspaceServer) -> None:
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
    assert lists(server) == 3


@NEEDS_3
def test_equal_watches_are_equal_to_airflow_whatever_the_order_of_their_tags() -> None:
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
        ({"fire_on": "always"}, "fire_on is 'always', and must be one of 'appearance', 'disappearance', 'both'"),
        ({"tags": []}, "no tag to watch"),
        ({"tags": " "}, "blank"),
        ({"project_id": ""}, "project id is empty"),
    ],
)
def test_a_watch_that_makes_no_sense_is_refused_when_the_dag_is_read(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        trigger(**arguments)
