"""Remove stale tags from many projects: plan, show the plan, keep to a limit, then remove; in one task or in two."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

from airflow_provider_paperspace._arguments import (
    Patterns,
    check_not_none,
    parse_bool,
    parse_patterns,
    parse_project_ids,
    parse_whole_number,
)
from airflow_provider_paperspace._compat import AirflowFailException
from airflow_provider_paperspace.api._checks import check_project_id, check_tag_name, check_tag_names, type_name
from airflow_provider_paperspace.api.errors import InvalidArgumentError, NotFoundError
from airflow_provider_paperspace.api.models import TagTarget
from airflow_provider_paperspace.api.project_tags import converge_project_tags, list_project_tags
from airflow_provider_paperspace.links.paperspace import push_link
from airflow_provider_paperspace.operators._base import PaperspaceOperator, raise_for_failures, run_instant
from airflow_provider_paperspace.operators._batch import DEFAULT_MAX_CONCURRENCY, BatchResult, table
from airflow_provider_paperspace.operators._records import ChangeLog, ChangeRecord, push
from airflow_provider_paperspace.rules.clean_up import CleanUpRules, RulesJson

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import Tag, TagChange
    from airflow_provider_paperspace.api.policies import Policy
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)


class Removal(TypedDict):
    """A tag that is to be removed, or was.

    :param project: the project's name, if known.
    :param reason: why it is stale.
    """

    project_id: str
    project: str
    tag: str
    reason: str


class Exemption(TypedDict):
    """A tag that was left in place.

    :param why: the reason.
    """

    project_id: str
    tag: str
    why: str


class Report(TypedDict):
    """A plan, and what became of it.

    :param projects: number of projects that were read.
    :param planned: what is to be removed.
    :param removed: what was removed; nothing after a dry run.
    :param spared: what was planned and left in place: it was gone already, or is kept or no longer stale.
    :param unreadable: tags with an unreadable date, which were left in place.
    :param failed: error messages by project id.
    """

    dry_run: bool
    projects: int
    rules: RulesJson
    planned: list[Removal]
    removed: list[Removal]
    spared: list[Exemption]
    unreadable: list[Exemption]
    failed: dict[str, str]


NO_PLAN: Final = ()
"""The default of ``plan``. Not None, which is what a plan renders to when the task that made it returned nothing."""


class CleanUpProjectTagsOperator(PaperspaceOperator):
    """Remove stale tags from many projects.

    It reads all tags first, logs what is to be removed as a table with the reasons, fails if that is more than
    ``max_removals``, and only then removes. Right before each removal the tags are read and the rules applied again.

    A tag is stale when it has expired (``name@2026-12-01``, after that day in UTC), or when it matches ``names``.
    ``older_than`` narrows ``names`` to tags that were created that long ago; without ``names`` it applies to every tag
    of that age. ``keep`` always wins. "Now" is the end of the run's data interval, however late the run is.

    ``dtCreated`` is most likely the date of the team's tag and may be older than its link to the project:
    ``older_than`` is the blunt tool, expiry the sharp one.

    Returns a report as plain JSON: the plan, what was removed, what was left in place and why. The report of a dry run
    is a plan, which a later task, perhaps after an approval, takes as ``plan``.

    :param project_ids: the projects to read, ids or projects; None for every project of the team. Templated.
    :param names: names or patterns of stale tags, such as ``stale:*``. Templated.
    :param keep: names or patterns of tags that stay, whatever the other rules say. Templated.
    :param expired: whether tags are stale once their last day is over.
    :param older_than: how long ago a tag must have been created.
    :param max_removals: if the plan has more removals, nothing is removed and the task fails. Templated.
    :param plan: the report of another such task, to carry out instead of planning anew. Templated.
    :param dry_run: whether to stop before the first removal. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    """

    template_fields: Sequence[str] = (
        "project_ids",
        "names",
        "keep",
        "max_removals",
        "plan",
        "is_dry_run",
        "paperspace_conn_id",
    )

    def __init__(
        self,
        *,
        project_ids: Sequence[Any] | Mapping[str, Any] | None = None,
        names: Patterns = (),
        keep: Patterns = (),
        expired: bool = True,
        older_than: timedelta | None = None,
        max_removals: int | str = 100,
        plan: Mapping[str, Any] | tuple[()] = NO_PLAN,
        dry_run: bool | str = False,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(paperspace_conn_id=paperspace_conn_id, **kwargs)
        if plan is not NO_PLAN and (project_ids is not None or older_than is not None):
            raise InvalidArgumentError(f"Task {self.task_id!r}: {_PLAN_AND_RULES}")
        self.project_ids = project_ids
        self.names = names
        self.keep = keep
        self.expired = expired
        self.older_than = older_than
        self.max_removals = max_removals
        self.plan = plan
        self.max_concurrency = max_concurrency
        self._has_plan = plan is not NO_PLAN
        self._has_project_ids = project_ids is not None
        # `dry_run` is a method of every Airflow operator.
        self.is_dry_run = dry_run

    def execute(self, context: Context) -> Report:
        """Plan, or read the plan; log it; check the limit; remove."""
        with self.open_hook() as hook, ChangeLog(context, single=False) as changes:
            is_dry_run = parse_bool(self.is_dry_run, "dry_run")
            max_removals = parse_whole_number(self.max_removals, "max_removals")
            rules = self._rules(context)
            if self._has_project_ids:
                check_not_none(project_ids=self.project_ids)
            push_link(context, hook)
            report = _empty_report(rules, dry_run=is_dry_run)
            reading: BatchResult[list[Tag]] = self._plan(hook, rules, report)
            if reading.interrupted or reading.fatal:
                raise_for_failures(reading)
            _log_plan(report)
            if len(report["planned"]) > max_removals:
                push(context, "return_value", report)
                raise AirflowFailException(
                    f"The plan has {len(report['planned'])} removals, more than max_removals={max_removals}; nothing "
                    "was removed. Check the plan above, then raise max_removals or narrow the rules."
                )
            removing: BatchResult[TagChange] = BatchResult()
            if is_dry_run:
                log.info("Dry run: nothing was removed")
            else:
                removing = self._remove(hook, rules, report, changes)
            result = _combined(reading, removing)
            report["failed"] = {project_id: str(error) for project_id, error in result.failed.items()}
            if result.failed or result.remaining:
                push(context, "return_value", report)
            raise_for_failures(result)
            return report

    def _rules(self, context: Context) -> CleanUpRules:
        names, keep = parse_patterns(self.names, "names"), parse_patterns(self.keep, "keep")
        if self._has_plan:
            _parse_planned(self.plan)
            if names:
                raise InvalidArgumentError(_PLAN_AND_RULES)
            return _parse_rules(self.plan, keep=keep)
        if self.older_than is not None and not isinstance(self.older_than, timedelta):
            raise InvalidArgumentError(f"older_than is {type_name(self.older_than)}; it must be a timedelta.")
        return _checked(
            CleanUpRules(
                names=names, keep=keep, expired=self.expired, older_than=self.older_than, now=run_instant(context)
            )
        )

    def _plan(self, hook: PaperspaceHook, rules: CleanUpRules, report: Report) -> BatchResult[list[Tag]]:
        """Fill the report's plan: from the plan of another task, or by reading the projects."""
        if self._has_plan:
            report["planned"] = _parse_planned(self.plan)
            report["projects"] = len({removal["project_id"] for removal in report["planned"]})
            return BatchResult()
        if self.project_ids is None:
            projects = {project.id: project.name for project in hook.iter_projects() if project.dt_deleted is None}
        else:
            projects = dict.fromkeys(parse_project_ids(self.project_ids), "")
        is_whole_team = self.project_ids is None
        result = self.run_batch(
            hook,
            projects,
            lambda project_id: _read_affected(project_id, rules, deleted_ok=is_whole_team),
            max_concurrency=self.max_concurrency,
        )
        report["projects"] = len(projects)
        for project_id, tags in result.done.items():
            for tag in tags:
                if reason := rules.stale_reason(tag):
                    report["planned"].append(
                        {"project_id": project_id, "project": projects[project_id], "tag": tag.name, "reason": reason}
                    )
                if why := rules.unreadable_reason(tag):
                    report["unreadable"].append({"project_id": project_id, "tag": tag.name, "why": why})
        return result

    def _remove(
        self, hook: PaperspaceHook, rules: CleanUpRules, report: Report, changes: ChangeLog
    ) -> BatchResult[TagChange]:
        """Carry out the report's plan, and fill in what was removed and what was left in place."""
        planned: dict[str, dict[str, Removal]] = {}
        for removal in report["planned"]:
            planned.setdefault(removal["project_id"], {})[removal["tag"]] = removal
        result = self.run_batch(
            hook,
            planned,
            lambda id_: converge_project_tags(id_, _removing_stale(planned[id_], rules), changes.start(id_)),
            max_concurrency=self.max_concurrency,
        )
        records = changes.records()
        report["removed"] = [
            planned.get(project_id, {}).get(name) or _removed_earlier(project_id, name)
            for project_id, record in records.items()
            for name in record["removed"]
        ]
        report["spared"] = [
            {"project_id": project_id, "tag": name, "why": why}
            for project_id, change in result.done.items()
            for name in planned[project_id]
            if (why := _why_spared(name, change, records[project_id]))
        ]
        log.info("Removed %d of %d planned tags", len(report["removed"]), len(report["planned"]))
        if report["spared"]:
            rows = [(spared["project_id"], spared["tag"], spared["why"]) for spared in report["spared"]]
            log.info("Planned, but left in place:\n%s", table(("project", "tag", "why"), rows))
        return result


