"""Remove stale tags from many projects: plan, show the plan, keep to a limit, then remove; in one task or in two."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from airflow_provider_paperspace._arguments import (
    NOT_SET,
    NotSet,
    Patterns,
    ProjectIds,
    check_not_empty,
    check_one_of,
    is_constant,
    is_set,
    naming_task,
    parse_bool,
    parse_duration,
    parse_patterns,
    parse_project_ids,
    parse_whole_number,
)
from airflow_provider_paperspace._compat import AirflowFailException
from airflow_provider_paperspace._quoting import count_of
from airflow_provider_paperspace.api._checks import check_project_id, check_tag_name, type_name
from airflow_provider_paperspace.api.errors import InvalidArgumentError, NotFoundError
from airflow_provider_paperspace.api.models import TagTarget
from airflow_provider_paperspace.api.project_tags import converge_project_tags, list_project_tags
from airflow_provider_paperspace.links.paperspace import console_url, set_link
from airflow_provider_paperspace.operators._base import PaperspaceOperator, raise_for_failures, run_instant, utc_now
from airflow_provider_paperspace.operators._batch import DEFAULT_MAX_CONCURRENCY, BatchResult, table
from airflow_provider_paperspace.operators._markdown import plan_summary, removal_summary, report_as_markdown
from airflow_provider_paperspace.operators._records import ChangeLog, ChangeRecord, push
from airflow_provider_paperspace.rules.clean_up import CleanUpRules, RulesJson
from airflow_provider_paperspace.rules.patterns import Pattern

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import ProtectedBy, Tag, TagChange
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
    """A tag that this task did not remove.

    :param why: the reason.
    """

    project_id: str
    tag: str
    why: str


class Report(TypedDict):
    """A plan, and what became of it.

    :param projects: number of projects that were to be read, or that the given plan names.
    :param planned: what is to be removed.
    :param removed: what was removed; nothing after a dry run.
    :param spared: what is stale, or was planned, but not removed: it is protected by the connection, was already gone,
        is kept, is no longer stale, or was on a project that no longer exists.
    :param unreadable: tags with an unreadable date, which were left in place.
    :param failed: error messages by project id.
    :param markdown: the report as Markdown, for a human reader: the totals, the first 200 rows of the plan, with links
        to the console if the connection has a *Team*, the spared tags, and those with an unreadable date.
    """

    dry_run: bool
    projects: int
    rules: RulesJson
    planned: list[Removal]
    removed: list[Removal]
    spared: list[Exemption]
    unreadable: list[Exemption]
    failed: dict[str, str]
    markdown: str


class CleanUpProjectTagsOperator(PaperspaceOperator):
    """Remove stale tags from many projects.

    It first reads all tags, and logs a table of what is to be removed and why. If that is more than ``max_removals``,
    the task fails. Otherwise it removes the tags. Right before it removes tags from a project, it reads that
    project's tags and applies the rules again.

    A tag is stale when it has expired (``name@2026-12-01``, after that day in UTC), or when it matches ``names``.
    ``older_than`` limits ``names`` to tags that were created longer ago than that; without ``names``, every tag older
    than that is stale. ``keep`` always wins, and so do the protected tags of the connection. The time that counts as
    "now" is fixed for each run, however late it runs: the end of the data interval for a scheduled or backfill run, and
    ``run_after`` (on Airflow 2, the logical date) for any other run. It is never in the future.

    ``dtCreated`` is most likely the time when the team first created the tag, which may be long before it was added to
    the project. So ``older_than`` may remove a tag that the project got yesterday; expiry is more precise.

    Returns a report as plain JSON: the plan, what was removed, what was left in place and why. The report of a dry run
    is a plan, which a later task, perhaps after an approval, takes as ``plan``; its ``markdown`` is what to
    show to the person who approves it.

    Set exactly one of ``project_ids``, ``all_projects`` and ``plan``.

    :param project_ids: a list of project ids, or of projects, to clean up. Templated.
    :param all_projects: whether to clean up every project of the team.
    :param names: names or patterns of stale tags, such as ``stale:*``. Templated.
    :param keep: names or patterns of tags that stay, whatever the other rules say. Templated.
    :param expired: whether tags are stale once their last day is over. Default: True.
    :param older_than: minimum age of a tag, by its ``dtCreated``.
    :param max_removals: if the plan has more removals, nothing is removed and the task fails. Templated.
    :param plan: the report of another such task, to carry out instead of making a new plan. The rules of the plan
        apply; only ``keep`` may be added. Templated.
    :param dry_run: whether to stop before the first removal. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: the arguments of every operator, such as ``retries`` and ``outlets``.
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
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "project_ids": "json",
        "names": "json",
        "keep": "json",
        "plan": "json",
    }

    def __init__(
        self,
        *,
        project_ids: ProjectIds | NotSet = NOT_SET,
        all_projects: bool = False,
        plan: Mapping[str, Any] | NotSet = NOT_SET,
        names: Patterns | NotSet = NOT_SET,
        keep: Patterns | NotSet = NOT_SET,
        expired: bool | NotSet = NOT_SET,
        older_than: timedelta | NotSet = NOT_SET,
        max_removals: int | str = 100,
        dry_run: bool | str = False,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(max_concurrency=max_concurrency, paperspace_conn_id=paperspace_conn_id, **kwargs)
        check_one_of(f"Task {self.task_id!r}", project_ids=project_ids, all_projects=all_projects, plan=plan)
        self.project_ids = project_ids
        self.all_projects = all_projects
        self.names = names
        self.keep = keep
        self.expired = expired
        self.older_than = older_than
        self.max_removals = max_removals
        self.plan = plan
        # `dry_run` is a method of every Airflow operator.
        self.is_dry_run = dry_run
        self.check_constants()

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        with naming_task(self.task_id):
            parse_bool(self.all_projects, "all_projects")
            if is_set(self.project_ids) and is_constant(self.project_ids):
                parse_project_ids(self.project_ids)
            if is_constant(self.max_removals):
                parse_whole_number(self.max_removals, "max_removals")
            if is_constant(self.is_dry_run):
                parse_bool(self.is_dry_run, "dry_run")
            # A template is not rendered yet: assume that it gives a rule.
            names, keep = (
                parse_patterns(value, argument) if is_constant(value) else (Pattern("*"),)
                for argument, value in (("names", self.names), ("keep", self.keep))
            )
            self._check_alone_with_plan()
            if not is_set(self.plan):
                self._own_rules(names, keep, utc_now())
            elif is_constant(self.plan):
                _parse_plan(self.plan, keep)

    def execute(self, context: Context) -> Report:
        """Plan, or read the plan; log it; check the limit; remove."""
        with (
            self.open_hook() as hook,
            ChangeLog(context, single=False, dry_run=parse_bool(self.is_dry_run, "dry_run")) as changes,
        ):
            max_removals = parse_whole_number(self.max_removals, "max_removals")
            # Use the run's own time, however late it runs; if that is still in the future, the current time.
            rules = self._rules(min(run_instant(context), utc_now()))
            project_ids = parse_project_ids(self.project_ids) if is_set(self.project_ids) else None
            set_link(self, context, hook.settings)
            report = _empty_report(rules, dry_run=changes.is_dry_run)
            reading = self._plan(hook, rules, report, changes, project_ids)
            if reading.interrupted or reading.fatal:
                raise_for_failures(reading)
            _spare_protected(report, hook.settings.client.protected_by)
            _log_plan(report)
            if len(report["planned"]) > max_removals:
                report["markdown"] = report_as_markdown(report, console_url(hook.settings))
                push(context, "return_value", report)
                message = (
                    f"The plan has {count_of(len(report['planned']), 'removal')}, more than "
                    f"max_removals={max_removals}; nothing was removed. Check the plan above, then raise max_removals "
                    "or narrow the rules."
                )
                log.error("%s", message)
                raise AirflowFailException(message)
            removing: BatchResult[TagChange] = BatchResult()
            if changes.is_dry_run:
                log.info("Dry run: nothing was removed")
            elif reading.is_for_later:
                log.info("Nothing was removed: the service asked for a long wait")
            else:
                removing = self._remove(hook, rules, report, changes)
            result = _combined(reading, removing)
            report["failed"] = {project_id: str(error) for project_id, error in result.failed.items()}
            report["markdown"] = report_as_markdown(report, console_url(hook.settings))
            if result.failed or result.remaining:
                push(context, "return_value", report)
            raise_for_failures(result)
            return report

    def _rules(self, now: datetime) -> CleanUpRules:
        keep = parse_patterns(self.keep, "keep")
        self._check_alone_with_plan()
        if is_set(self.plan):
            return _parse_plan(self.plan, keep)[1]
        return self._own_rules(parse_patterns(self.names, "names"), keep, now)

    def _check_alone_with_plan(self) -> None:
        if is_set(self.plan) and any(map(is_set, (self.names, self.expired, self.older_than))):
            raise InvalidArgumentError("with plan, leave out names, older_than and expired; keep may be added.")

    def _own_rules(self, names: tuple[Pattern, ...], keep: tuple[Pattern, ...], now: datetime) -> CleanUpRules:
        older_than = parse_duration(self.older_than, "older_than") if is_set(self.older_than) else None
        expired = parse_bool(self.expired, "expired") if is_set(self.expired) else True
        return _checked(CleanUpRules(names=names, keep=keep, expired=expired, older_than=older_than, now=now))

    def _plan(
        self,
        hook: PaperspaceHook,
        rules: CleanUpRules,
        report: Report,
        changes: ChangeLog,
        project_ids: list[str] | None,
    ) -> BatchResult[list[Tag]]:
        """Fill the report's plan: from the plan of another task, or by reading the projects.

        :param project_ids: None for every project of the team.
        """
        if is_set(self.plan):
            report["planned"], _ = _parse_plan(self.plan, ())
            report["projects"] = len({removal["project_id"] for removal in report["planned"]})
            return BatchResult()
        if project_ids is None:
            projects = {project.id: project.name for project in self.list_projects(hook)}
        else:
            projects = dict.fromkeys(project_ids, "")
        result = self.run_batch(
            hook,
            projects,
            lambda project_id: _read_affected(project_id, rules, changes, deleted_ok=project_ids is None),
        )
        report["projects"] = len(projects)
        for project_id, tags in result.done.items():
            for tag in tags:
                if reason := rules.stale_reason(tag):
                    report["planned"].append(
                        {"project_id": project_id, "project": projects[project_id], "tag": tag.name, "reason": reason}
                    )
                elif why := rules.unreadable_reason(tag):
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
            lambda id_: _remove_stale(changes.start(id_), planned[id_], rules),
        )
        records = changes.records()
        report["removed"] = [
            planned.get(project_id, {}).get(name) or _removed_earlier(project_id, name)
            for project_id, record in records.items()
            for name in record["removed"]
        ]
        spared: list[Exemption] = [
            {"project_id": project_id, "tag": name, "why": why}
            for project_id, change in result.done.items()
            for name in planned[project_id]
            if (why := _why_spared(name, change, records.get(project_id)))
        ]
        report["spared"] += spared
        log.info("%s", removal_summary(report))
        if spared:
            log.info("Planned, but not removed by this task:\n%s", _exemption_table(spared))
        return result


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
        "markdown": "",
    }


