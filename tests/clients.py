"""Both clients behind one blocking interface, so that each scenario runs through both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from airflow_provider_paperspace.api._messages import Flow
from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.api.client import PaperspaceClient
from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.api.settings import ClientSettings

T = TypeVar("T")


class Client:
    """Calls the methods of one client.

    ``slept`` holds the seconds that it would have waited; it never sleeps.
    """

    def __init__(self, settings: ClientSettings, *, on_sleep: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.slept: list[float] = []
        self._on_sleep = on_sleep
        self._real = self._open()

    def run(self, flow: Flow[T]) -> T:
        result: T = self._call("run", flow)
        return result

    def add(self, project_id: Any, names: Any) -> list[str]:
        return names_of(self._call("add_project_tags", project_id, names))

    def remove(self, project_id: Any, names: Any, **options: Any) -> list[str]:
        return names_of(self._call("remove_project_tags", project_id, names, **options))

    def set(self, project_id: Any, names: Any, **options: Any) -> tuple[list[str], list[str]]:
        """Return the names that were added, and those that were removed."""
        change = self._call("set_project_tags", project_id, names, **options)
        return names_of(change.added), names_of(change.removed)

    def converge(self, project_id: Any, policy: Policy, change: TagChange | None = None) -> TagChange:
        result: TagChange = self._call("converge_project_tags", project_id, policy, change)
        return result

    def list(self, project_id: Any, **options: Any) -> list[str]:
        return names_of(self._call("list_project_tags", project_id, **options))

    def iterate(self, project_id: Any, **options: Any) -> list[str]:
        return names_of(self._collect("iter_project_tags", project_id, **options))

    def projects(self, **options: Any) -> list[Project]:
        return self._collect("iter_projects", **options)

    def project(self, project_id: Any) -> Project:
        return self._call("get_project", project_id)

    def resolve(self, name: Any) -> str:
        return self._call("resolve_project_id", name)

    def session(self) -> Session | None:
        return self._call("get_session")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _note(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._on_sleep()

    def _open(self) -> Any: ...

    def _call(self, name: str, *args: Any, **options: Any) -> Any: ...

    def _collect(self, name: str, *args: Any, **options: Any) -> Any: ...

    def close(self) -> None: ...


class SyncClient(Client):
    def _open(self) -> PaperspaceClient:
        return PaperspaceClient(self.settings, sleep=self._note)

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        return getattr(self._real, name)(*args, **options)

    def _collect(self, name: str, *args: Any, **options: Any) -> Any:
        return list(getattr(self._real, name)(*args, **options))

    def close(self) -> None:
        self._real.close()


class AsyncClient(Client):
    def _open(self) -> AsyncPaperspaceClient:
        # Not in debug mode, which test_async_client.py covers: it takes a stack for each future, half the time here.
        self._runner = asyncio.Runner()

        async def sleep(seconds: float) -> None:
            self._note(seconds)

        async def open_client() -> AsyncPaperspaceClient:
            # Time passes by sleeping alone: a pause of all requests is over once it was slept.
            return AsyncPaperspaceClient(self.settings, sleep=sleep, clock=lambda: sum(self.slept))

        try:
            return self._runner.run(open_client())
        except BaseException:
            self._runner.close()
            raise

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        return self._runner.run(getattr(self._real, name)(*args, **options))

    def _collect(self, name: str, *args: Any, **options: Any) -> Any:
        async def collect() -> list[Any]:
            return [item async for item in getattr(self._real, name)(*args, **options)]

        return self._runner.run(collect())

    def close(self) -> None:
        self._runner.run(self._real.aclose())
        self._runner.close()


def names_of(tags: Iterable[Tag]) -> list[str]:
    return [tag.name for tag in tags]
