"""Airflow's triggers, apart from the rest: the operators need none of it when a DAG file is parsed."""

from __future__ import annotations

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import BaseTrigger, TriggerEvent

HAS_EVENT_TRIGGERS = BaseEventTrigger is not BaseTrigger
"""Whether this Airflow starts DAGs by events: from 3.0 on."""

__all__ = ["HAS_EVENT_TRIGGERS", "BaseEventTrigger", "BaseTrigger", "TriggerEvent"]
