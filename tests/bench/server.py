"""A local Paperspace in its own process, so that its CPU time does not count."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

API_KEY = "bench-key"


@dataclass(frozen=True)
class BenchServer:
    url: str

    def request_count(self) -> int:
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/_local/requests") as answer:  # noqa: S310
            count: int = json.load(answer)["count"]
            return count

    def connection(self) -> str:
        return json.dumps({"conn_type": "paperspace", "host": self.url, "password": API_KEY})


@contextmanager
def bench_server(seed: dict[str, Any], *, latency_ms: float = 0, rate_limit: int = 0) -> Iterator[BenchServer]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(seed, file)
        file.flush()
        command = [sys.executable, "-m", "airflow_provider_paperspace.emulator", "--port", "0", "--api-key", API_KEY]
        command += ["--seed", str(Path(file.name)), "--latency-ms", str(latency_ms), "--rate-limit", str(rate_limit)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            assert process.stdout is not None
            url = process.stdout.readline().split()[3]
            try:
                yield BenchServer(url)
            finally:
                process.terminate()


@contextmanager
def plain_server(latency_ms: float) -> Iterator[BenchServer]:
    """Start a server that costs next to no CPU; every project has the tag ``gpu``."""
    command = [sys.executable, "-m", "tests.bench.plain_server", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield BenchServer(process.stdout.readline().split()[3])
        finally:
            process.terminate()
