"""The retry policy: when a task comes back after each kind of failure, and what Airflow stores of it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowOptionalProviderFeatureException

from airflow_provider_paperspace.api.errors import (
    ApiError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TransportError,
)
from airflow_provider_paperspace.operators._base import ProjectsFailedError
from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator
from tests.test_imports import DAG as DAG_FILE
from tests.test_imports import loaded_by

HAS_RETRY_POLICIES = tuple(map(int, airflow.__version__.split(".")[:2])) >= (3, 3)
needs_retry_policies = pytest.mark.skipif(not HAS_RETRY_POLICIES, reason="retry policies begin with Airflow 3.3")


@pytest.mark.skipif(HAS_RETRY_POLICIES, reason="this Airflow has retry policies")
def test_an_airflow_without_retry_policies_is_told_so() -> None:
    with pytest.raises(AirflowOptionalProviderFeatureException, match=r"needs the retry policies of Airflow 3\.3"):
        import airflow_provider_paperspace.retry_policy  # noqa: F401


@pytest.fixture
def policy() -> Any:
    from airflow_provider_paperspace.retry_policy import PaperspaceRetryPolicy

    return PaperspaceRetryPolicy()


@needs_retry_policies
@pytest.mark.parametrize(
    ("error", "delay_s"),
    [
        (RateLimitError(429, "", "", retry_after_s=3600.0), 3600),
        (RateLimitError(429, "", "", retry_after_s=7.0), 7),
        (ServerError(503, "", "", retry_after_s=600.0), 600),
        (ProjectsFailedError("1 of 2 projects failed", 3600.0), 3600),
    ],
)
def test_a_task_comes_back_when_the_service_asks(policy: Any, error: Exception, delay_s: int) -> None:
    decision = policy.evaluate(error, try_number=1, max_tries=3)
    assert (decision.action.value, decision.retry_delay) == ("retry", timedelta(seconds=delay_s))
    assert decision.reason == f"Paperspace asked for a wait of {delay_s} s"


@needs_retry_policies
@pytest.mark.parametrize(
    "error",
    [
        RateLimitError(429, "", ""),
        RateLimitError(429, "", "", retry_after_s=0.0),
        ApiError(500, "", ""),
        NotFoundError(404, "", "", retry_after_s=3600.0),
        TransportError("reset"),
        ProjectsFailedError("1 of 2 projects failed"),
        AirflowException("another"),
        KeyboardInterrupt(),
        type("Foreign", (Exception,), {"retry_after_s": "soon"})(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_other_failure_is_left_to_the_task(policy: Any, error: BaseException) -> None:
    decision = policy.evaluate(error, 1, 3, context={})
    assert (decision.action.value, decision.retry_delay) == ("default", None)


@needs_retry_policies
def test_a_policy_survives_as_json(policy: Any) -> None:
    stored = json.loads(json.dumps(policy.serialize()))
    assert stored == {"__type": "airflow_provider_paperspace.retry_policy.PaperspaceRetryPolicy"}
    assert type(policy).deserialize(stored) == policy


@needs_retry_policies
def test_one_line_sets_the_policy_for_all_tasks_of_a_dag(policy: Any) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("waits", schedule=None, default_args={"retries": 3, "retry_policy": policy}) as dag:
        task = AddProjectTagOperator(task_id="add", project_id="p", tags="x")
        mapped = AddProjectTagOperator.partial(task_id="many", tags="x").expand(project_id=["p", "q"])
    assert task.retry_policy == mapped.retry_policy == policy
    assert "has_retry_policy" in json.dumps(DagSerialization.to_dict(dag))


@needs_retry_policies
def test_importing_the_module_loads_no_http_library() -> None:
    with_ours = loaded_by("import airflow_provider_paperspace.retry_policy")
    assert not {"requests", "aiohttp", "tenacity"} & (with_ours - loaded_by(DAG_FILE))
