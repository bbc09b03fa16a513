"""Airflow's retry policies, in a module of their own: only Airflow 3.3 and later have them."""

from __future__ import annotations

try:
    from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
except ImportError:
    HAS_RETRY_POLICIES = False
else:
    HAS_RETRY_POLICIES = True

__all__ = ["HAS_RETRY_POLICIES", "RetryDecision", "RetryPolicy"]
