"""A server that answers with given bytes, for what no well-behaved server would do. Loopback only."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

HANG = b"<hang>"
"""Falls silent until the test ends."""

DRIP = b"<drip>"
"""``DRIP + bytes`` sends these bytes again and again until the test ends."""

TUNNEL = b"<tunnel>"
"""``TUNNEL + port`` passes everything on to this port, as a proxy does after ``CONNECT``."""


class RawServer:
    """Keeps what it receives in ``heads`` and answers each connection with ``answer``, chunk by chunk.

    :param answer: the bytes of an HTTP answer with its head; ``HANG``, ``DRIP`` and ``TUNNEL`` among them.
    """

    def __init__(self, answer: Iterable[bytes], tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.finish = threading.Event()
        self._answer = list(answer)
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    connection = self.request if tls is None else tls.wrap_socket(self.request, server_side=True)
                    with connection:
                        outer.heads.append(connection.recv(65_536))
                        for chunk in outer._answer:
                            outer._say(connection, chunk)
                except OSError:
                    pass  # the client hung up, as it should

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, bind_and_activate=True)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def _say(self, connection: socket.socket, chunk: bytes) -> None:
        if chunk == HANG:
            self.finish.wait(30)
        elif chunk.startswith(TUNNEL):
            self._tunnel(connection, int(chunk.removeprefix(TUNNEL)))
        elif chunk.startswith(DRIP):
            while not self.finish.wait(0.05):
                connection.sendall(chunk.removeprefix(DRIP))
        else:
            connection.sendall(chunk)

    def _tunnel(self, connection: socket.socket, port: int) -> None:
        def pass_on(source: socket.socket, sink: socket.socket, seen: list[bytes]) -> None:
            with suppress(OSError):
                while data := source.recv(65_536):
                    seen.append(data)
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        with socket.create_connection(("127.0.0.1", port)) as target:
            upwards = threading.Thread(target=pass_on, args=(connection, target, self.heads))
            upwards.start()
            pass_on(target, connection, [])
            upwards.join(timeout=30)


@contextmanager
def raw_server(*answer: bytes, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    server = RawServer(answer, tls)
    thread = threading.Thread(target=server._server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.finish.set()
        server._server.shutdown()
        server._server.server_close()
        thread.join()


def http(body: bytes = b"", status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", "Connection: close"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + body
