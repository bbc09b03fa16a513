"""A task instance as our operators see one: it runs an operator and records what it pushes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Self

from airflow_provider_paperspace.emulator.app import SeenRequest
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer

RUN_AT = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


class Task:
    """Runs one operator.

    :param at: the end of the run's data interval.
    :param dag_run: more of the run, such as ``run_type``; scheduled if empty.
    """

    dag_id, run_id, map_index, try_number, max_tries = "dag", "run", -1, 1, 2

    def __init__(
        self, kind: type[Any], *, at: datetime | None = RUN_AT, dag_run: dict[str, Any] | None = None, **arguments: Any
    ) -> None:
        self.task_id = "task"
        self.operator = kind(task_id=self.task_id, **arguments)
        self.pushed: dict[str, Any] = {}
        self.links: dict[str, str] = {}
        self.context: Any = {"ti": self, "data_interval_end": at, "dag_run": SimpleNamespace(**(dag_run or {}))}

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
    """Return the requests so far."""
    return server.requests


def rendered(kind: type[Any], field: str, value: Any, **arguments: Any) -> Task:
    """Return a task of which a template field was rendered to this value."""
    task = Task(kind, **{**arguments, field: "{{ value }}"})
    setattr(task.operator, field, value)
    return task


def writes(server: LocalPaperspaceServer) -> list[str]:
    """Return what was written, as ``POST /projects/p1/tags``."""
    return [f"{request.method} {request.target}" for request in server.requests if request.method != "GET"]


def names(tags: list[dict[str, Any]]) -> list[str]:
    return [tag["name"] for tag in tags]
