"""Operators for projects themselves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace._arguments import Patterns, parse_patterns
from airflow_provider_paperspace.api.errors import NotFoundError
from airflow_provider_paperspace.api.project_tags import list_project_tags
from airflow_provider_paperspace.links.paperspace import push_link
from airflow_provider_paperspace.operators._base import PaperspaceOperator, raise_for_failures
from airflow_provider_paperspace.operators._batch import DEFAULT_MAX_CONCURRENCY
from airflow_provider_paperspace.rules.patterns import first_match
from airflow_provider_paperspace.rules.watching import TagCondition

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import Project, ProjectJson

log = logging.getLogger(__name__)

_MAX_NAMES_IN_LOG = 20


class ListProjectsOperator(PaperspaceOperator):
    """List the team's projects, for a task that is mapped over them or takes them as ``project_ids``.

    Deleted projects are left out. A filter by tags reads the tags of each project that the name filter lets through,
    several at a time, because the service has no such filter. Returns plain JSON under the API's own keys::

        [{"id": "prmximcci", "name": "vision-training", "dtCreated": "...", "repoUrl": null}]

    :param name: names or patterns such as ``vision-*``; a project must match one of them. Templated.
    :param tagged: names or patterns of tags; a project must have a matching tag for each. Templated.
    :param untagged: names or patterns of tags; a project must have no matching tag. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    """

    template_fields: Sequence[str] = ("name", "tagged", "untagged", "paperspace_conn_id")

    def __init__(
        self,
        *,
        name: Patterns = (),
        tagged: Patterns = (),
        untagged: Patterns = (),
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(paperspace_conn_id=paperspace_conn_id, **kwargs)
        self.name = name
        self.tagged = tagged
        self.untagged = untagged
        self.max_concurrency = max_concurrency

    def execute(self, context: Context) -> list[ProjectJson]:
        """Return the projects that pass the filters."""
        with self.open_hook() as hook:
            names = parse_patterns(self.name, "name")
            tagged, untagged = parse_patterns(self.tagged, "tagged"), parse_patterns(self.untagged, "untagged")
            push_link(context, hook)
            existing = [project for project in hook.iter_projects() if project.dt_deleted is None]
            chosen = [project for project in existing if not names or first_match(project.name, names) is not None]
            if tagged or untagged:
                conditions = (TagCondition(tagged, "all"), TagCondition(untagged, "none"))
                result = self.run_batch(
                    hook,
                    [project.id for project in chosen],
                    lambda project_id: _meets(project_id, conditions),
                    max_concurrency=self.max_concurrency,
                )
                raise_for_failures(result)
                chosen = [project for project in chosen if result.done[project.id]]
        log.info("%d of %d projects%s", len(chosen), len(existing), _listed(chosen))
        return [project.as_json() for project in chosen]


def _meets(project_id: str, conditions: Sequence[TagCondition]) -> Flow[bool]:
    """Read a project's tags and return whether they meet all conditions; False if it was deleted meanwhile."""
    try:
        tags = yield from list_project_tags(project_id)
    except NotFoundError:
        log.info("Project %r was deleted while this task ran", project_id)
        return False
    return all(condition.match(tags).is_met for condition in conditions)


def _listed(projects: Sequence[Project]) -> str:
    names = ", ".join(repr(project.name) for project in projects[:_MAX_NAMES_IN_LOG])
    return f": {names}{' and more' if len(projects) > _MAX_NAMES_IN_LOG else ''}" if projects else ""
