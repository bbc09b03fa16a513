"""Waits follow their connection: whatever changes in it while they wait, they ask as it is now."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_paperspace.api.errors import AuthenticationError, PermissionDeniedError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.triggers._polling import MAX_AGE_S, polling_hub
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger
from tests.secret_watch import API_KEY
from tests.triggers import virtual_time
from tests.triggers.polls import after_polls, events_of
from tests.triggers.virtual_time import Connection, Service, instant


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A connection whose host can be changed from ``old`` to ``new``. Only the old service has a tag."""
    connection = Connection(old=Service("approved:old"), new=Service())
    monkeypatch.setattr("airflow_provider_paperspace.triggers._polling.PaperspaceHook", connection.hook)
    monkeypatch.setattr("airflow_provider_paperspace.triggers.project_tags.datetime", virtual_time.VirtualDatetime)
    # The first poll of a project comes after a whole interval, and each further one after another.
    monkeypatch.setattr("random.random", lambda: 1.0)
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)
    return connection


async def wait(tags: str = "approved:*", **arguments: Any) -> tuple[Any, float]:
    """Wait in virtual time, and return the event and when it came."""
    trigger = ProjectTagTrigger(**{"project_id": "p1", "tags": tags, "poke_interval": 10, **arguments})
    (payload,) = await events_of(trigger.run())
    return payload, asyncio.get_running_loop().time()


def test_a_new_wait_is_answered_by_the_new_service(connection: Connection) -> None:
    async def change_the_host() -> tuple[Any, Any]:
        # The first look-up is half a second old, and the old service still has the tag.
        first = asyncio.create_task(wait("something-else", deadline=instant(100).isoformat()))
        await asyncio.sleep(0.5)
        connection.settings = "new"
        second = asyncio.create_task(wait())
        await asyncio.sleep(50)
        assert not second.done(), "only the old service has the tag"
        connection.services["new"].tags.append("approved:new")
        return await second, await first

    (payload, at_s), (other, ended_at_s) = virtual_time.run(change_the_host())
    assert [tag["name"] for tag in payload["tags"]] == ["approved:new"]
    assert at_s == 60
    assert connection.services["old"].polled_at_s == [], "a new wait moves all waits of its connection"
    assert (other["status"], ended_at_s) == ("timeout", 100), "a wait that moves keeps its deadline"


def test_a_poll_over_old_settings_is_not_believed(connection: Connection) -> None:
    old, new = connection.services.values()
    old.answer_s = 30

    async def change_the_host() -> tuple[Any, float]:
        first = asyncio.create_task(wait(deadline=instant(200).isoformat()))
        await asyncio.sleep(20)
        assert old.polled_at_s == [10], "the poll is in flight"
        connection.settings = "new"
        second = asyncio.create_task(wait("something-else", deadline=instant(200).isoformat()))
        result = await first
        await second
        return result

    payload, at_s = virtual_time.run(change_the_host())
    assert (payload["status"], at_s) == ("timeout", 200)
    assert old.polled_at_s == [10]
    assert new.polled_at_s[0] == 40, "read again as soon as the old service has answered"


@pytest.mark.parametrize("error", [PermissionDeniedError(403, "", ""), AuthenticationError(401, "", "")])
def test_an_error_of_the_old_key_is_not_permanent(connection: Connection, error: Exception) -> None:
    old, new = connection.services.values()
    old.error = error
    new.tags.append("approved")

    async def rotate_the_key() -> tuple[Any, float]:
        waiting = asyncio.create_task(wait("approved"))
        await asyncio.sleep(5)
        connection.settings = "new"
        return await waiting

    payload, at_s = virtual_time.run(rotate_the_key())
    assert (payload["status"], at_s) == ("met", 10)
    assert connection.looked_up_at_s == [0, 10]


def test_an_error_of_the_key_as_it_is_is_permanent(connection: Connection) -> None:
    connection.services["old"].error = PermissionDeniedError(403, "", "")
    payload, at_s = virtual_time.run(wait())
    assert (payload["status"], payload["permanent"], at_s) == ("error", True, 10)
    assert connection.looked_up_at_s == [0, 10], "once at the start, and once more before the wait ends"
    assert connection.open_clients == 0


