"""Operators for projects themselves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_paperspace._arguments import (
    NOT_SET,
    NotSet,
    Patterns,
    is_constant,
    naming_task,
    parse_bool,
    parse_patterns,
)
from airflow_provider_paperspace._quoting import count_of, quoted_list
from airflow_provider_paperspace.api.errors import InvalidArgumentError, NotFoundError
from airflow_provider_paperspace.api.project_tags import list_project_tags
from airflow_provider_paperspace.links.paperspace import set_link
from airflow_provider_paperspace.operators._base import PaperspaceOperator, raise_for_failures
from airflow_provider_paperspace.operators._batch import DEFAULT_MAX_CONCURRENCY
from airflow_provider_paperspace.rules.patterns import Pattern, first_match
from airflow_provider_paperspace.rules.watching import TagCondition

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import ProjectJson

log = logging.getLogger(__name__)


class ListProjectsOperator(PaperspaceOperator):
    """List the team's projects, for a task that is mapped over them or takes them as ``project_ids``.

    Deleted projects are left out. The service cannot filter by tags, so a filter by tags reads the tags of each project
    that passes the name filter, several at a time. Returns plain JSON with the keys of the API::

        [{"id": "prmximcci", "name": "vision-training", "dtCreated": "...", "repoUrl": null}]

    :param name: names or patterns such as ``vision-*``; a project must match one of them. If a name without a wildcard
        matches no project, the task fails. Templated.
    :param tagged: names or patterns of tags; a project must have a matching tag for each. Templated.
    :param untagged: names or patterns of tags; a project must have no matching tag. Templated.
    :param missing_ok: whether to allow a ``name`` that no project has.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: the arguments of every operator, such as ``retries`` and ``outlets``.
    """

    template_fields: Sequence[str] = ("name", "tagged", "untagged", "paperspace_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(("name", "tagged", "untagged"), "json")

    def __init__(
        self,
        *,
        name: Patterns | NotSet = NOT_SET,
        tagged: Patterns | NotSet = NOT_SET,
        untagged: Patterns | NotSet = NOT_SET,
        missing_ok: bool = False,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(max_concurrency=max_concurrency, paperspace_conn_id=paperspace_conn_id, **kwargs)
        self.name = name
        self.tagged = tagged
        self.untagged = untagged
        self.missing_ok = missing_ok
        self.check_constants()

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        with naming_task(self.task_id):
            parse_bool(self.missing_ok, "missing_ok")
            for argument in ("name", "tagged", "untagged"):
                if is_constant(getattr(self, argument)):
                    parse_patterns(getattr(self, argument), argument)

    def execute(self, context: Context) -> list[ProjectJson]:
        """Return the projects that pass the filters."""
        with self.open_hook() as hook:
            names = parse_patterns(self.name, "name")
            tagged, untagged = parse_patterns(self.tagged, "tagged"), parse_patterns(self.untagged, "untagged")
            set_link(self, context, hook.settings)
            existing = self.list_projects(hook)
            chosen = [project for project in existing if not names or first_match(project.name, names) is not None]
            if not parse_bool(self.missing_ok, "missing_ok"):
                _check_found(names, [project.name for project in existing])
            if tagged or untagged:
                conditions = (TagCondition(tagged, "all"), TagCondition(untagged, "none"))
                result = self.run_batch(
                    hook,
                    [project.id for project in chosen],
                    lambda project_id: _meets(project_id, conditions),
                )
                raise_for_failures(result)
                chosen = [project for project in chosen if result.done[project.id]]
        listed = quoted_list(project.name for project in chosen) or "none"
        log.info("%d of %s: %s", len(chosen), count_of(len(existing), "project"), listed)
        return [project.as_json() for project in chosen]


def _meets(project_id: str, conditions: Sequence[TagCondition]) -> Flow[bool]:
    """Read a project's tags and return whether they meet all conditions; False if it has been deleted."""
    try:
        tags = yield from list_project_tags(project_id)
    except NotFoundError:
        log.info("Project %r was deleted while this task ran", project_id)
        return False
    return all(condition.match(tags).is_met for condition in conditions)


def _check_found(patterns: Sequence[Pattern], existing: Sequence[str]) -> None:
    """Require a project for each name without a wildcard."""
    missing = [p.text for p in patterns if not p.has_wildcard and p.text not in existing]
    if not missing:
        return
    similar = {name: get_close_matches(name, existing, n=3) for name in missing}
    hints = [
        f"{name!r} (similar: {', '.join(map(repr, found))})" if found else repr(name) for name, found in similar.items()
    ]
    raise InvalidArgumentError(
        f"no project is named {' or '.join(hints)}. Check the spelling (case and spaces count), or set missing_ok=True."
    )
