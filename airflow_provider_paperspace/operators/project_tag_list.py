"""The operator that lists the tags of projects."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace.operators.for_projects import ProjectOperator

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.api.models import Tag, TagJson
    from airflow_provider_paperspace.api.protocol import Order
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)

_NAMES_IN_LOG = 20


class ListProjectTagsOperator(ProjectOperator):
    """List the tags of a project, or of many.

    Returns all of them, each name once; for many projects, in an object by project id.

    :param order: by creation, ``desc`` newest first or ``asc`` oldest first.
    """

    def __init__(self, *, order: Order = "desc", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.order = order

    def prepare(self, context: Context) -> None:
        """Nothing to check: the client refuses an order that is none."""

    def on_one(self, hook: PaperspaceHook, project_id: str) -> list[Tag]:
        """Read all pages of the only project."""
        tags = hook.list_project_tags(project_id, order=self.order)
        names = ", ".join(repr(tag.name) for tag in tags[:_NAMES_IN_LOG])
        more = f" and {len(tags) - _NAMES_IN_LOG} more" if len(tags) > _NAMES_IN_LOG else ""
        log.info("Project %r: %d tags%s%s", project_id, len(tags), f": {names}" if tags else "", more)
        return tags

    async def on_one_of_many(self, client: AsyncPaperspaceClient, project_id: str) -> list[Tag]:
        """Read all pages of one of many projects."""
        return await client.list_project_tags(project_id, order=self.order)

    def result_of(self, project_id: str, value: list[Tag], context: Context) -> list[TagJson]:
        """Give the tags."""
        return [tag.as_json() for tag in value]
