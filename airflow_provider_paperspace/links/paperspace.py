"""The button that leads from a task to its project in the Paperspace console.

The address needs the team's namespace, which the worker asks for while the task runs and stores, with the rest, as an
XCom. Airflow 3 shows that XCom; Airflow 2 has its webserver call :meth:`PaperspaceProjectLink.get_link`, which reads
it. Neither calls the API.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from airflow_provider_paperspace._compat import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import BaseOperator, TaskInstanceKey
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)

LINK_TIMEOUT_S: Final = 5.0


class PaperspaceProjectLink(BaseOperatorLink):
    """A button to the project's page in the console, or to the team's projects if a task has many."""

    name = "Paperspace project"
    xcom_key = "_link_PaperspaceProjectLink"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address that the task stored, or an empty string."""
        try:
            return XCom.get_value(key=self.xcom_key, ti_key=ti_key) or ""
        except Exception:
            log.debug("No link stored for %s", ti_key, exc_info=True)
            return ""


def push_link(context: Mapping[str, Any], hook: PaperspaceHook, project_id: str | None = None) -> None:
    """Store a task's link: to one project, or to all of the team's. Without a session there is no link."""
    ti = context.get("ti")
    if ti is None:
        return
    try:
        url = console_url(hook, project_id)
        if url is not None:
            ti.xcom_push(key=PaperspaceProjectLink.xcom_key, value=url)
    except Exception as error:  # noqa: BLE001  # a task must not fail because of its button
        log.info("No link to the Paperspace console: %s", error)


def console_url(hook: PaperspaceHook, project_id: str | None = None) -> str | None:
    """Return the console's page of a project, or of all projects; None when the key is not accepted."""
    from airflow_provider_paperspace.api.client import PaperspaceClient

    settings = hook.settings
    quick = replace(settings.client, timeout_s=min(LINK_TIMEOUT_S, settings.client.timeout_s), max_attempts=1)
    with PaperspaceClient(quick) as client:
        session = client.get_session()
    if session is None:
        return None
    projects = f"{settings.console_url}/{quote(session.team_namespace, safe='')}/projects"
    return projects if project_id is None else f"{projects}/{quote(project_id, safe='')}"
