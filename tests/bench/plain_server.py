"""A server that costs next to no CPU, so that its own time does not count: project tags, a latency, a request count.

The local Paperspace checks and records each request, which takes it longer than a client takes to send it. Where many
requests wait for an answer at the same moment, that would be measured, rather than the client.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from urllib.parse import unquote

TAG = '{"id":1,"name":%s,"dtCreated":"2026-03-02T09:15:00.000Z"}'


class PlainServer(asyncio.Protocol):
    """Answers ``GET`` and ``POST /v1/projects/{id}/tags``, each after the latency.

    :param tags: names by project, shared by all connections.
    """

    count = 0

    def __init__(self, tags: dict[str, list[str]], latency_s: float) -> None:
        self._tags = tags
        self._latency_s = latency_s
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, complete, body = self._received.partition(b"\r\n\r\n")
        if not complete or len(body) < self._length_of(head):
            return
        self._received = b""
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        if target == "/_local/requests":
            self._answer(f'{{"count":{PlainServer.count}}}')
            return
        PlainServer.count += 1
        names = self._tags.setdefault(unquote(target.split("/")[3]), ["gpu"])
        if method == "POST":
            names.append(json.loads(body)["name"])
            answer = TAG % json.dumps(names[-1])
        else:
            answer = f'{{"hasMore":false,"items":[{",".join(TAG % json.dumps(name) for name in names)}]}}'
        asyncio.get_running_loop().call_later(self._latency_s, partial(self._answer, answer))

    def _answer(self, body: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(f"{head}{body}".encode())

    @staticmethod
    def _length_of(head: bytes) -> int:
        _, found, rest = head.lower().partition(b"content-length:")
        return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def serve(latency_ms: float) -> None:
    tags: dict[str, list[str]] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PlainServer(tags, latency_ms / 1000), "127.0.0.1", 0, backlog=1000)
    print(f"Plain server at http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
