"""Waits whose service asks for a long wait: nobody polls until then, and no wait is lost or ends in error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_paperspace.api.errors import ApiError, NotFoundError, RateLimitError, ServerError
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger
from tests.triggers import virtual_time
from tests.triggers.polls import events_of
from tests.triggers.virtual_time import Connection, Service, instant

HOUR_S = 3600.0


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A connection whose service asks for an hour at the first poll. Its settings can be changed to ``new``."""
    connection = Connection(old=Service(), new=Service("approved"))
    connection.services["old"].error = asks(HOUR_S)
    monkeypatch.setattr("airflow_provider_paperspace.triggers._polling.PaperspaceHook", connection.hook)
    monkeypatch.setattr("airflow_provider_paperspace.triggers.project_tags.datetime", virtual_time.VirtualDatetime)
    monkeypatch.setattr("random.random", lambda: 1.0)
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)
    return connection


def asks(seconds: float, status: int = 429) -> ApiError:
    return ApiError.of(status, b"", retry_after_s=seconds)


async def wait(**arguments: Any) -> tuple[Any, float]:
    """Wait in virtual time, and return the event and when it came."""
    trigger = ProjectTagTrigger(**{"project_id": "p1", "tags": "approved", "poke_interval": 10, **arguments})
    (payload,) = await events_of(trigger.run())
    return payload, asyncio.get_running_loop().time()


async def recover_at(service: Service, seconds: float, *tags: str) -> None:
    await asyncio.sleep(seconds - asyncio.get_running_loop().time())
    service.error = None
    service.tags.extend(tags)


@pytest.mark.parametrize("error", [asks(HOUR_S), asks(HOUR_S, 503)], ids=["429", "503"])
def test_no_project_is_polled_before_the_wait_is_over(connection: Connection, error: ApiError) -> None:
    old = connection.services["old"]
    old.error = error

    async def main() -> Any:
        waits = [asyncio.create_task(wait(project_id=f"p{number % 3}", max_failures=1)) for number in range(6)]
        await recover_at(old, 20, "approved")
        return await asyncio.gather(*waits)

    ended = virtual_time.run(main())
    assert {payload["status"] for payload, _ in ended} == {"met"}
    assert [at_s for at_s in old.polled_at_s if 10 < at_s < 10 + HOUR_S] == []
    assert {at_s for _, at_s in ended} == {10 + HOUR_S}


def test_a_wait_of_two_minutes_is_left_to_the_client(connection: Connection) -> None:
    old = connection.services["old"]
    old.error = asks(120)

    async def main() -> Any:
        waiting = asyncio.create_task(wait())
        await recover_at(old, 15, "approved")
        return await waiting

    payload, at_s = virtual_time.run(main())
    assert (payload["status"], at_s) == ("met", 20)


def test_a_service_that_asks_for_hours_is_polled_once_an_hour(connection: Connection) -> None:
    old = connection.services["old"]

    async def main() -> Any:
        waiting = asyncio.create_task(wait())
        await recover_at(old, 5.5 * HOUR_S, "approved")
        return await waiting

    payload, at_s = virtual_time.run(main())
    assert payload["status"] == "met"
    assert (old.polled_at_s, at_s) == ([10 + number * HOUR_S for number in range(7)], 10 + 6 * HOUR_S)


def test_a_deadline_within_the_wait_says_why_nobody_looked(connection: Connection) -> None:
    async def main() -> Any:
        other = asyncio.create_task(wait(max_failures=0))
        ended = await asyncio.gather(
            *(wait(deadline=instant(seconds).isoformat(), max_failures=10) for seconds in (500, 600, 700))
        )
        other.cancel()
        return ended, await asyncio.gather(other, return_exceptions=True)

    ended, ((failed, _),) = virtual_time.run(main())
    assert [(payload["status"], at_s) for payload, at_s in ended] == [
        ("timeout", 500),
        ("timeout", 600),
        ("timeout", 700),
    ]
    for payload, _ in ended:
        assert (
            "The last poll failed: the service answered 429. The service asked the client to wait 3600 s"
            in (payload["message"])
        )
    assert failed["status"] == "error", "a wait that tolerates no failure ends with the first"
    assert connection.services["old"].polled_at_s == [10]


def test_a_deadline_within_the_wait_counts_no_failure_of_others(connection: Connection) -> None:
    old = connection.services["old"]

    async def main() -> Any:
        other = asyncio.create_task(wait(max_failures=1))
        await asyncio.gather(*(wait(deadline=instant(seconds).isoformat()) for seconds in range(100, 1000, 100)))
        await recover_at(old, 2000, "approved")
        return await other

    assert virtual_time.run(main())[0]["status"] == "met"


def test_a_new_key_need_not_wait(connection: Connection) -> None:
    async def main() -> Any:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(100)
        connection.settings = "new"
        return await waiting

    payload, at_s = virtual_time.run(main())
    assert (payload["status"], at_s) == ("met", 140), "the connection is looked up every minute of the wait"
    assert connection.services["old"].polled_at_s == [10]


def test_a_wait_that_joins_meanwhile_polls_afterwards(connection: Connection) -> None:
    old = connection.services["old"]

    async def main() -> Any:
        first = asyncio.create_task(wait())
        await recover_at(old, 1000, "approved")
        second = asyncio.create_task(wait(project_id="p2", max_failures=0))
        return await asyncio.gather(first, second)

    ended = virtual_time.run(main())
    assert [(payload["status"], at_s) for payload, at_s in ended] == [("met", 10 + HOUR_S)] * 2


@pytest.mark.parametrize(
    "error", [NotFoundError(404, "", "", retry_after_s=HOUR_S), RateLimitError(429, "", ""), ServerError(503, "", "")]
)
def test_other_errors_ask_for_no_wait(connection: Connection, error: ApiError) -> None:
    old = connection.services["old"]
    old.error = error

    async def main() -> Any:
        waiting = asyncio.create_task(wait())
        await recover_at(old, 15, "approved")
        return await waiting

    payload, at_s = virtual_time.run(main())
    assert (payload["status"], at_s) == (("error", 10) if isinstance(error, NotFoundError) else ("met", 20))
