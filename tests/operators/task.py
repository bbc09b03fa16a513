"""A task instance as our operators see one: it runs an operator and records what it pushes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Self

from airflow_provider_paperspace.emulator.app import SeenRequest
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer

RUN_AT = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


class Task:
    """Runs one operator.

    :param at: the end of the run's data interval.
    """

    dag_id, run_id, map_index, try_number, max_tries = "dag", "run", -1, 1, 2

    def __init__(self, kind: type[Any], *, at: datetime | None = RUN_AT, **arguments: Any) -> None:
        self.task_id = "task"
        self.operator = kind(task_id=self.task_id, **arguments)
        self.pushed: dict[str, Any] = {}
        self.links: dict[str, str] = {}
        self.context: Any = {"ti": self, "data_interval_end": at}

    def with_store(self, store: dict[str, Any], *, try_number: int = 1) -> Self:
        """Add a store that outlives a retry, as Airflow 3.3 has one.

        :param store: what it contains, as JSON by key.
        """
        self.try_number = try_number
        self.context["task_state_store"] = Store(store)
        return self

    def xcom_push(self, key: str, value: Any) -> None:
        (self.links if key.startswith("_link_") else self.pushed)[key] = value

    def run(self) -> Any:
        return self.operator.execute(self.context)


class Store:
    def __init__(self, contents: dict[str, Any]) -> None:
        self._contents = contents

    def get(self, key: str) -> Any:
        return json.loads(self._contents[key]) if key in self._contents else None

    def set(self, key: str, value: Any) -> None:
        self._contents[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        del self._contents[key]


def asked(server: LocalPaperspaceServer) -> list[SeenRequest]:
    """Return the requests, except the one that a task makes for its link."""
    return [request for request in server.requests if request.target != "/auth/session"]


def names(tags: list[dict[str, Any]]) -> list[str]:
    return [tag["name"] for tag in tags]