def _read_affected(project_id: str, rules: CleanUpRules, changes: ChangeLog, *, deleted_ok: bool) -> Flow[list[Tag]]:
    """Read a project's tags and return those that are stale or have an unreadable date.

    :param changes: notes all of the tags.
    :param deleted_ok: whether a project that has been deleted counts as one without tags.
    """
    try:
        tags = yield from list_project_tags(project_id, order="asc")
    except NotFoundError:
        if not deleted_ok:
            raise
        log.info("Project %r was deleted while this task ran", project_id)
        return []
    changes.note_read(project_id, tags)
    return [tag for tag in tags if rules.stale_reason(tag) or rules.unreadable_reason(tag)]


def _spare_protected(report: Report, protected_by: ProtectedBy) -> None:
    """Move tags that the connection protects from ``planned`` to ``spared``, even if another task made the plan."""
    report["spared"] = [
        {"project_id": removal["project_id"], "tag": removal["tag"], "why": why}
        for removal in report["planned"]
        if (why := protected_by(removal["tag"]))
    ]
    report["planned"] = [removal for removal in report["planned"] if not protected_by(removal["tag"])]


def _remove_stale(change: TagChange, planned: Iterable[str], rules: CleanUpRules) -> Flow[TagChange]:
    """Remove the planned tags that are still stale; none if the project was deleted."""

    def policy(tags: Mapping[str, Tag]) -> TagTarget:
        return TagTarget(absent=tuple(name for name in planned if name not in tags or rules.stale_reason(tags[name])))

    try:
        return (yield from converge_project_tags(change.project_id, policy, change))
    except NotFoundError:
        if change.before is not None:
            raise
        log.info("Project %r no longer exists: it was deleted after the plan was made", change.project_id)
        return change