_PLAN_AND_RULES: Final = "with plan, leave out project_ids, names, older_than and expired; keep may be added."


def _empty_report(rules: CleanUpRules, *, dry_run: bool) -> Report:
    return {
        "dry_run": dry_run,
        "projects": 0,
        "rules": rules.as_json(),
        "planned": [],
        "removed": [],
        "spared": [],
        "unreadable": [],
        "failed": {},
    }


def _read_affected(project_id: str, rules: CleanUpRules, *, deleted_ok: bool) -> Flow[list[Tag]]:
    """Read a project's tags and return those that are stale or have an unreadable date.

    :param deleted_ok: whether a project that was deleted meanwhile counts as one without tags.
    """
    try:
        tags = yield from list_project_tags(project_id, order="asc")
    except NotFoundError:
        if not deleted_ok:
            raise
        log.info("Project %r was deleted while this task ran", project_id)
        return []
    return [tag for tag in tags if rules.stale_reason(tag) or rules.unreadable_reason(tag)]


def _removing_stale(planned: Iterable[str], rules: CleanUpRules) -> Policy:
    """Return the policy that removes those of the planned tags that are stale as they are now."""
    return lambda tags: TagTarget(
        absent=tuple(name for name in planned if name not in tags or rules.stale_reason(tags[name]))
    )


