"""An event loop whose clock jumps to its next timer, and a service that answers polls without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from airflow_provider_paperspace.api.models import Tag

T = TypeVar("T")

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
"""The instant at which the clock starts."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop without waiting: an hour passes as soon as nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._select = self._selector.select  # type: ignore[attr-defined]  # asyncio's own
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now_s

    def _jump(self, timeout_s: float | None = None) -> Any:
        events = self._select(0)
        if not events:
            assert timeout_s is not None, "every task waits for something that no timer brings"
            self._now_s += timeout_s
        return events


class VirtualDatetime(datetime):
    """The wall clock of a virtual loop."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return instant(asyncio.get_running_loop().time())


def instant(seconds: float) -> datetime:
    """Return the instant this many seconds after the clock starts."""
    return START + timedelta(seconds=seconds)


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=True) as runner:
        return runner.run(main)


class Service:
    """What a hub polls in place of the API.

    :param tags: names of the tags that every project has.
    """

    def __init__(self, *tags: str) -> None:
        self.users = 0
        self.tags = list(tags)
        self.error: Exception | None = None
        self.answers = True
        self.answer_s = 0.0
        self.polled_at_s: list[float] = []
        self.refusal = None
        self.resumes_at_s = float("-inf")

    def connection(self, conn_id: str) -> Service:
        return self

    async def look_up(self) -> None:
        pass

    async def list_tags(self, project_id: str) -> tuple[Tag, ...]:
        self.polled_at_s.append(asyncio.get_running_loop().time())
        if not self.answers:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self.answer_s)
        if self.error is not None:
            raise self.error
        return tuple(Tag(1, name, "2026-03-02T09:15:00.000Z") for name in self.tags)

    async def close(self) -> None:
        pass


class Connection:
    """An Airflow connection that is changed while tasks wait, in place of the hook that looks it up.

    :param services: what answers, for each value of the settings. The first value is the one to start with.
    """

    def __init__(self, **services: Service) -> None:
        self.services = services
        self.settings = next(iter(services))
        self.look_up_s = 0.0
        self.error: Exception | None = None
        self.looked_up_at_s: list[float] = []
        self.open_clients = 0

    def hook(self, conn_id: str) -> Connection:
        return self

    async def get_async_conn(self, *, max_attempts: int) -> Client:
        settings = self.settings
        self.looked_up_at_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.look_up_s)
        if self.error is not None:
            raise self.error
        self.open_clients += 1
        return Client(self, settings)


class Client:
    """A client for the settings of a connection as they were."""

    def __init__(self, connection: Connection, settings: str) -> None:
        self.settings = settings
        self._connection = connection

    async def list_project_tags(self, project_id: str) -> list[Tag]:
        return list(await self._connection.services[self.settings].list_tags(project_id))

    async def aclose(self) -> None:
        self._connection.open_clients -= 1
