"""Takes stale tags off many projects: plans first, shows the plan, keeps to a limit, and can do it in two tasks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_paperspace._compat import AirflowFailException
from airflow_provider_paperspace.api.clean_up import (
    CleanUpRules,
    Doubt,
    Removal,
    Report,
    planned_from_json,
    rules_from_json,
)
from airflow_provider_paperspace.api.errors import NotFoundError
from airflow_provider_paperspace.api.many import Outcome
from airflow_provider_paperspace.api.policies import Policy, Wanted
from airflow_provider_paperspace.arguments import Patterns, flag, patterns, project_ids_of, whole_number
from airflow_provider_paperspace.links.paperspace import push_link
from airflow_provider_paperspace.operators.change_records import XCOM_KEY
from airflow_provider_paperspace.operators.for_projects import ManyProjectsOperator
from airflow_provider_paperspace.operators.outcomes import keep_changes, push
from airflow_provider_paperspace.operators.run_instant import run_instant
from airflow_provider_paperspace.operators.tables import table

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.api.models import Tag, TagChange
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

log = logging.getLogger(__name__)

NO_PLAN: Final = ()
"""The default of ``plan``. None is not: it is what a plan comes to when the task that made it returned nothing."""


class CleanUpProjectTagsOperator(ManyProjectsOperator):
    """Take stale tags off many projects.

    It reads all tags first, prints what is to go as a table with the reason for each, refuses if that is more than
    ``max_removals``, and only then removes. Just before each removal the tag is read and the rules are asked again.

    A tag goes when it has expired (``name@2026-12-01``, after that day in UTC), or when it matches ``names``.
    ``older_than`` narrows ``names`` to tags that were created so long ago; without ``names`` it takes any tag of that
    age. ``keep`` always wins. "Now" is the end of the run's data interval, however late the run is.

    ``dtCreated`` is most likely the date of the team's tag and may be older than its place on a project:
    ``older_than`` is the blunt tool, expiry the sharp one.

    Returns a report as plain JSON: the plan, what was removed, what was spared and why. The report of a dry run is
    a plan that a later task, perhaps after an approval, takes as ``plan``.

    :param project_ids: the projects to look at, ids or projects; None for every project of the team. Templated.
    :param names: names or patterns such as ``stale:*`` of tags that go. Templated.
    :param keep: names or patterns of tags that stay, whatever else holds. Templated.
    :param expired: whether tags go whose last day is over.
    :param older_than: how long ago a tag must have been created.
    :param max_removals: with more than this in the plan nothing at all is removed, and the task fails. Templated.
    :param plan: the report of another such task, to do what it planned in place of planning anew. Templated.
    :param dry_run: whether to stop before the first removal. Templated.
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
        project_ids: Sequence[Any] | None = None,
        names: Patterns = (),
        keep: Patterns = (),
        expired: bool = True,
        older_than: timedelta | None = None,
        max_removals: int | str = 100,
        plan: Mapping[str, Any] | tuple[()] = NO_PLAN,
        dry_run: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if plan is not NO_PLAN and (project_ids is not None or older_than is not None):
            raise ValueError(f"Task {self.task_id!r}: a plan brings its own projects and rules. Give keep at most.")
        self.project_ids = project_ids
        self.names = names
        self.keep = keep
        self.expired = expired
        self.older_than = older_than
        self.max_removals = max_removals
        self.plan = plan
        self._has_plan = plan is not NO_PLAN
        self._given = {"project_ids": project_ids is not None}
        # Under its own name it would hide a method that every operator has.
        self.is_dry_run = dry_run

    def execute(self, context: Context) -> Report:
        """Plan, or read the plan; show it; keep to the limit; remove."""
        with self.open_hook() as hook:
            only_plan, at_most = flag(self.is_dry_run, "dry_run"), whole_number(self.max_removals, "max_removals")
            push(context, XCOM_KEY, {})
            self.check_given()
            rules = self._rules(context)
            push_link(context, hook)
            report, reading = self._plan(hook, rules)
            report["dry_run"] = only_plan
            _show(report)
            if len(report["planned"]) > at_most:
                push(context, "return_value", report)
                raise AirflowFailException(
                    f"The plan would remove {len(report['planned'])} tags, more than max_removals={at_most}: nothing "
                    "was removed. Look at the plan above, and raise max_removals or narrow the rules."
                )
            if only_plan:
                log.info("Dry run: nothing was removed")
                removing: Outcome[TagChange] = Outcome()
            else:
                removing = self._remove(hook, rules, report, context)
            both = _together(reading, removing)
            report["failed"] = {project_id: str(error) for project_id, error in both.failed.items()}
            if both.failed or both.left:
                push(context, "return_value", report)
            self.raise_for(both)
            return report

    def _rules(self, context: Context) -> CleanUpRules:
        names, keep = patterns(self.names, "names"), patterns(self.keep, "keep")
        if self._has_plan:
            planned_from_json(self.plan)
            if names:
                raise ValueError("a plan brings its own projects and rules. Give keep at most.")
            return rules_from_json(dict(self.plan)["rules"] if "rules" in self.plan else None, keep=keep)
        return CleanUpRules(
            names=names, keep=keep, expired=self.expired, older_than=self.older_than, now=run_instant(context)
        )

    def _plan(self, hook: PaperspaceHook, rules: CleanUpRules) -> tuple[Report, Outcome[list[Tag]]]:
        report: Report = {
            "dry_run": True,
            "projects": 0,
            "rules": rules.as_json(),
            "planned": [],
            "removed": [],
            "spared": [],
            "unreadable": [],
            "failed": {},
        }
        if self._has_plan:
            report["planned"] = planned_from_json(self.plan)
            report["projects"] = len({removal["project_id"] for removal in report["planned"]})
            return report, Outcome()
        if self.project_ids is None:
            projects = {p.id: p.name for p in hook.iter_projects() if p.dt_deleted is None}
        else:
            projects = dict.fromkeys(project_ids_of(self.project_ids), "")

        async def read(client: AsyncPaperspaceClient, project_id: str) -> list[Tag]:
            try:
                tags = await client.list_project_tags(project_id, order="asc")
            except NotFoundError:
                if self.project_ids is not None:
                    raise
                log.info("Project %r was deleted while this task ran", project_id)
                return []
            # What is of no interest is let go at once: the team may have many tags.
            return [tag for tag in tags if rules.reason(tag) or rules.doubt(tag)]

        reading = self.run_for_projects(hook, list(projects), read)
        report["projects"] = len(projects)
        for project_id, tags in reading.done.items():
            for tag in tags:
                if reason := rules.reason(tag):
                    report["planned"].append(
                        {"project_id": project_id, "project": projects[project_id], "tag": tag.name, "reason": reason}
                    )
                if doubt := rules.doubt(tag):
                    report["unreadable"].append({"project_id": project_id, "tag": tag.name, "why": doubt})
        return report, reading

    def _remove(
        self, hook: PaperspaceHook, rules: CleanUpRules, report: Report, context: Context
    ) -> Outcome[TagChange]:
        planned: dict[str, dict[str, Removal]] = {}
        for removal in report["planned"]:
            planned.setdefault(removal["project_id"], {})[removal["tag"]] = removal
        spared: list[Doubt] = []

        def policy_for(project_id: str) -> Policy:
            def policy(there: Mapping[str, Tag]) -> Wanted:
                whys = {name: _why_spared(rules, there.get(name)) for name in planned[project_id]}
                spared.extend({"project_id": project_id, "tag": n, "why": why} for n, why in whys.items() if why)
                return Wanted(gone=tuple(name for name, why in whys.items() if not why))

            return policy

        async def remove(client: AsyncPaperspaceClient, project_id: str) -> TagChange:
            return await client.converge_project_tags(project_id, policy_for(project_id))

        def keep(outcome: Outcome[TagChange]) -> None:
            records = keep_changes(outcome, context)
            report["removed"] = [
                planned.get(project_id, {}).get(name) or _by_an_earlier_try(project_id, name)
                for project_id, record in records.items()
                for name in record["removed"]
            ]
            report["spared"] = spared
            if outcome.failed or outcome.left:
                push(context, "return_value", report)

        outcome = self.run_for_projects(hook, list(planned), remove, keep=keep)
        log.info("Removed %d of %d planned tags", len(report["removed"]), len(report["planned"]))
        if spared:
            header, rows = ("project", "tag", "why it stays"), [(s["project_id"], s["tag"], s["why"]) for s in spared]
            log.info("Planned, and spared:\n%s", table(header, rows))
        return outcome


