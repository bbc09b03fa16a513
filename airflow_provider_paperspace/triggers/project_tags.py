"""Triggers for the tags of Paperspace projects: import them from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace.triggers.project_tag_wait import ProjectTagTrigger

if TYPE_CHECKING:
    from airflow_provider_paperspace.triggers.project_tag_event import ProjectTagEventTrigger

__all__ = ["ProjectTagEventTrigger", "ProjectTagTrigger"]


def __getattr__(name: str) -> Any:
    """Load the trigger that Airflow 2 cannot have, and say so there."""
    if name != "ProjectTagEventTrigger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_provider_paperspace.triggers import project_tag_event

    return project_tag_event.ProjectTagEventTrigger