def _why_spared(name: str, change: TagChange, record: ChangeRecord | None) -> str:
    """Return why a planned tag was not removed by this task; empty if it was."""
    if change.before is None:
        return "its project no longer exists"
    if record is not None and name in record["removed"]:
        return ""
    if name in change.absent:
        return "already gone"
    return "kept, or no longer stale by the rules of the plan"


def _removed_earlier(project_id: str, tag: str) -> Removal:
    return {"project_id": project_id, "project": "", "tag": tag, "reason": "removed by an earlier try of this task"}


def _combined(reading: BatchResult[Any], removing: BatchResult[Any]) -> BatchResult[Any]:
    """Return the results of both steps: a project that failed or remains in either step is not done."""
    failed, remaining = {**reading.failed, **removing.failed}, [*reading.remaining, *removing.remaining]
    done = {**reading.done, **removing.done}
    return BatchResult(
        {id_: value for id_, value in done.items() if id_ not in failed and id_ not in remaining},
        failed,
        remaining,
        reading.fatal or removing.fatal,
        reading.interrupted or removing.interrupted,
    )


def _parse_plan(plan: object, keep: tuple[Pattern, ...]) -> tuple[list[Removal], CleanUpRules]:
    """Return the removals and the rules in a plan.

    :param keep: more names or patterns of tags that stay.
    :raises InvalidArgumentError: it is not a plan. The message starts with ``plan``.
    """
    check_not_empty("plan", plan)
    try:
        return _parse_planned(plan), _parse_rules(plan, keep=keep)
    except InvalidArgumentError as error:
        message = str(error)
        raise InvalidArgumentError(message if message.startswith("plan ") else f"plan: {message}") from None


