"""``python -m airflow_provider_paperspace tags``: list, add, remove and set a project's tags from a terminal.

It runs the same flows as the operators, reads arguments as they do, and prints the same messages and change records.
Only the result goes to standard output; messages go to standard error, as do Airflow's log lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace._arguments import (
    NOT_SET,
    NotSet,
    check_not_empty,
    check_project,
    find_project,
    parse_prefix,
    parse_tag_names,
)
from airflow_provider_paperspace._quoting import count_of, quoted, quoted_list
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import InvalidArgumentError, PaperspaceError
from airflow_provider_paperspace.api.models import Tag, TagChange, TagPlan
from airflow_provider_paperspace.api.project_tags import converge_project_tags, list_project_tags, plan_project_tags
from airflow_provider_paperspace.operators._batch import table
from airflow_provider_paperspace.operators._records import ChangeLog

if TYPE_CHECKING:
    import argparse

    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook


def parse(options: argparse.Namespace) -> policies.Policy | None:
    """Check the arguments; return what the tags should become, or None to list them.

    :raises InvalidArgumentError: an argument cannot be used.
    """
    check_not_empty("PROJECT", options.project)
    check_project(*_project(options), NOT_SET)
    if options.action == "list":
        return None
    names = parse_tag_names(options.names, "NAME")
    if options.action == "add":
        return policies.adding(names)
    if options.action == "remove":
        return policies.removing(names)
    within = None if options.within is None else parse_prefix(options.within)
    if not names and not options.allow_empty:
        which = "all tags" if within is None else f"all tags that start with {within!r}"
        raise InvalidArgumentError(
            f"No NAME is given, which would remove {which}. If you want that, add --allow-empty."
        )
    return policies.setting(names, within=within)


def run(options: argparse.Namespace, policy: policies.Policy | None, hook: PaperspaceHook) -> tuple[str, str | None]:
    """Carry out the command; return what to print, and why it failed or None.

    After a failure, the reason says what was written before it, and so do the records that ``--json`` prints.
    """
    changes, change = ChangeLog({}, single=True, dry_run=options.dry_run), None
    try:
        project_id = hook.run(find_project(*_project(options)))
        if policy is None:
            return _listed(project_id, hook.run(list_project_tags(project_id)), as_json=options.json), None
        if options.dry_run:
            return _planned(hook.run(plan_project_tags(project_id, policy)), changes, as_json=options.json), None
        change = changes.start(project_id)
        hook.run(converge_project_tags(project_id, policy, change))
        return _changed(change, changes, as_json=options.json), None
    except PaperspaceError as error:
        problem = str(error)
    except KeyboardInterrupt:
        problem = "interrupted"
        if change:
            problem += f". Project {quoted(change.project_id)}: {change}"
        if change is not None and change.unsettled:
            problem += f". It is unknown whether the change to {quoted_list(change.unsettled)} took effect"
    records = changes.records()
    return _dumped(*records.values()) if options.json and records else "", problem


def _project(options: argparse.Namespace) -> tuple[str | NotSet, str | NotSet]:
    """Return the project's id and name, of which one is not set."""
    return (NOT_SET, options.project) if options.name else (options.project, NOT_SET)


def _listed(project_id: str, tags: list[Tag], *, as_json: bool) -> str:
    if as_json:
        return _dumped([tag.as_json() for tag in tags])
    rows = [(tag.name, tag.dt_created) for tag in tags]
    return _report(("tag", "created"), rows, f"Project {quoted(project_id)}: {count_of(len(tags), 'tag')}")


def _planned(plan: TagPlan, changes: ChangeLog, *, as_json: bool) -> str:
    record = changes.record_plan(plan)
    if as_json:
        return _dumped(record)
    rows = _rows(
        ("would be added", plan.add), ("would be removed", plan.remove), *_unchanged(plan.unchanged, plan.absent)
    )
    return _report(("tag", "change"), rows, f"Dry run. Project {quoted(plan.project_id)}: {plan}")


def _changed(change: TagChange, changes: ChangeLog, *, as_json: bool) -> str:
    if as_json:
        return _dumped(changes.record(change.project_id))
    added, removed, unchanged = (
        [tag.name for tag in tags] for tags in (change.added, change.removed, change.unchanged)
    )
    rows = _rows(("added", added), ("removed", removed), *_unchanged(unchanged, change.absent))
    return _report(("tag", "change"), rows, f"Project {quoted(change.project_id)}: {change}")


def _unchanged(there: Iterable[str], absent: Iterable[str]) -> Iterator[tuple[str, Iterable[str]]]:
    yield "was already there", there
    yield "was not there", absent


def _rows(*changes: tuple[str, Iterable[str]]) -> list[tuple[str, str]]:
    return [(name, change) for change, names in changes for name in names]


def _report(header: tuple[str, str], rows: list[tuple[str, str]], last_line: str) -> str:
    return f"{table(header, rows)}\n\n{last_line}" if rows else last_line


def _dumped(value: Any) -> str:
    # ASCII, so that no name can control the terminal.
    return json.dumps(value, indent=2)
