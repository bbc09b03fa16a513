"""The retry policy that retries a task after the wait that Paperspace asked for: Airflow 3.3 or later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_paperspace._compat import AirflowOptionalProviderFeatureException
from airflow_provider_paperspace._compat.retry_policies import HAS_RETRY_POLICIES

if not HAS_RETRY_POLICIES:
    raise AirflowOptionalProviderFeatureException(
        "PaperspaceRetryPolicy needs the retry policies of Airflow 3.3 and later. "
        "On earlier versions, set retry_delay on the task."
    )

from airflow_provider_paperspace._compat.retry_policies import RetryDecision, RetryPolicy
from airflow_provider_paperspace.api.errors import PaperspaceError
from airflow_provider_paperspace.hooks.paperspace import is_permanent
from airflow_provider_paperspace.operators._base import ProjectsFailedError

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context


@dataclass(frozen=True)
class PaperspaceRetryPolicy(RetryPolicy):
    """Retry a task after the wait that Paperspace asked for, instead of after its ``retry_delay``.

    Set it for one task, or for all tasks of a DAG::

        default_args={"retries": 3, "retry_policy": PaperspaceRetryPolicy()}

    It applies to a task that fails because Paperspace asked it to wait (``Retry-After``): for more than 120 seconds,
    which is longer than a client waits, or for a shorter time in the response to the last attempt. If a task has many
    projects, the longest wait counts. A wait of more than a day counts as a day. Every other failure is left to the
    task's own ``retries`` and ``retry_delay``.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Return when to retry after this failure."""
        seconds = exception.retry_after_s if isinstance(exception, (PaperspaceError, ProjectsFailedError)) else None
        if not seconds or is_permanent(exception):
            return RetryDecision.default()
        return RetryDecision.retry(timedelta(seconds=seconds), f"Paperspace asked for a wait of {seconds:.0f} s")

    def serialize(self) -> dict[str, Any]:
        """Return the policy as plain JSON. It has no settings."""
        return {"__type": f"{type(self).__module__}.{type(self).__qualname__}"}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """Return the policy from what :meth:`serialize` returned."""
        return cls()