def _by_an_earlier_try(project_id: str, tag: str) -> Removal:
    return {"project_id": project_id, "project": "", "tag": tag, "reason": "removed by an earlier try of the task"}


def _together(reading: Outcome[Any], removing: Outcome[Any]) -> Outcome[Any]:
    """Join what became of each project in the two steps: one that failed or was left in either is not done."""
    failed, left = {**reading.failed, **removing.failed}, [*reading.left, *removing.left]
    done = {**reading.done, **removing.done}
    return Outcome({id_: v for id_, v in done.items() if id_ not in failed and id_ not in left}, failed, left)


def _why_spared(rules: CleanUpRules, tag: Tag | None) -> str:
    """Look at a planned tag again, as it is now; give nothing when it is to go."""
    if tag is None:
        return "is gone already"
    return "" if rules.reason(tag) else "is kept, or no longer stale by the rules of the plan"


def _show(report: Report) -> None:
    planned, unreadable = report["planned"], report["unreadable"]
    log.info("%d tags to remove, of %d projects looked at", len(planned), report["projects"])
    if planned:
        rows = [(r["project_id"], r["project"], r["tag"], r["reason"]) for r in planned]
        log.info("The plan:\n%s", table(("project", "name", "tag", "reason"), rows))
    if unreadable:
        doubts = [(doubt["project_id"], doubt["tag"], doubt["why"]) for doubt in unreadable]
        log.warning(
            "%d tags have a date that cannot be read, and stay:\n%s",
            *(len(unreadable), table(("project", "tag", "why"), doubts)),
        )
