"""Operators that list, add, remove and set tags, and undo such changes.

A task works on one project (``project_id``, or ``project_name``) or on many (``project_ids``). Tags are returned as
plain JSON under the API's own keys::

    [{"id": 7, "name": "nightly", "dtCreated": "2026-03-02T09:15:00.000Z"}]

so that the output of one task is the ``tags`` of the next; for many projects, by project id. All are safe to repeat:
where nothing differs, nothing is written. A project that does not exist fails the task without a retry.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace._arguments import (
    Tags,
    check_not_none,
    parse_bool,
    parse_last_day,
    parse_tag_names,
)
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.project_tags import (
    converge_project_tags,
    list_project_tags,
    plan_project_tags,
)
from airflow_provider_paperspace.links.paperspace import push_link
from airflow_provider_paperspace.operators._base import (
    PaperspaceOperator,
    ProjectTagsOperator,
    raise_for_failures,
    run_instant,
    tags_as_json,
)
from airflow_provider_paperspace.operators._batch import DEFAULT_MAX_CONCURRENCY
from airflow_provider_paperspace.operators._records import ChangeLog, ChangeRecord, parse_records, record_of_plan
from airflow_provider_paperspace.rules.expiry import ExpiringName, has_unreadable_date, parse_expiring_name

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import Tag, TagJson, TagPlan
    from airflow_provider_paperspace.protocol import Order

log = logging.getLogger(__name__)

_MAX_NAMES_IN_LOG = 20


class ListProjectTagsOperator(ProjectTagsOperator):
    """List the tags of a project, or of many.

    Returns all tags, each name once; for many projects, by project id.

    :param project_id: the project id, such as ``prmximcci`` (the last part of its address in the console), or the
        project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: the ids of many projects, or the projects, instead of one. Templated.
    :param order: by creation, ``desc`` newest first or ``asc`` oldest first.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    """

    def __init__(
        self,
        *,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        project_ids: Sequence[Any] | Mapping[str, Any] | None = None,
        order: Order = "desc",
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            project_id=project_id,
            project_name=project_name,
            project_ids=project_ids,
            max_concurrency=max_concurrency,
            paperspace_conn_id=paperspace_conn_id,
            **kwargs,
        )
        self.order = order

    def execute(self, context: Context) -> list[TagJson] | dict[str, list[TagJson]]:
        """Return the tags of the project, or of each project."""
        level = logging.INFO if self.project_ids is None else logging.DEBUG

        def list_and_log(project_id: str) -> Flow[list[Tag]]:
            tags = yield from list_project_tags(project_id, order=self.order)
            log.log(level, "Project %r: %d tags%s", project_id, len(tags), _listed([tag.name for tag in tags]))
            return tags

        with self.open_hook() as hook:
            return self.run_for_projects(hook, context, list_and_log, tags_as_json)


class AddProjectTagOperator(ProjectTagsOperator):
    """Add one or many tags to a project, or to many projects; existing tags stay.

    Returns the tags that are now there, in the given order; for many projects, by project id. What was changed becomes
    XCom ``change``.

    :param tags: a name, a list of names, or tags as another task returned them. Templated.
    :param project_id: the project id, such as ``prmximcci`` (the last part of its address in the console), or the
        project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: the ids of many projects, or the projects, instead of one. Templated.
    :param expires_in: how long the tags hold, counted from the end of the run's data interval: ``gpu-demo`` is written
        as ``gpu-demo@2026-12-01``, which ``CleanUpProjectTagsOperator`` removes after that day, in UTC.
    :param expires_on: the last day on which the tags hold, instead of ``expires_in``: a date, or ``YYYY-MM-DD``.
        Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    """

    template_fields: Sequence[str] = (*ProjectTagsOperator.template_fields, "tags", "expires_on")

    def __init__(
        self,
        *,
        tags: Tags,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        project_ids: Sequence[Any] | Mapping[str, Any] | None = None,
        expires_in: timedelta | None = None,
        expires_on: date | str | None = None,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            project_id=project_id,
            project_name=project_name,
            project_ids=project_ids,
            max_concurrency=max_concurrency,
            paperspace_conn_id=paperspace_conn_id,
            **kwargs,
        )
        if expires_in is not None and expires_on is not None:
            raise InvalidArgumentError(f"Task {self.task_id!r}: set expires_in or expires_on, not both.")
        self.tags = tags
        self.expires_in = expires_in
        self.expires_on = expires_on
        self._has_expires_on = expires_on is not None

    def execute(self, context: Context) -> list[TagJson] | dict[str, list[TagJson]]:
        """Add the tags, and return those that are now there."""
        with self.open_hook() as hook, self.record_changes(context) as changes:
            if self._has_expires_on:
                check_not_none(expires_on=self.expires_on)
            last_day = parse_last_day(self.expires_in, self.expires_on, run_instant(context))
            names = parse_tag_names(self.tags)
            if last_day is not None:
                names = [_expiring_name(name, last_day) for name in names]
            policy = policies.adding(names)
            return self.run_for_projects(
                hook,
                context,
                lambda project_id: converge_project_tags(project_id, policy, changes.start(project_id)),
                lambda change: tags_as_json(change.present(names)),
            )


class RemoveProjectTagOperator(ProjectTagsOperator):
    """Remove one or many tags from a project, or from many projects. All other tags stay.

    Returns the tags that were removed; for many projects, by project id. What was changed becomes XCom ``change``.

    :param tags: a name, a list of names, or tags as another task returned them. Templated.
    :param project_id: the project id, such as ``prmximcci`` (the last part of its address in the console), or the
        project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: the ids of many projects, or the projects, instead of one. Templated.
    :param missing_ok: whether missing tags are allowed. If not, the task fails and removes nothing from that project.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    """

    template_fields: Sequence[str] = (*ProjectTagsOperator.template_fields, "tags")

    def __init__(
        self,
        *,
        tags: Tags,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        project_ids: Sequence[Any] | Mapping[str, Any] | None = None,
        missing_ok: bool = True,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            project_id=project_id,
            project_name=project_name,
            project_ids=project_ids,
            max_concurrency=max_concurrency,
            paperspace_conn_id=paperspace_conn_id,
            **kwargs,
        )
        self.tags = tags
        self.missing_ok = missing_ok

    def execute(self, context: Context) -> list[TagJson] | dict[str, list[TagJson]]:
        """Remove the tags, and return those that were removed."""
        with self.open_hook() as hook, self.record_changes(context) as changes:
            policy = policies.removing(parse_tag_names(self.tags), missing_ok=self.missing_ok)
            return self.run_for_projects(
                hook,
                context,
                lambda project_id: converge_project_tags(project_id, policy, changes.start(project_id)),
                lambda change: tags_as_json(change.removed),
            )


class SetProjectTagsOperator(ProjectTagsOperator):
    """Make these the only tags of a project, or of many: of all its tags, or of those that start with a prefix.

    With ``within="stage:"``, setting ``stage:evaluated`` removes ``stage:training`` and touches nothing else. Missing
    tags are added before others are removed, and only the difference is sent: an interrupted task leaves the project
    with both tags rather than with none, and the tags of other writers survive.

    Returns the change record (project, before, after, added, removed, by which task), which
    :class:`UndoProjectTagChangeOperator` takes back; for many projects, by project id.

    :param tags: a name, a list of names, or tags as another task returned them. Templated.
    :param within: the prefix of the tags to manage. None manages all tags of the project, and removes all others.
        Templated.
    :param project_id: the project id, such as ``prmximcci`` (the last part of its address in the console), or the
        project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: the ids of many projects, or the projects, instead of one. Templated.
    :param dry_run: whether to return what would be changed, without changing it. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    """

    template_fields: Sequence[str] = (*ProjectTagsOperator.template_fields, "tags", "within", "is_dry_run")

    def __init__(
        self,
        *,
        tags: Tags,
        within: str | None = None,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        project_ids: Sequence[Any] | Mapping[str, Any] | None = None,
        dry_run: bool | str = False,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            project_id=project_id,
            project_name=project_name,
            project_ids=project_ids,
            max_concurrency=max_concurrency,
            paperspace_conn_id=paperspace_conn_id,
            **kwargs,
        )
        self.tags = tags
        self.within = within
        self._has_prefix = within is not None
        # `dry_run` is a method of every Airflow operator.
        self.is_dry_run = dry_run

    def execute(self, context: Context) -> ChangeRecord | dict[str, ChangeRecord]:
        """Set the tags, or plan to; return the change record."""
        with self.open_hook() as hook, self.record_changes(context) as changes:
            if self._has_prefix:
                check_not_none(within=self.within)
            policy = policies.setting(parse_tag_names(self.tags), within=self.within)
            if parse_bool(self.is_dry_run, "dry_run"):
                return self.run_for_projects(
                    hook,
                    context,
                    lambda project_id: plan_project_tags(project_id, policy),
                    lambda plan: _record_dry_run(plan, context),
                )
            return self.run_for_projects(
                hook,
                context,
                lambda project_id: converge_project_tags(project_id, policy, changes.start(project_id)),
                lambda change: changes.record(change.project_id),
            )


class UndoProjectTagChangeOperator(PaperspaceOperator):
    """Undo what another task changed: remove what it added, add what it removed, and nothing else.

    What others did since stays. The record of a dry run contains nothing to undo. Returns the records of its own
    changes, by project id.

    :param change: what the other task pushed as XCom ``change``: ``task.output["change"]``; or the output of
        :class:`SetProjectTagsOperator`; or a list of these, from a mapped task. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    """

    template_fields: Sequence[str] = ("change", "paperspace_conn_id")

    def __init__(
        self,
        *,
        change: Any,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(paperspace_conn_id=paperspace_conn_id, **kwargs)
        self.change = change
        self.max_concurrency = max_concurrency

    def execute(self, context: Context) -> dict[str, ChangeRecord]:
        """Undo the changes of all projects."""
        with self.open_hook() as hook, ChangeLog(context, single=False) as changes:
            policy_by_project = _undoing(parse_records(self.change))
            push_link(context, hook, next(iter(policy_by_project)) if len(policy_by_project) == 1 else None)
            result = self.run_batch(
                hook,
                policy_by_project,
                lambda id_: converge_project_tags(id_, policy_by_project[id_], changes.start(id_)),
                max_concurrency=self.max_concurrency,
            )
            raise_for_failures(result)
            return changes.records()


def _expiring_name(name: str, last_day: date) -> str:
    if parse_expiring_name(name) is not None or has_unreadable_date(name):
        raise InvalidArgumentError(
            f"The tag name {name!r} already has a date. Remove the date, or leave out expires_in and expires_on."
        )
    return str(ExpiringName(name, last_day))


def _undoing(records: Sequence[ChangeRecord]) -> dict[str, policies.Policy]:
    """Return what each project should become again; of two records of a project, the later is undone first."""
    wanted_by_project: dict[str, dict[str, bool]] = {}
    for record in reversed(records):
        if record["dry_run"]:
            log.info("Project %r: the change was a dry run; nothing to undo", record["project_id"])
            continue
        wanted = wanted_by_project.setdefault(record["project_id"], {})
        wanted.update(dict.fromkeys(record["added"], False) | dict.fromkeys(record["removed"], True))
    return {
        project_id: policies.changing(
            add=[name for name, is_present in wanted.items() if is_present],
            remove=[name for name, is_present in wanted.items() if not is_present],
        )
        for project_id, wanted in wanted_by_project.items()
    }


def _record_dry_run(plan: TagPlan, context: Context) -> ChangeRecord:
    log.info(
        "Dry run. Project %r: would add %s; would remove %s",
        plan.project_id,
        ", ".join(map(repr, plan.add)) or "nothing",
        ", ".join(map(repr, plan.remove)) or "nothing",
    )
    return record_of_plan(plan, context)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MAX_NAMES_IN_LOG]))
    more = f" and {len(names) - _MAX_NAMES_IN_LOG} more" if len(names) > _MAX_NAMES_IN_LOG else ""
    return f": {shown}{more}" if names else ""