def _parse_planned(plan: object) -> list[Removal]:
    """Return the removals in a plan, without duplicates."""
    planned = plan.get("planned") if isinstance(plan, Mapping) else None
    if not isinstance(planned, list) or not all(isinstance(item, Mapping) for item in planned):
        raise InvalidArgumentError(
            f"plan is {type_name(plan)}; it must be the complete report of a CleanUpProjectTagsOperator, with a "
            "'planned' list."
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


def _parse_rules(plan: Any, *, keep: tuple[Pattern, ...]) -> CleanUpRules:
    """Return the rules in a plan.

    :param keep: more names or patterns of tags that stay.
    """
    rules = plan.get("rules")
    if not isinstance(rules, Mapping) or not isinstance(rules.get("expired"), bool):
        raise InvalidArgumentError("plan has no rules; it is not a report from CleanUpProjectTagsOperator.")
    try:
        now = datetime.fromisoformat(str(rules.get("now")))
    except ValueError:
        raise InvalidArgumentError("rules['now'] must be an ISO 8601 date-time.") from None
    if now.tzinfo is None:
        raise InvalidArgumentError("rules['now'] has no time zone.")
    return _checked(
        CleanUpRules(
            names=parse_patterns(rules["names"], "rules['names']") if rules.get("names") else (),
            keep=(*(parse_patterns(rules["keep"], "rules['keep']") if rules.get("keep") else ()), *keep),
            expired=rules["expired"],
            older_than=_parse_older_than(rules.get("older_than_s")),
            now=now,
        )
    )


def _parse_older_than(seconds: Any) -> timedelta | None:
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 < seconds <= timedelta.max.days * 86_400:
        raise InvalidArgumentError("rules['older_than_s'] must be a number of seconds above 0.")
    return timedelta(seconds=seconds)


def _checked(rules: CleanUpRules) -> CleanUpRules:
    """Return the rules, of which at least one must be able to make a tag stale."""
    if not rules.names and not rules.expired and rules.older_than is None:
        raise InvalidArgumentError("No tag can be stale: set names or older_than, or leave expired=True.")
    return rules


def _log_plan(report: Report) -> None:
    planned, spared, unreadable = report["planned"], report["spared"], report["unreadable"]
    log.info("%s", plan_summary(report))
    if planned:
        rows = [(item["project_id"], item["project"], item["tag"], item["reason"]) for item in planned]
        log.info("Plan:\n%s", table(("project", "name", "tag", "reason"), rows))
    if spared:
        log.info("Stale, but protected:\n%s", _exemption_table(spared))
    if unreadable:
        log.warning(
            "%s an unreadable date and %s left in place:\n%s",
            "1 tag has" if len(unreadable) == 1 else f"{len(unreadable)} tags have",
            "was" if len(unreadable) == 1 else "were",
            _exemption_table(unreadable),
        )


def _exemption_table(exemptions: Iterable[Exemption]) -> str:
    return table(("project", "tag", "why"), [(item["project_id"], item["tag"], item["why"]) for item in exemptions])