def test_a_thousand_waits_share_one_look_up(connection: Connection) -> None:
    connection.look_up_s = 3

    async def join() -> list[Any]:
        return await asyncio.gather(*(wait(project_id=f"p{i % 100}") for i in range(1_000)))

    assert {payload["status"] for payload, _ in virtual_time.run(join())} == {"met"}
    assert connection.looked_up_at_s == [0]
    assert connection.open_clients == 0


def test_a_wait_that_joins_during_a_look_up_asks_anew(connection: Connection) -> None:
    connection.look_up_s = 3

    async def join_late() -> list[Any]:
        first = asyncio.create_task(wait(deadline=instant(60).isoformat()))
        await asyncio.sleep(1)
        connection.settings = "new"
        late = [asyncio.create_task(wait(deadline=instant(60).isoformat())) for _ in range(10)]
        return [await task for task in (first, *late)]

    assert {payload["status"] for payload, _ in virtual_time.run(join_late())} == {"timeout"}
    assert connection.looked_up_at_s == [0, 3], "those who are late share the second"
    assert connection.services["old"].polled_at_s == []


def test_settings_are_read_again_after_a_minute(connection: Connection) -> None:
    old, new = connection.services.values()

    async def change_the_host() -> tuple[Any, float]:
        waiting = asyncio.create_task(wait("approved:new"))
        await asyncio.sleep(5)
        connection.settings = "new"
        await asyncio.sleep(60)
        new.tags.append("approved:new")
        return await waiting

    payload, at_s = virtual_time.run(change_the_host())
    assert (payload["status"], at_s) == ("met", 70)
    assert old.polled_at_s == [10, 20, 30, 40, 50]
    assert new.polled_at_s == [60, 70]
    assert connection.looked_up_at_s == [0, MAX_AGE_S]


def test_a_failing_look_up_never_means_the_old_service(connection: Connection) -> None:
    async def join_without_an_answer() -> tuple[Any, float]:
        first = asyncio.create_task(wait("something-else", deadline=instant(60).isoformat()))
        await asyncio.sleep(15)
        connection.settings, connection.error = "new", OSError("the database is down")
        second = asyncio.create_task(wait())
        await asyncio.sleep(20)
        assert not second.done()
        connection.error = None
        connection.services["new"].tags.append("approved:new")
        await first
        return await second

    payload, _ = virtual_time.run(join_without_an_answer())
    assert [tag["name"] for tag in payload["tags"]] == ["approved:new"]
    assert connection.services["old"].polled_at_s == [10]
    assert connection.open_clients == 0


def test_a_connection_that_was_deleted_ends_the_wait(connection: Connection) -> None:
    async def delete() -> tuple[Any, float]:
        waiting = asyncio.create_task(wait("something-else"))
        await asyncio.sleep(5)
        connection.error = AirflowNotFoundException("The conn_id `paperspace_default` isn't defined")
        return await waiting

    payload, at_s = virtual_time.run(delete())
    assert (payload["status"], payload["permanent"], at_s) == ("error", True, 60)


def test_a_cancelled_look_up_disturbs_no_other_wait(connection: Connection) -> None:
    connection.look_up_s = 3

    async def cancel_the_first() -> tuple[Any, float]:
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return await second

    payload, _ = virtual_time.run(cancel_the_first())
    assert payload["status"] == "met"
    assert connection.looked_up_at_s == [0]


def test_an_abandoned_look_up_leaves_nothing_behind(connection: Connection) -> None:
    connection.look_up_s = 3

    async def cancel() -> tuple[int, int]:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        return len(others), len(polling_hub()._connections)

    assert virtual_time.run(cancel()) == (0, 0)
    assert connection.open_clients == 0


@pytest.mark.usefixtures("polls_at_once", "retries_at_once")
def test_a_wait_moves_to_the_new_host_of_a_connection(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real hook, over real sockets: the old service answers 403 from the change on."""
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json())
    seed = {"projects": [{"id": "p1", "tags": ["approved"]}]}
    with LocalPaperspaceServer(api_key=API_KEY, seed=seed) as moved:

        def move() -> None:
            monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", moved.connection_json())
            server.fault("403", times=0)

        after_polls(server, 3, move)

        async def main() -> Any:
            trigger = ProjectTagTrigger(project_id="p1", tags="approved", poke_interval=0)
            (payload,) = await events_of(trigger.run())
            return payload

        assert asyncio.run(main())["status"] == "met"
        assert len(moved.requests) == 1
