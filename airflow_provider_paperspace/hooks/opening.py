"""The hook as a task uses it: opened late, and with what a retry of the task cannot mend told apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_paperspace._compat import AirflowFailException, AirflowNotFoundException
from airflow_provider_paperspace.api.errors import ApiError, PaperspaceError, ProjectNameError, TagNotFoundError
from airflow_provider_paperspace.arguments import project_id_of

if TYPE_CHECKING:
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

BEYOND_RETRY: Final = frozenset({400, 401, 403, 404, 405, 412, 413, 422})
"""Statuses that stay the same however often a task is tried. After any other error Airflow may retry the task."""


@contextmanager
def open_hook(paperspace_conn_id: str, task_id: str) -> Iterator[PaperspaceHook]:
    """Open the hook for a ``with`` block.

    :raises AirflowFailException: in the block, something failed that a retry of the task cannot mend.
    """
    # Not before it is needed: the hook brings requests, which no DAG file should load to be parsed.
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

    try:
        with PaperspaceHook(paperspace_conn_id) as hook:
            yield hook
    except PaperspaceError as error:
        if is_beyond_retry(error):
            raise AirflowFailException(str(error)) from error
        raise
    except (TypeError, ValueError) as error:
        raise AirflowFailException(f"Task {task_id!r}: {error}") from error


def find_project_id(hook: PaperspaceHook, project_id: Any, project_name: Any) -> str:
    """Give the id of the project that a task names, by its name if it has one, or else by its id."""
    return project_id_of(project_id) if project_name is None else hook.resolve_project_id(project_name)


def is_beyond_retry(error: BaseException) -> bool:
    """Say whether the same work, tried again, would fail the same way."""
    if isinstance(error, ApiError):
        return error.status in BEYOND_RETRY
    lasting = (ProjectNameError, TagNotFoundError, AirflowNotFoundException, TypeError, ValueError)
    return isinstance(error, lasting)
