"""Operators that list, add and remove the tags of a Paperspace project.

Each returns tags as plain JSON under the API's own keys::

    [{"id": 7, "name": "nightly", "dtCreated": "2026-03-02T09:15:00.000Z"}]

so that one task's output is the next one's ``tags``. All are safe to repeat: a write that finds its work done
changes nothing. A project that does not exist fails the task at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace.operators.base import PaperspaceBaseOperator
from airflow_provider_paperspace.operators.tag_names import tag_names

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.models import Tag, TagJson
    from airflow_provider_paperspace.api.protocol import Order

log = logging.getLogger(__name__)

Tags = str | Sequence[str] | Sequence[dict[str, Any]]


class AddProjectTagOperator(PaperspaceBaseOperator):
    """Put one or many tags on a project; those already there stay.

    Returns the tags now there, in the order asked.

    :param project_id: the project's id, such as ``prmximcci``: the end of its address in the console. Templated.
    :param tags: a name, a list of names, or a list of tags as another task returned them. Templated.
    :param paperspace_conn_id: the connection's id. Templated.
    """

    template_fields: Sequence[str] = ("project_id", "tags", "paperspace_conn_id")

    def __init__(self, *, project_id: str, tags: Tags, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_id = project_id
        self.tags = tags

    def execute(self, context: Context) -> list[TagJson]:
        """Add what is missing."""
        with self.open_hook() as hook:
            return _as_json(hook.add_project_tags(self.project_id, tag_names(self.tags)))


class RemoveProjectTagOperator(PaperspaceBaseOperator):
    """Take one or many tags off a project, this project only.

    Returns the tags that were taken off.

    :param project_id: the project's id, such as ``prmximcci``: the end of its address in the console. Templated.
    :param tags: a name, a list of names, or a list of tags as another task returned them. Templated.
    :param missing_ok: whether a tag that is not there is well. If not, the task fails and nothing is removed.
    :param paperspace_conn_id: the connection's id. Templated.
    """

    template_fields: Sequence[str] = ("project_id", "tags", "paperspace_conn_id")

    def __init__(self, *, project_id: str, tags: Tags, missing_ok: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_id = project_id
        self.tags = tags
        self.missing_ok = missing_ok

    def execute(self, context: Context) -> list[TagJson]:
        """Remove what is there."""
        with self.open_hook() as hook:
            names = tag_names(self.tags)
            return _as_json(hook.remove_project_tags(self.project_id, names, missing_ok=self.missing_ok))


class ListProjectTagsOperator(PaperspaceBaseOperator):
    """List a project's tags.

    Returns all of them, each name once.

    :param project_id: the project's id, such as ``prmximcci``: the end of its address in the console. Templated.
    :param order: by creation, ``desc`` newest first or ``asc`` oldest first.
    :param paperspace_conn_id: the connection's id. Templated.
    """

    template_fields: Sequence[str] = ("project_id", "paperspace_conn_id")

    def __init__(self, *, project_id: str, order: Order = "desc", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_id = project_id
        self.order = order

    def execute(self, context: Context) -> list[TagJson]:
        """Read all pages."""
        with self.open_hook() as hook:
            tags = hook.list_project_tags(self.project_id, order=self.order)
        names = ", ".join(repr(tag.name) for tag in tags[:_NAMES_IN_LOG])
        more = f" and {len(tags) - _NAMES_IN_LOG} more" if len(tags) > _NAMES_IN_LOG else ""
        log.info("Project %r: %d tags%s%s", self.project_id, len(tags), f": {names}" if tags else "", more)
        return _as_json(tags)


_NAMES_IN_LOG = 20


def _as_json(tags: Iterable[Tag]) -> list[TagJson]:
    return [tag.as_json() for tag in tags]
