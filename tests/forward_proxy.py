"""A real forward proxy on loopback that asks for a password: the package proxy.py, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER, PASSWORD, QUOTED_PASSWORD = "ada", "pr0xy@pa55", "pr0xy%40pa55"


class ForwardProxy:
    """A running proxy. ``address`` is its host and port, ``url`` has the user and the password, too."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{USER}:{QUOTED_PASSWORD}@{self.address}"
        self._process = process

    def next_target(self) -> str:
        """Wait until the next connection has ended; return the host and port that it was opened to."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if " - CONNECT " in line:
                return line.partition(" - CONNECT ")[2].split()[0]
        raise AssertionError("the proxy has ended")


@contextmanager
def forward_proxy(folder: Path) -> Iterator[ForwardProxy]:
    port_file = folder / "port"
    os.mkfifo(port_file)  # it is read once the proxy has written to it
    command = [sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0", "--port-file", str(port_file)]
    command += ["--basic-auth", f"{USER}:{PASSWORD}", "--num-workers", "1", "--num-acceptors", "1", "--threaded"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
    try:
        yield ForwardProxy(int(port_file.read_text()), process)
    finally:
        process.terminate()
        process.communicate(timeout=30)
