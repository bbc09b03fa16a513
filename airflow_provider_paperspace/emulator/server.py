"""The local Paperspace as a server on loopback: sockets, threads, and connections that break on demand."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import quote

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_paperspace.emulator.app import BREAK_EXTENSION, LocalPaperspaceApp, SeenRequest
from airflow_provider_paperspace.emulator.faults import Fault
from airflow_provider_paperspace.emulator.state import Json, Paperspace
from airflow_provider_paperspace.emulator.switches import Switches
from airflow_provider_paperspace.protocol import API_PREFIX

HOST: Final = "127.0.0.1"
DEFAULT_API_KEY: Final = "local-paperspace-key"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class LocalPaperspaceServer:
    """A local Paperspace with its HTTP server. In a ``with`` block it serves from a thread of its own.

    :param port: 0 picks a free one.
    :param api_key: the API key to accept.
    :param seed: the initial state, in the form of ``DEFAULT_SEED``.
    :param switches: how it behaves where the real service's behaviour is unknown.
    :param latency_ms: minimum response time in milliseconds.
    :param rate_limit: maximum number of requests per second; others get a 429. 0 for no limit.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        api_key: str = DEFAULT_API_KEY,
        seed: Json | None = None,
        switches: Switches | None = None,
        latency_ms: float = 0.0,
        rate_limit: int = 0,
    ) -> None:
        self._listener = _listen(port)
        self._port: int = self._listener.getsockname()[1]
        paperspace = Paperspace(seed, switches=switches)
        self.app = LocalPaperspaceApp(paperspace, api_key=api_key, latency_s=latency_ms / 1000, rate_limit=rate_limit)
        self._uvicorn = _Server(self.app, self._listener)
        self._thread = threading.Thread(target=self._uvicorn.serve_listener, name="local-paperspace", daemon=True)

    @property
    def url(self) -> str:
        """The base URL: the Host of a connection."""
        return f"http://{HOST}:{self._port}{API_PREFIX}"

    @property
    def api_key(self) -> str:
        """The API key that it accepts."""
        return self.app.api_key

    @property
    def paperspace(self) -> Paperspace:
        """The state, to set up and to inspect."""
        return self.app.paperspace

    @property
    def requests(self) -> list[SeenRequest]:
        """The API requests so far, oldest first."""
        return list(self.app.requests)

    def connection_uri(self) -> str:
        """Return a value for ``AIRFLOW_CONN_PAPERSPACE_DEFAULT``, as a URI."""
        team = quote(self._team, safe="")
        return f"paperspace://:{quote(self.api_key, safe='')}@{quote(self.url, safe='')}?team={team}"

    def connection_json(self, **extra: Any) -> str:
        """Return a value for ``AIRFLOW_CONN_PAPERSPACE_DEFAULT``, as JSON, with extras such as ``max_attempts``."""
        connection = {"conn_type": "paperspace", "host": self.url, "password": self.api_key}
        return json.dumps({**connection, "extra": {"team": self._team, **extra}})

    @property
    def _team(self) -> str:
        return str(self.paperspace.team.get("namespace", ""))

    def reset(
        self,
        *,
        seed: Json | None = None,
        switches: Mapping[str, str] | None = None,
        latency_ms: float = 0.0,
        rate_limit: int = 0,
    ) -> None:
        """Start over like a new server with these arguments, with no faults and no recorded requests."""
        self.restore()
        self.app.paperspace = Paperspace(seed, switches=Switches().with_values(switches or {}))
        self.app.latency_s = latency_ms / 1000
        self.app.rate_limit = rate_limit
        self.app.faults = []
        self.app.requests.clear()
        self.app.request_count = 0

    def fault(self, kind: str, **options: Any) -> Fault:
        """Add a fault that affects later requests. See :class:`.faults.Fault` for the options."""
        fault = Fault(kind, **options)
        self.app.faults.append(fault)
        return fault

    def restore(self) -> None:
        """Accept connections again at once, after a ``refused`` fault."""
        self._uvicorn.restore()

    def serve(self) -> None:
        """Serve in this thread until SIGINT (Ctrl+C) or SIGTERM."""
        with suppress(KeyboardInterrupt):  # uvicorn shuts down, and then raises it again
            self._uvicorn.serve_listener()

    def __enter__(self) -> Self:
        self._thread.start()
        self._uvicorn.ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()


class _Server(uvicorn.Server):
    """A uvicorn server that can also stop listening for a while and break individual connections."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self.ready = threading.Event()
        self._first_listener = listener
        self._port = listener.getsockname()[1]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refusing = False
        super().__init__(
            uvicorn.Config(
                app,
                # mypy does not know that uvicorn accepts a partial in place of a protocol class.
                http=cast("Any", partial(_Protocol, server=self)),
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="error",
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )

    def serve_listener(self) -> None:
        self.run(sockets=[self._first_listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.ready.set()

    def break_connection(self, transport: asyncio.Transport, refuse_for_s: float) -> None:
        """Reset a connection, and refuse new ones for a while."""
        assert self._loop is not None
        if refuse_for_s and not self._refusing:
            self._refusing = True
            for server in self.servers:
                server.close()
            self._loop.call_later(refuse_for_s, lambda: self._loop and self._loop.create_task(self._listen_again()))
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    def restore(self) -> None:
        if self._refusing and self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._listen_again(), self._loop).result()

    async def _listen_again(self) -> None:
        if self._refusing:
            assert self._loop is not None
            self._refusing = False
            factory = partial(
                cast("Any", self.config.http_protocol_class),
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
                _loop=self._loop,
            )
            self.servers = [await self._loop.create_server(factory, sock=_listen(self._port))]


class _Protocol(H11Protocol):
    """An HTTP protocol that lets the application break the connection of a request."""

    def __init__(self, *args: Any, server: _Server, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server = server

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = _Breakable(self.app, partial(self._server.break_connection, transport))


class _Breakable:
    def __init__(self, app: Any, break_connection: Any) -> None:
        self._app = app
        self._break_connection = break_connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[BREAK_EXTENSION] = self._break_connection
        await self._app(scope, receive, send)


def _listen(port: int) -> socket.socket:
    # asyncio turns off Nagle's algorithm, which costs 40 ms per answer, only if the protocol is named here.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(2048)
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener
