"""Airflow's triggers, in a module of their own: parsing a DAG file with operators needs none of it."""

from __future__ import annotations

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import BaseTrigger, TriggerEvent

HAS_EVENT_TRIGGERS = BaseEventTrigger is not BaseTrigger
"""Whether this Airflow has event-driven scheduling, as 3.0 and later do."""

__all__ = ["HAS_EVENT_TRIGGERS", "BaseEventTrigger", "BaseTrigger", "TriggerEvent"]
