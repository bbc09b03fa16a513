"""What only the asynchronous client does: one pause for all requests, a stop, and connections that are reused."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import pytest

from airflow_provider_paperspace.api import async_client, policies
from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient, prepare
from airflow_provider_paperspace.api.errors import RateLimitError, ServerError, StoppedError
from airflow_provider_paperspace.api.models import Tag, TagChange
from airflow_provider_paperspace.api.settings import ClientSettings
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.clients import names_of
from tests.secret_watch import API_KEY


class VirtualTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        await asyncio.sleep(0)
        self.now_s = max(self.now_s, until_s)


class EndlessSleep:
    """A sleep that never ends, and an event that is set when it starts."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, seconds: float) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def run(main: Awaitable[Any]) -> Any:
    async def awaited() -> Any:
        return await main

    return asyncio.run(awaited(), debug=True)


async def list_all(client: AsyncPaperspaceClient, ids: Iterable[str], *, concurrency: int) -> dict[str, list[Tag]]:
    """List the tags of each project, this many at a time."""
    todo, done = iter(list(ids)), {}

    async def work() -> None:
        for project_id in todo:
            done[project_id] = await client.list_project_tags(project_id)

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return done


def many(server: LocalPaperspaceServer, count: int, **options: Any) -> list[str]:
    """Put this many projects on the server; return their ids."""
    ids = [f"many-{i}" for i in range(count)]
    server.reset(seed={"projects": [{"id": id_, "tags": ["gpu"]} for id_ in ids]}, **options)
    return ids


