"""Operators for the tags of Paperspace projects: import them from here.

A task is for one project (``project_id``, or ``project_name``) or for many (``project_ids``). Tags are returned as
plain JSON under the API's own keys::

    [{"id": 7, "name": "nightly", "dtCreated": "2026-03-02T09:15:00.000Z"}]

so that one task's output is the next one's ``tags``; for many projects, in an object by project id. All are safe to
repeat: a write that finds its work done changes nothing. A project that does not exist fails the task at once.
"""

from __future__ import annotations

from airflow_provider_paperspace.operators.project_tag_change import (
    AddProjectTagOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
)
from airflow_provider_paperspace.operators.project_tag_clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.project_tag_lease import ProjectTagLease
from airflow_provider_paperspace.operators.project_tag_list import ListProjectTagsOperator
from airflow_provider_paperspace.operators.project_tag_undo import UndoProjectTagChangeOperator

__all__ = [
    "AddProjectTagOperator",
    "CleanUpProjectTagsOperator",
    "ListProjectTagsOperator",
    "ProjectTagLease",
    "RemoveProjectTagOperator",
    "SetProjectTagsOperator",
    "UndoProjectTagChangeOperator",
]