def _why_spared(name: str, change: TagChange, record: ChangeRecord) -> str:
    """Return why a planned tag was not removed by this task; empty if it was."""
    if name in record["removed"]:
        return ""
    if name in change.absent:
        return "already gone"
    return "kept, or no longer stale by the rules of the plan"


def _removed_earlier(project_id: str, tag: str) -> Removal:
    return {"project_id": project_id, "project": "", "tag": tag, "reason": "removed by an earlier try of this task"}


def _combined(reading: BatchResult[Any], removing: BatchResult[Any]) -> BatchResult[Any]:
    """Return what became of each project in both steps: one that failed or remains in either is not done."""
    failed, remaining = {**reading.failed, **removing.failed}, [*reading.remaining, *removing.remaining]
    done = {**reading.done, **removing.done}
    return BatchResult(
        {id_: value for id_, value in done.items() if id_ not in failed and id_ not in remaining},
        failed,
        remaining,
        reading.fatal or removing.fatal,
        reading.interrupted or removing.interrupted,
    )


def _parse_planned(plan: object) -> list[Removal]:
    """Return the removals in a plan, without duplicates."""
    planned = plan.get("planned") if isinstance(plan, Mapping) else None
    if not isinstance(planned, list) or not all(isinstance(item, Mapping) for item in planned):
        raise InvalidArgumentError(
            f"plan is {type_name(plan)}; it must be a whole report from CleanUpProjectTagsOperator."
        )
    removals: dict[tuple[str, str], Removal] = {}
    for item in planned:
        project_id, tag = check_project_id(item.get("project_id")), check_tag_name(item.get("tag"))
        removals[project_id, tag] = {
            "project_id": project_id,
            "project": str(item.get("project") or ""),
            "tag": tag,
            "reason": str(item.get("reason") or ""),
        }
    return list(removals.values())


def _parse_rules(plan: Any, *, keep: tuple[str, ...]) -> CleanUpRules:
    """Return the rules in a plan.

    :param keep: more names or patterns of tags that stay.
    """
    rules = plan.get("rules")
    if not isinstance(rules, Mapping) or not isinstance(rules.get("expired"), bool):
        raise InvalidArgumentError("plan has no rules; it is not a report from CleanUpProjectTagsOperator.")
    try:
        now = datetime.fromisoformat(str(rules.get("now")))
    except ValueError:
        raise InvalidArgumentError("The plan's rule now must be a date-time.") from None
    if now.tzinfo is None:
        raise InvalidArgumentError("The plan's rule now has no time zone.")
    return _checked(
        CleanUpRules(
            names=check_tag_names(rules.get("names")),
            keep=(*check_tag_names(rules.get("keep")), *keep),
            expired=rules["expired"],
            older_than=_parse_older_than(rules.get("older_than_s")),
            now=now,
        )
    )


def _parse_older_than(seconds: Any) -> timedelta | None:
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 < seconds <= timedelta.max.days * 86_400:
        raise InvalidArgumentError("The plan's rule older_than_s must be a number of seconds above 0.")
    return timedelta(seconds=seconds)


def _checked(rules: CleanUpRules) -> CleanUpRules:
    if rules.older_than is not None and rules.older_than <= timedelta(0):
        raise InvalidArgumentError(f"older_than is {rules.older_than}; it must be longer than 0.")
    if not rules.names and not rules.expired and rules.older_than is None:
        raise InvalidArgumentError("No tag can be stale: set names or older_than, or leave expired=True.")
    return rules


def _log_plan(report: Report) -> None:
    planned, unreadable = report["planned"], report["unreadable"]
    log.info("%d tags to remove from %d projects", len(planned), report["projects"])
    if planned:
        rows = [(item["project_id"], item["project"], item["tag"], item["reason"]) for item in planned]
        log.info("Plan:\n%s", table(("project", "name", "tag", "reason"), rows))
    if unreadable:
        exemptions = [(item["project_id"], item["tag"], item["why"]) for item in unreadable]
        log.warning(
            "%s an unreadable date and %s left in place:\n%s",
            "1 tag has" if len(unreadable) == 1 else f"{len(unreadable)} tags have",
            "was" if len(unreadable) == 1 else "were",
            table(("project", "tag", "why"), exemptions),
        )