class TestPauses:
    def test_a_429_pauses_all_requests_once(
        self, settings: ClientSettings, server: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        ids = many(server, 60)
        server.fault("429", at=20, times=8, retry_after="100")
        time = VirtualTime()

        async def main() -> dict[str, list[Tag]]:
            async with AsyncPaperspaceClient(settings, sleep=time.sleep, clock=time.clock) as client:
                return await list_all(client, ids, concurrency=8)

        with caplog.at_level(logging.INFO):
            done = run(main())
        assert {id_: names_of(tags) for id_, tags in done.items()} == {id_: ["gpu"] for id_ in ids}
        assert len([m for m in caplog.messages if "Pausing all requests for 100.0 s" in m]) == 1
        assert not [m for m in caplog.messages if "status 429" in m]
        assert time.now_s >= 100

    def test_requests_start_one_by_one_after_a_pause(
        self, settings: ClientSettings, server: LocalPaperspaceServer
    ) -> None:
        ids = many(server, 10)
        server.fault("429", retry_after="3")
        time = VirtualTime()

        async def main() -> float | None:
            async with AsyncPaperspaceClient(settings, sleep=time.sleep, clock=time.clock) as client:
                await client.list_project_tags(ids[0])
                await list_all(client, ids, concurrency=10)
                return client._rate_limiter.rate_per_s

        rate_per_s = run(main())
        assert rate_per_s is not None
        assert rate_per_s < 1, "nothing had succeeded before the 429"
        assert time.now_s >= 3 + len(ids) / 0.6

    def test_a_longer_pause_voids_a_reserved_start(
        self, settings: ClientSettings, server: LocalPaperspaceServer
    ) -> None:
        now_s, slept = 100.0, []

        async def main() -> list[Tag]:
            async def sleep(seconds: float) -> None:
                nonlocal now_s
                slept.append(seconds)
                if len(slept) == 1:  # the answer to a request that was under way when the pause began
                    limiter.record_429(now_s, sent_at_s=99.9, pause_s=10.0)
                now_s += seconds

            async with AsyncPaperspaceClient(settings, sleep=sleep, clock=lambda: now_s) as client:
                limiter = client._rate_limiter
                limiter.record_429(now_s, sent_at_s=99.9, pause_s=3.0)
                return await client.list_project_tags("p1")

        assert names_of(run(main())) == ["gpu"]
        assert slept == [3.0, 7.0]

    def test_a_lasting_429_is_raised_after_all_attempts(
        self, settings: ClientSettings, server: LocalPaperspaceServer
    ) -> None:
        server.fault("429", times=0, retry_after="7")
        time = VirtualTime()

        async def main() -> None:
            async with AsyncPaperspaceClient(settings, sleep=time.sleep, clock=time.clock) as client:
                await client.list_project_tags("p1")

        with pytest.raises(RateLimitError, match="5 attempts.*asked the client to wait 7 s") as caught:
            run(main())
        assert caught.value.attempts == len(server.requests) == 5
        assert 4 * 7 <= time.now_s < 4 * 7 + 10

    def test_other_errors_pause_their_own_request_only(
        self, settings: ClientSettings, server: LocalPaperspaceServer
    ) -> None:
        server.fault("503", times=0, retry_after="7")
        time = VirtualTime()

        async def main() -> int:
            async with AsyncPaperspaceClient(settings, sleep=time.sleep, clock=time.clock) as client:
                with pytest.raises(ServerError):
                    await client.list_project_tags("p1")
                return client._rate_limiter.pauses

        assert run(main()) == 0
        assert time.now_s == 4 * 7


class TestStop:
    def test_a_stop_ends_waits_and_sends_nothing_more(
        self, settings: ClientSettings, server: LocalPaperspaceServer
    ) -> None:
        server.fault("429", at=3, times=0, retry_after="100")
        change = TagChange("p1")

        async def main() -> tuple[StoppedError, int]:
            sleep = EndlessSleep()
            async with AsyncPaperspaceClient(settings, sleep=sleep) as client:
                policy = policies.adding(["x", "y"])
                adding = asyncio.create_task(client.converge_project_tags("p1", policy, change))
                await sleep.started.wait()
                client.stop()
                with pytest.raises(StoppedError) as caught:
                    await adding
                with pytest.raises(StoppedError):
                    await client.list_project_tags("p1")
            return caught.value, sleep.cancelled

        error, cancelled = run(main())
        assert names_of(change.added) == ["x"]
        assert error.notes == ["Already added: 'x'."], "the outcome of the other write is known: it was not sent"
        assert str(error).startswith("Project 'p1': could not add tag 'y': the client was stopped")
        assert not error.is_permanent
        assert cancelled >= 1
        assert len(server.requests) == 3

    def test_a_stopped_client_sends_nothing(self, settings: ClientSettings, server: LocalPaperspaceServer) -> None:
        async def main() -> None:
            async with AsyncPaperspaceClient(settings) as client:
                client.stop()
                for call in (client.list_project_tags("p1"), client.add_project_tags("p1", "x"), client.get_session()):
                    with pytest.raises(StoppedError, match="the client was stopped"):
                        await call

        run(main())
        assert server.requests == []

    def test_a_stop_lets_a_request_in_flight_end(self, settings: ClientSettings, server: LocalPaperspaceServer) -> None:
        async def main() -> list[str]:
            async with AsyncPaperspaceClient(settings) as client:
                listing = asyncio.create_task(client.list_project_tags("p1"))
                await asyncio.sleep(0)  # it is on its way now
                client.stop()
                return names_of(await listing)

        assert run(main()) == ["gpu"]

    def test_a_cancelled_call_leaves_its_record(self, settings: ClientSettings, server: LocalPaperspaceServer) -> None:
        server.fault("429", at=3, times=0, retry_after="100")
        change = TagChange("p1")

        async def main() -> None:
            sleep = EndlessSleep()
            async with AsyncPaperspaceClient(settings, sleep=sleep) as client:
                policy = policies.adding(["x", "y"])
                adding = asyncio.create_task(client.converge_project_tags("p1", policy, change))
                await sleep.started.wait()
                adding.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await adding

        run(main())
        assert (names_of(change.added), change.after) == (["x"], ("gpu", "x"))


class TestConnections:
    def test_a_burst_of_requests_reuses_its_connections(
        self, settings: ClientSettings, server: LocalPaperspaceServer
    ) -> None:
        ids = many(server, 200, latency_ms=10)

        async def main() -> tuple[int, int, Any]:
            async with AsyncPaperspaceClient(settings) as client:
                opened = _count_connections(client)
                done = await list_all(client, ids, concurrency=20)
                session = client._session
                assert not session.closed
            return len(done), len(opened), session

        done, opened, session = run(main())
        assert (done, len(server.requests)) == (200, 200)
        assert opened <= 20
        assert session.closed

    def test_one_call_after_another_uses_one_connection(
        self, settings: ClientSettings, server: LocalPaperspaceServer
    ) -> None:
        async def main() -> int:
            async with AsyncPaperspaceClient(settings) as client:
                opened = _count_connections(client)
                await client.add_project_tags("p1", ["a", "b"])
                await client.remove_project_tags("p1", ["a", "b"])
                await client.get_session()
                return len(opened)

        assert run(main()) == 1

    def test_no_limit_holds_requests_back(self, settings: ClientSettings) -> None:
        async def main() -> tuple[int, int]:
            async with AsyncPaperspaceClient(settings) as client:
                connector = client._session.connector
                assert connector is not None
                return connector.limit, connector.limit_per_host

        assert run(main()) == (0, 0)


def _count_connections(client: AsyncPaperspaceClient) -> list[Any]:
    """Return a list that grows with each connection that the client opens."""
    connector: Any = client._session.connector
    create, opened = connector._create_connection, []

    async def create_and_count(*args: Any, **options: Any) -> Any:
        connection = await create(*args, **options)
        opened.append(connection)
        return connection

    connector._create_connection = create_and_count
    return opened


class TestPrepare:
    """Reading the CA certificates blocks, so it is done in a thread, once."""

    @pytest.fixture(autouse=True)
    def _no_bundle(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(variable, raising=False)
        async_client._tls_context.cache_clear()
        yield
        async_client._tls_context.cache_clear()

    @pytest.fixture
    def loads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What was read, in turn."""
        loads: list[str] = []
        load: Callable[..., ssl.SSLContext] = ssl.create_default_context

        def load_and_count(**options: Any) -> ssl.SSLContext:
            loads.append(options.get("cafile") or options["capath"])
            return load(**options)

        monkeypatch.setattr(ssl, "create_default_context", load_and_count)
        return loads

    def test_certificates_are_read_once(self, loads: list[str]) -> None:
        settings = ClientSettings(api_key=API_KEY)

        async def main() -> None:
            for _ in range(2):
                async with AsyncPaperspaceClient(settings):
                    assert len(loads) == 1

        prepare(settings)
        assert len(loads) == 1
        assert loads[0].endswith("cacert.pem")
        run(main())

    def test_plain_http_reads_no_certificates(self, loads: list[str], settings: ClientSettings) -> None:
        async def main() -> None:
            async with AsyncPaperspaceClient(settings) as client:
                assert await client.get_session() is not None

        prepare(settings)
        run(main())
        assert loads == []


def test_an_iteration_may_end_early(settings: ClientSettings, server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("many", tags=["a", "b", "c"])

    async def main() -> list[str]:
        found = []
        async with AsyncPaperspaceClient(settings) as client:
            async for tag in client.iter_project_tags("many", order="asc", page_size=1):
                found.append(tag.name)
                if tag.name == "b":
                    break
        return found

    assert run(main()) == ["a", "b"]
    assert len(server.requests) == 2
