"""Operators for projects themselves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace.api.conditions import TagCondition
from airflow_provider_paperspace.api.errors import NotFoundError
from airflow_provider_paperspace.api.matching import first_match
from airflow_provider_paperspace.arguments import Patterns, patterns
from airflow_provider_paperspace.links.paperspace import push_link
from airflow_provider_paperspace.operators.for_projects import ManyProjectsOperator

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.api.models import Project, ProjectJson

log = logging.getLogger(__name__)


class ListProjectsOperator(ManyProjectsOperator):
    """List the team's projects, for a task that is mapped over them or takes them as ``project_ids``.

    Deleted projects are left out. Filtering by tags reads the tags of each project that the name lets through, so
    many at a time: the service has no such filter. Returns projects as plain JSON under the API's own keys::

        [{"id": "prmximcci", "name": "vision-training", "dtCreated": "...", "repoUrl": null}]

    :param name: names or patterns such as ``vision-*``; a project passes that matches one of them. Templated.
    :param tagged: names or patterns of tags; a project passes that has a match for each of them. Templated.
    :param untagged: names or patterns of tags; a project passes that has a match for none of them. Templated.
    """

    template_fields: Sequence[str] = ("name", "tagged", "untagged", "paperspace_conn_id")

    def __init__(
        self,
        *,
        name: Patterns = (),
        tagged: Patterns = (),
        untagged: Patterns = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.tagged = tagged
        self.untagged = untagged

    def execute(self, context: Context) -> list[ProjectJson]:
        """Read the projects, and the tags of those that the name lets through."""
        with self.open_hook() as hook:
            names = patterns(self.name, "name")
            tagged, untagged = patterns(self.tagged, "tagged"), patterns(self.untagged, "untagged")
            conditions = (TagCondition(tagged, "all"), TagCondition(untagged, "none"))
            push_link(context, hook)
            living = [project for project in hook.iter_projects() if project.dt_deleted is None]
            chosen = [project for project in living if not names or first_match(project.name, names) is not None]
            if tagged or untagged:

                async def passes(client: AsyncPaperspaceClient, project_id: str) -> bool:
                    try:
                        there = await client.list_project_tags(project_id)
                    except NotFoundError:
                        log.info("Project %r was deleted while this task ran", project_id)
                        return False
                    return all(condition.look(there).is_met for condition in conditions)

                outcome = self.run_for_projects(hook, [project.id for project in chosen], passes)
                self.raise_for(outcome)
                chosen = [project for project in chosen if outcome.done[project.id]]
        log.info("%d of %d projects%s", len(chosen), len(living), _listed(chosen))
        return [project.as_json() for project in chosen]


def _listed(projects: Sequence[Project]) -> str:
    names = ", ".join(repr(project.name) for project in projects[:20])
    return f": {names}{' and more' if len(projects) > 20 else ''}" if projects else ""
