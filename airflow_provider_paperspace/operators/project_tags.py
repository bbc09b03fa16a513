"""Operators that list, add, remove and set tags, and undo such changes.

A task works on one project (``project_id``, or ``project_name``) or on many (``project_ids``). Tags are returned as
plain JSON with the keys of the API::

    [{"id": 7, "name": "nightly", "dtCreated": "2026-03-02T09:15:00.000Z"}]

so the output of one task can be the ``tags`` of the next. For many projects, the output is an object with one such list
per project id. All operators are safe to repeat: if nothing differs, nothing is written. A project that does not exist
fails the task without a retry.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_paperspace._arguments import (
    NOT_SET,
    NotSet,
    ProjectIds,
    Tags,
    TaskArgumentError,
    check_one_of,
    is_constant,
    is_set,
    naming_task,
    parse_bool,
    parse_day,
    parse_duration,
    parse_last_day,
    parse_prefix,
    parse_tag_names,
)
from airflow_provider_paperspace._quoting import count_of, quoted_list
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api._checks import check_order
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.models import TagTarget
from airflow_provider_paperspace.api.project_tags import (
    converge_project_tags,
    list_project_tags,
    plan_project_tags,
)
from airflow_provider_paperspace.links.paperspace import set_link
from airflow_provider_paperspace.operators._base import (
    PaperspaceOperator,
    ProjectTagsOperator,
    raise_for_failures,
    run_instant,
    tags_as_json,
    utc_now,
)
from airflow_provider_paperspace.operators._batch import DEFAULT_MAX_CONCURRENCY
from airflow_provider_paperspace.operators._records import ChangeLog, ChangeRecord, parse_records
from airflow_provider_paperspace.rules.expiry import (
    ExpiringName,
    has_unreadable_date,
    other_marks,
    parse_expiring_name,
)

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import Tag, TagChange, TagJson, TagPlan
    from airflow_provider_paperspace.protocol import Order

log = logging.getLogger(__name__)


class ListProjectTagsOperator(ProjectTagsOperator):
    """List the tags of a project, or of many.

    Returns all tags, each name once; for many projects, by project id.

    :param project_id: the project id, such as ``prmximcci`` (the last part of its address in the console), or the
        project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: a list of project ids, or of projects, instead of one project. Templated.
    :param order: by creation, ``desc`` newest first or ``asc`` oldest first.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: the arguments of every operator, such as ``retries`` and ``outlets``.
    """

    def __init__(
        self,
        *,
        project_id: str | Mapping[str, Any] | NotSet = NOT_SET,
        project_name: str | NotSet = NOT_SET,
        project_ids: ProjectIds | NotSet = NOT_SET,
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
        self.check_constants()

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        with naming_task(self.task_id):
            check_order(self.order)

    def execute(self, context: Context) -> list[TagJson] | dict[str, list[TagJson]]:
        """Return the tags of the project, or of each project."""
        level = logging.DEBUG if is_set(self.project_ids) else logging.INFO

        def list_and_log(project_id: str) -> Flow[list[Tag]]:
            tags = yield from list_project_tags(project_id, order=self.order)
            listed = f": {quoted_list(tag.name for tag in tags)}" if tags else ""
            log.log(level, "Project %r: %s%s", project_id, count_of(len(tags), "tag"), listed)
            return tags

        with self.open_hook() as hook:
            return self.run_for_projects(hook, context, list_and_log, tags_as_json)


class AddProjectTagOperator(ProjectTagsOperator):
    """Add one or more tags to a project, or to many projects; other tags stay.

    Returns these tags as they are now on the project, in the given order; for many projects, by project id. The change
    record is pushed as XCom ``change``.

    :param tags: a name, a list of names, or tags as another task returned them. Templated.
    :param project_id: the project id, such as ``prmximcci`` (the last part of its address in the console), or the
        project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: a list of project ids, or of projects, instead of one project. Templated.
    :param expires_in: how long the tags are valid, counted from the end of the data interval for a scheduled or
        backfill run, and from ``run_after`` (on Airflow 2, the logical date) for any other run. ``gpu-demo`` then
        becomes ``gpu-demo@2026-12-01``, which ``CleanUpProjectTagsOperator`` removes after that day, in UTC.
    :param expires_on: the last day on which the tags are valid, instead of ``expires_in``: a date, or ``YYYY-MM-DD``.
        Templated.
    :param renew: whether to remove the same tag with an earlier last day once the new one is added, so that a nightly
        renewal leaves a single tag. Needs ``expires_in`` or ``expires_on``.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: the arguments of every operator, such as ``retries`` and ``outlets``.
    """

    template_fields: Sequence[str] = (*ProjectTagsOperator.template_fields, "tags", "expires_on")

    def __init__(
        self,
        *,
        tags: Tags,
        project_id: str | Mapping[str, Any] | NotSet = NOT_SET,
        project_name: str | NotSet = NOT_SET,
        project_ids: ProjectIds | NotSet = NOT_SET,
        expires_in: timedelta | NotSet = NOT_SET,
        expires_on: date | str | NotSet = NOT_SET,
        renew: bool = False,
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
        if expires_in is not NOT_SET and expires_on is not NOT_SET:
            raise TaskArgumentError(f"Task {self.task_id!r}: set expires_in or expires_on, not both.")
        self.tags = tags
        self.expires_in = expires_in
        self.expires_on = expires_on
        self.renew = renew
        self.check_constants()

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        with naming_task(self.task_id):
            if is_set(self.expires_in):
                parse_duration(self.expires_in, "expires_in")
            if is_set(self.expires_on) and is_constant(self.expires_on):
                parse_day(self.expires_on)
            if parse_bool(self.renew, "renew") and not (is_set(self.expires_in) or is_set(self.expires_on)):
                raise InvalidArgumentError("renew needs expires_in or expires_on.")
            if is_constant(self.tags):
                parse_tag_names(self.tags)

    def execute(self, context: Context) -> list[TagJson] | dict[str, list[TagJson]]:
        """Add the tags, and return those that are now there."""
        with self.open_hook() as hook, self.record_changes(context) as changes:
            last_day = parse_last_day(self.expires_in, self.expires_on, start=run_instant(context), now=utc_now())
            names = parse_tag_names(self.tags)
            if last_day is None:
                policy = policies.adding(names)
                return self.run_for_projects(
                    hook,
                    context,
                    lambda project_id: converge_project_tags(project_id, policy, changes.start(project_id)),
                    lambda change: tags_as_json(change.present(names)),
                )
            marks, renew = [_expiring_name(name, last_day) for name in names], parse_bool(self.renew, "renew")
            return self.run_for_projects(
                hook,
                context,
                lambda project_id: _mark(marks, changes.start(project_id), renew=renew),
                lambda change: tags_as_json(change.present(map(str, marks))),
            )


class RemoveProjectTagOperator(ProjectTagsOperator):
    """Remove one or more tags from a project, or from many projects. All other tags stay.

    Returns the tags that were removed; for many projects, by project id. The change record is pushed as XCom
    ``change``.

    :param tags: a name, a list of names, or tags as another task returned them. Templated.
    :param project_id: the project id, such as ``prmximcci`` (the last part of its address in the console), or the
        project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: a list of project ids, or of projects, instead of one project. Templated.
    :param missing_ok: whether missing tags are allowed. If not, the task fails and removes nothing from that project.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: the arguments of every operator, such as ``retries`` and ``outlets``.
    """

    template_fields: Sequence[str] = (*ProjectTagsOperator.template_fields, "tags")

    def __init__(
        self,
        *,
        tags: Tags,
        project_id: str | Mapping[str, Any] | NotSet = NOT_SET,
        project_name: str | NotSet = NOT_SET,
        project_ids: ProjectIds | NotSet = NOT_SET,
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
        self.check_constants()

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        with naming_task(self.task_id):
            parse_bool(self.missing_ok, "missing_ok")
            if is_constant(self.tags):
                parse_tag_names(self.tags)

    def execute(self, context: Context) -> list[TagJson] | dict[str, list[TagJson]]:
        """Remove the tags, and return those that were removed."""
        with self.open_hook() as hook, self.record_changes(context) as changes:
            missing_ok = parse_bool(self.missing_ok, "missing_ok")
            policy = policies.removing(parse_tag_names(self.tags), missing_ok=missing_ok)
            return self.run_for_projects(
                hook,
                context,
                lambda project_id: converge_project_tags(project_id, policy, changes.start(project_id)),
                _removed,
            )


def _removed(change: TagChange) -> list[TagJson]:
    """Return the removed tags, and warn about a missing one that looks like a pattern."""
    for name in change.absent:
        if any(character in name for character in "*?["):
            log.warning(
                "Project %r: no tag is named %r. RemoveProjectTagOperator takes literal names; to remove by pattern, "
                "use CleanUpProjectTagsOperator(names=...).",
                change.project_id,
                name,
            )
    return tags_as_json(change.removed)


class SetProjectTagsOperator(ProjectTagsOperator):
    """Set the tags of a project, or of many: keep only these among all its tags, or among those with a prefix.

    With ``within="stage:"``, setting ``stage:evaluated`` removes ``stage:training`` and touches nothing else. Missing
    tags are added before others are removed, and only the difference is sent: an interrupted task leaves the project
    with both tags rather than with none. If another writer changes the managed tags at the same time, the task fails;
    a retry settles it.

    Returns the change record (project, before, after, added, removed, by which task), which
    :class:`UndoProjectTagChangeOperator` can undo; for many projects, by project id.

    :param tags: a name, a list of names, or tags as another task returned them. Templated.
    :param within: the prefix of the tags to manage. Templated.
    :param replace_all: whether to remove every other tag of the project. Use it instead of ``within``.
    :param allow_empty: whether ``tags`` may be an empty list, which removes all managed tags.
    :param project_id: the project id, such as ``prmximcci`` (the last part of its address in the console), or the
        project as ``ListProjectsOperator`` returns it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: a list of project ids, or of projects, instead of one project. Templated.
    :param dry_run: whether to return what would be changed, without changing it. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: the arguments of every operator, such as ``retries`` and ``outlets``.
    """

    template_fields: Sequence[str] = (*ProjectTagsOperator.template_fields, "tags", "within", "is_dry_run")

    def __init__(
        self,
        *,
        tags: Tags,
        within: str | NotSet = NOT_SET,
        replace_all: bool = False,
        allow_empty: bool = False,
        project_id: str | Mapping[str, Any] | NotSet = NOT_SET,
        project_name: str | NotSet = NOT_SET,
        project_ids: ProjectIds | NotSet = NOT_SET,
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
        check_one_of(f"Task {self.task_id!r}", within=within, replace_all=replace_all)
        self.tags = tags
        self.within = within
        self.replace_all = replace_all
        self.allow_empty = allow_empty
        # `dry_run` is a method of every Airflow operator.
        self.is_dry_run = dry_run
        self.check_constants()

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        with naming_task(self.task_id):
            parse_bool(self.replace_all, "replace_all")
            parse_bool(self.allow_empty, "allow_empty")
            if is_constant(self.is_dry_run):
                parse_bool(self.is_dry_run, "dry_run")
            if is_constant(self.within):
                within = parse_prefix(self.within) if is_set(self.within) else None
                policies.setting(self._names() if is_constant(self.tags) else [], within=within)
            elif is_constant(self.tags):
                self._names()

    def _names(self) -> list[str]:
        names = parse_tag_names(self.tags)
        if not names and not parse_bool(self.allow_empty, "allow_empty"):
            which = f"all tags that start with {self.within!r}" if is_set(self.within) else "all tags"
            raise InvalidArgumentError(
                f"tags is empty, which would remove {which}. If you want that, set allow_empty=True."
            )
        return names

    def execute(self, context: Context) -> ChangeRecord | dict[str, ChangeRecord]:
        """Set the tags, or only plan the change, and return the change record."""
        with self.open_hook() as hook, self.record_changes(context, dry_run=self.is_dry_run) as changes:
            within = parse_prefix(self.within) if is_set(self.within) else None
            policy = policies.setting(self._names(), within=within)
            if changes.is_dry_run:
                return self.run_for_projects(
                    hook,
                    context,
                    lambda project_id: plan_project_tags(project_id, policy),
                    lambda plan: _record_dry_run(plan, changes),
                )
            return self.run_for_projects(
                hook,
                context,
                lambda project_id: converge_project_tags(project_id, policy, changes.start(project_id)),
                lambda change: changes.record(change.project_id),
            )


class UndoProjectTagChangeOperator(PaperspaceOperator):
    """Undo what another task changed: remove what it added, add what it removed, and nothing else.

    Changes that others made since are kept. If it is unknown whether the other task changed a tag, that tag is left
    alone, with a warning. For the record of a dry run there is nothing to undo. If the other task left no record, this
    task fails. Returns the records of its own changes, by project id.

    :param change: what the other task pushed as XCom ``change``: ``task.output["change"]``; or the output of
        :class:`SetProjectTagsOperator`; or a list of these, from a mapped task. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: the arguments of every operator, such as ``retries`` and ``outlets``.
    """

    template_fields: Sequence[str] = ("change", "paperspace_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"change": "json"}

    def __init__(
        self,
        *,
        change: Any,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(max_concurrency=max_concurrency, paperspace_conn_id=paperspace_conn_id, **kwargs)
        self.change = change
        self.check_constants()

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        if is_constant(self.change):
            with naming_task(self.task_id):
                parse_records(self.change)

    def execute(self, context: Context) -> dict[str, ChangeRecord]:
        """Undo the changes to all projects in the records."""
        with self.open_hook() as hook, ChangeLog(context, single=False) as changes:
            policy_by_project = _undoing(parse_records(self.change))
            only = next(iter(policy_by_project)) if len(policy_by_project) == 1 else None
            set_link(self, context, hook.settings, only)
            result = self.run_batch(
                hook,
                policy_by_project,
                lambda id_: converge_project_tags(id_, policy_by_project[id_], changes.start(id_)),
            )
            raise_for_failures(result)
            return changes.records()


def _mark(marks: Sequence[ExpiringName], change: TagChange, *, renew: bool) -> Flow[TagChange]:
    """Add expiring tags to a project and, to renew them, remove the same tags with an earlier last day."""

    def policy(tags: Mapping[str, Tag]) -> TagTarget:
        pairs = [(mark, other) for mark in marks for other in other_marks(mark, tags)]
        earlier = [str(other) for mark, other in pairs if other.last_day < mark.last_day] if renew else []
        staying = [str(other) for _, other in pairs if str(other) not in earlier]
        if staying:
            log.info(
                "Project %r: tags that differ only in their last day stay: %s%s",
                change.project_id,
                quoted_list(staying),
                "" if renew else ". To replace earlier ones, set renew=True",
            )
        return TagTarget(present=tuple(map(str, marks)), absent=tuple(earlier))

    return converge_project_tags(change.project_id, policy, change)


def _expiring_name(name: str, last_day: date) -> ExpiringName:
    if parse_expiring_name(name) is not None or has_unreadable_date(name):
        raise InvalidArgumentError(
            f"The tag name {name!r} already has a date. Remove the date, or leave out expires_in and expires_on."
        )
    return ExpiringName(name, last_day)


def _undoing(records: Sequence[ChangeRecord]) -> dict[str, policies.Policy]:
    """Return, by project id, the policy that undoes the changes to it; later changes are undone first."""
    wanted_by_project: dict[str, dict[str, bool]] = {}
    for record in reversed(records):
        if record["dry_run"]:
            log.info("Project %r: the change was a dry run; nothing to undo", record["project_id"])
            continue
        if record["unsettled"]:
            log.warning(
                "Project %r: unknown whether the other task changed %s; left alone",
                record["project_id"],
                quoted_list(record["unsettled"]),
            )
        if not record["complete"]:
            log.warning(
                "Project %r: an earlier try of the other task may have changed more than its record contains",
                record["project_id"],
            )
        wanted = wanted_by_project.setdefault(record["project_id"], {})
        wanted.update(dict.fromkeys(record["added"], False) | dict.fromkeys(record["removed"], True))
        for name in record["unsettled"]:
            wanted.pop(name, None)
    return {
        project_id: policies.changing(
            add=[name for name, is_present in wanted.items() if is_present],
            remove=[name for name, is_present in wanted.items() if not is_present],
        )
        for project_id, wanted in wanted_by_project.items()
    }


def _record_dry_run(plan: TagPlan, changes: ChangeLog) -> ChangeRecord:
    log.info("Dry run. Project %r: %s", plan.project_id, plan)
    return changes.record_plan(plan)
