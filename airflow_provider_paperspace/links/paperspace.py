"""The button that leads from a task to its project in the Paperspace console.

The address is built from the connection's *Team* field, without a request. Airflow 3 calls
:meth:`PaperspaceProjectLink.get_link` in the worker when a task ends, and stores the result; Airflow 2 calls it in its
webserver, where the address is read from an XCom.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_paperspace._compat import IS_AIRFLOW_2, BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import BaseOperator, Context, TaskInstanceKey
    from airflow_provider_paperspace.hooks.connection import ConnectionSettings

log = logging.getLogger(__name__)

_ATTRIBUTE = "paperspace_console_url"


class PaperspaceProjectLink(BaseOperatorLink):
    """A button to the project's page in the console, or to the team's projects if a task has many.

    It needs *Team* on the connection; without it, Airflow 3 hides the button and Airflow 2 disables it.
    """

    name = "Paperspace project"
    xcom_key = "_link_PaperspaceProjectLink"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the task's project, or an empty string."""
        url: str = getattr(operator, _ATTRIBUTE, "")
        if url or not IS_AIRFLOW_2:
            return url
        try:
            return XCom.get_value(key=self.xcom_key, ti_key=ti_key) or ""
        except Exception:
            log.debug("No link stored for %s", ti_key, exc_info=True)
            return ""


def set_link(operator: Any, context: Context, settings: ConnectionSettings, project_id: str | None = None) -> None:
    """Set the address of a task's button: the page of one project, or of all the team's projects."""
    url = console_url(settings, project_id)
    restore_link(operator, url)
    ti: Any = context.get("ti")
    if url and IS_AIRFLOW_2 and ti is not None:
        ti.xcom_push(key=PaperspaceProjectLink.xcom_key, value=url)


def link_of(operator: Any) -> str:
    """Return the address of a task's button, to restore it after a deferral; empty if it has none."""
    url: str = getattr(operator, _ATTRIBUTE, "")
    return url


def restore_link(operator: Any, url: str) -> None:
    """Set the address of a task's button again, in the process that continues after a deferral."""
    setattr(operator, _ATTRIBUTE, url)
    if not url and not IS_AIRFLOW_2:
        # For each button of a task, Airflow asks its API server to store an address, even an empty one.
        links = operator.operator_extra_links
        operator.operator_extra_links = [link for link in links if not isinstance(link, PaperspaceProjectLink)]


def console_url(settings: ConnectionSettings, project_id: str | None = None) -> str:
    """Return the console URL of a project, or of all projects; empty if the connection has no team."""
    if not settings.team:
        return ""
    projects = f"{settings.console_url}/{quote(settings.team, safe='')}/projects"
    return projects if project_id is None else f"{projects}/{quote(project_id, safe='')}"
