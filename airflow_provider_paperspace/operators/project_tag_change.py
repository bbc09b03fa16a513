"""Operators that change the tags of projects: add, remove, set."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import PaperspaceError
from airflow_provider_paperspace.arguments import flag, tag_names
from airflow_provider_paperspace.operators.change_records import XCOM_KEY, ChangeRecord, record_of_plan, records_of
from airflow_provider_paperspace.operators.expiry import names_that_expire
from airflow_provider_paperspace.operators.for_projects import ProjectOperator
from airflow_provider_paperspace.operators.outcomes import push

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.api.models import Tag, TagChange, TagJson
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)

Tags = str | Sequence[str] | Sequence[dict[str, Any]]


class ProjectTagsChangeOperator(ProjectOperator):
    """An operator that changes tags: it says what it wants, and keeps what it changed as XCom ``change``."""

    records: dict[str, ChangeRecord]
    """What the task has changed, by project id."""

    @abstractmethod
    def policy(self, context: Context) -> policies.Policy:
        """Say what the tags are to become, out of the arguments."""

    def prepare(self, context: Context) -> None:
        """Read the arguments."""
        # So that an undo finds nothing to do, rather than no record, should this task fail before its first write.
        push(context, XCOM_KEY, {})
        self._policy = self.policy(context)

    def on_one(self, hook: PaperspaceHook, project_id: str) -> TagChange:
        """Change the tags of the only project."""
        return hook.converge_project_tags(project_id, self._policy)

    async def on_one_of_many(self, client: AsyncPaperspaceClient, project_id: str) -> TagChange:
        """Change the tags of one of many projects."""
        return await client.converge_project_tags(project_id, self._policy)

    def keep(self, values: Mapping[str, TagChange], context: Context, *, many: bool, tried_again: bool) -> None:
        """Push the records of what was changed as XCom ``change``: one, or one for each project id."""
        self.records = records_of(values, context, tried_again=tried_again)
        push(context, XCOM_KEY, self.records if many else self.records[next(iter(values))])

    def value_of(self, error: PaperspaceError) -> TagChange | None:
        """Give what was changed before the error."""
        return error.change


class AddProjectTagOperator(ProjectTagsChangeOperator):
    """Put one or many tags on a project, or on many projects; those already there stay.

    Returns the tags now there, in the order asked; for many projects, in an object by project id. What it changed is
    pushed as XCom ``change``.

    :param tags: a name, a list of names, or a list of tags as another task returned them. Templated.
    :param expires_in: how long the tags hold, counted from the run's ``data_interval_end``: ``gpu-demo`` is written as
        ``gpu-demo@2026-12-01``, which :class:`CleanUpProjectTagsOperator` takes off after that day, in UTC.
    :param expires_on: the last day on which the tags hold, in place of ``expires_in``: a date, or ``YYYY-MM-DD``.
        Templated.
    """

    template_fields: Sequence[str] = (*ProjectOperator.template_fields, "tags", "expires_on")

    def __init__(
        self,
        *,
        tags: Tags,
        expires_in: timedelta | None = None,
        expires_on: date | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if expires_in is not None and expires_on is not None:
            raise ValueError(f"Task {self.task_id!r}: give expires_in or expires_on, not both.")
        self.tags = tags
        self.expires_in = expires_in
        self.expires_on = expires_on
        self._given = {"expires_on": expires_on is not None}

    def policy(self, context: Context) -> policies.Policy:
        """Want the tags there."""
        self._names = names_that_expire(tag_names(self.tags), self.expires_in, self.expires_on, context)
        return policies.adding(self._names)

    def result_of(self, project_id: str, value: TagChange, context: Context) -> list[TagJson]:
        """Give the tags now there."""
        return _as_json(value.present(dict.fromkeys(self._names)))


class RemoveProjectTagOperator(ProjectTagsChangeOperator):
    """Take one or many tags off a project, or off many projects, and off these alone.

    Returns the tags that were taken off; for many projects, in an object by project id. What it changed is pushed as
    XCom ``change``.

    :param tags: a name, a list of names, or a list of tags as another task returned them. Templated.
    :param missing_ok: whether a tag that is not there is well. If not, the task fails and nothing is removed.
    """

    template_fields: Sequence[str] = (*ProjectOperator.template_fields, "tags")

    def __init__(self, *, tags: Tags, missing_ok: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tags = tags
        self.missing_ok = missing_ok

    def policy(self, context: Context) -> policies.Policy:
        """Want the tags gone."""
        return policies.removing(tag_names(self.tags), missing_ok=self.missing_ok)

    def result_of(self, project_id: str, value: TagChange, context: Context) -> list[TagJson]:
        """Give the tags that were taken off."""
        return _as_json(value.removed)


class SetProjectTagsOperator(ProjectTagsChangeOperator):
    """Let a project, or many, have exactly these tags, all of its tags or those that begin with a prefix.

    With ``within="stage:"``, setting ``stage:evaluated`` takes ``stage:training`` off and touches nothing else. What
    is missing is added before anything is removed, and only the difference is sent: an interrupted task leaves the
    project with both tags rather than with none, and the tags of other writers survive.

    Returns what it changed (project, before, after, added, removed, by which task), which
    :class:`UndoProjectTagChangeOperator` takes back; for many projects, in an object by project id.

    :param tags: a name, a list of names, or a list of tags as another task returned them. Templated.
    :param within: the prefix of the tags to manage. None manages all of the project's tags, and takes off all others.
        Templated.
    :param dry_run: whether only to tell what would be changed. Templated.
    """

    template_fields: Sequence[str] = (*ProjectOperator.template_fields, "tags", "within", "is_dry_run")

    def __init__(self, *, tags: Tags, within: str | None = None, dry_run: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tags = tags
        self.within = within
        self._given = {"within": within is not None}
        # Under its own name it would hide a method that every operator has.
        self.is_dry_run = dry_run

    def prepare(self, context: Context) -> None:
        """Read the arguments."""
        super().prepare(context)
        self._only_plan = flag(self.is_dry_run, "dry_run")

    def policy(self, context: Context) -> policies.Policy:
        """Want exactly the tags within the prefix."""
        return policies.setting(tag_names(self.tags), within=self.within)

    def on_one(self, hook: PaperspaceHook, project_id: str) -> Any:
        """Change the tags of the only project, or read them."""
        return hook.list_project_tags(project_id) if self._only_plan else super().on_one(hook, project_id)

    async def on_one_of_many(self, client: AsyncPaperspaceClient, project_id: str) -> Any:
        """Change the tags of one of many projects, or read them."""
        if self._only_plan:
            return await client.list_project_tags(project_id)
        return await super().on_one_of_many(client, project_id)

    def keep(self, values: Mapping[str, Any], context: Context, *, many: bool, tried_again: bool) -> None:
        """Push the records of what was changed, as the other writing tasks do."""
        if not self._only_plan:
            super().keep(values, context, many=many, tried_again=tried_again)

    def result_of(self, project_id: str, value: Any, context: Context) -> Any:
        """Give the record of what was changed, or would be."""
        if not self._only_plan:
            return self.records[project_id]
        there = {tag.name: tag for tag in value}
        wanted = self._policy(there)
        add, remove = wanted.missing_in(there), wanted.surplus_in(there)
        log.info("Dry run. Project %r: would add %s; would remove %s", project_id, _listed(add), _listed(remove))
        return record_of_plan(project_id, there, add, remove, context)


def _as_json(tags: Iterable[Tag]) -> list[TagJson]:
    return [tag.as_json() for tag in tags]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
