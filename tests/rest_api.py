"""Airflow 3's REST API, as its UI uses it."""

from __future__ import annotations

import json
import urllib.request
from contextlib import suppress
from typing import Any


class RestApi:
    """The REST API of an Airflow in which everybody is an admin.

    :param url: the address of the API server.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._token = ""

    def is_up(self) -> bool:
        """Return whether the API server answers."""
        with suppress(OSError):
            return bool(self._log_in())
        return False

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request, and return its answer.

        :param path: the path below ``/api/v2``.
        """
        request = urllib.request.Request(  # noqa: S310
            f"{self._url}/api/v2{path.replace('+', '%2B')}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token or self._log_in()}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    def _log_in(self) -> str:
        with urllib.request.urlopen(f"{self._url}/auth/token", timeout=60) as answer:  # noqa: S310
            self._token = str(json.load(answer)["access_token"])
        return self._token
