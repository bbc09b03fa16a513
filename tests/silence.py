"""A service that answers a few requests and then falls silent, without a socket and without waiting.

Time passes by timeouts and pauses alone: on a clock of its own for the blocking client, in a virtual loop for the
asynchronous one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import aiohttp
import pytest
import requests

from airflow_provider_paperspace.api import _transport, client
from airflow_provider_paperspace.api._messages import Request, Response
from airflow_provider_paperspace.api.client import PaperspaceClient
from tests.conversation import TagStore

BASE_URL = "http://127.0.0.1:1/v1"


class Clock:
    """A clock that moves when somebody sleeps or waits."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now_s += seconds


class SilentService:
    """Answers the first requests as a tag store does, and none after that.

    :param answered: how many it answers.
    """

    def __init__(self, store: TagStore, *, answered: int) -> None:
        self.store = store
        self.clock = Clock()
        self.sent: list[str] = []
        self.timeouts_s: list[float] = []
        self._answered = answered

    @property
    def most_attempts(self) -> int:
        """How often the most frequent of the requests that were not answered was sent in a row."""
        return max(Counter(self.sent[self._answered :]).values(), default=0)

    def serve_blocking(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the requests of the blocking client, and its clock."""
        service, clock = self, self.clock

        def request(session: Any, method: str, url: str, *, data: bytes | None, timeout: Any, **_: Any) -> Any:
            service.timeouts_s.append(timeout.total)
            response = service._response(method, url, data)
            if response is None:
                clock.now_s += timeout.total
                raise requests.ReadTimeout
            return _Answer(response)

        monkeypatch.setattr(requests.Session, "request", request)
        for module in (client, _transport):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setitem(PaperspaceClient.__init__.__kwdefaults__, "sleep", clock.sleep)

    def serve_async(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the requests of the asynchronous client."""
        service = self

        def request(session: Any, method: str, url: Any, *, data: bytes | None, **_: Any) -> Any:
            return _AsyncAnswer(service._response(method, str(url), data))

        monkeypatch.setattr(aiohttp.ClientSession, "request", request)

    def _response(self, method: str, url: str, data: bytes | None) -> Response | None:
        assert url.startswith(BASE_URL), "the connection leads here"
        self.sent.append(f"{method} {url}")
        if len(self.sent) > self._answered:
            return None
        return self.store(Request(method, url.removeprefix(BASE_URL), "", "", data))  # type: ignore[arg-type]


class _Answer:
    """What requests returns."""

    def __init__(self, response: Response) -> None:
        self.status_code = response.status
        self.headers = dict(response.headers)
        parts = [response.body, b""]
        read1: Callable[..., bytes] = lambda *_, **__: parts.pop(0)  # noqa: E731
        self.raw = SimpleNamespace(read1=read1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _AsyncAnswer:
    """What aiohttp returns; entering it waits forever if there is no response."""

    def __init__(self, response: Response | None) -> None:
        self._response = response
        self.content = self

    async def __aenter__(self) -> Self:
        if self._response is None:
            await asyncio.get_running_loop().create_future()
        assert self._response is not None
        self.status = self._response.status
        self.headers = dict(self._response.headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def iter_any(self) -> AsyncIterator[bytes]:
        assert self._response is not None
        yield self._response.body
