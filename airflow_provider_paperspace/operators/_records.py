"""The change record of a task: what it wrote, as plain JSON in XCom ``change``, which an undo takes back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict

from airflow_provider_paperspace.api._checks import check_project_id, check_tag_names, type_name
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.models import TagChange, TagPlan
from airflow_provider_paperspace.hooks.paperspace import is_permanent

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context

log = logging.getLogger(__name__)

XCOM_KEY: Final = "change"
_STORE_KEY: Final = "paperspace_change"


class ChangeRecord(TypedDict):
    """What one task did to the tags of one project.

    :param before: all names that the project had when it was first read.
    :param after: all names that it has now, as far as was seen; after a dry run, those that it would have.
    :param added: the names that this task added.
    :param removed: the names that this task removed.
    :param dry_run: whether all of it was only planned.
    """

    project_id: str
    before: list[str]
    after: list[str]
    added: list[str]
    removed: list[str]
    dry_run: bool
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int


class ChangeLog:
    """The changes that a task makes. Use it in a ``with`` block: its records are pushed however the block ends.

    Airflow drops a task's XComs when it retries it. From Airflow 3.3 on it has a store that outlives the retry: there
    the records of earlier tries are kept and joined with those of this one. Before 3.3 the records are those of the
    last try alone.

    :param single: whether XCom ``change`` holds one record, rather than one for each project id.
    """

    def __init__(self, context: Context, *, single: bool) -> None:
        self._context = context
        self._single = single
        self._changes: dict[str, TagChange] = {}
        self._earlier: dict[str, ChangeRecord] = {}

    def start(self, project_id: str) -> TagChange:
        """Return the change of a project, empty, to grow with each answered write."""
        self._changes[project_id] = change = TagChange(project_id)
        return change

    def records(self) -> dict[str, ChangeRecord]:
        """Return what was changed so far by project id, in this try and in earlier ones."""
        read = [project_id for project_id, change in list(self._changes.items()) if change.before is not None]
        return {**self._earlier, **{project_id: self.record(project_id) for project_id in read}}

    def record(self, project_id: str) -> ChangeRecord:
        """Return what was changed so far on a project whose tags were read, in this try and in earlier ones."""
        change = self._changes[project_id]
        record = _record(
            project_id,
            change.before or (),
            change.after or (),
            [tag.name for tag in change.added],
            [tag.name for tag in change.removed],
            self._context,
            dry_run=False,
        )
        return _joined(self._earlier.get(project_id), record)

    def __enter__(self) -> Self:
        # So that an undo finds nothing to do, rather than no record, if this task fails before its first write.
        push(self._context, XCOM_KEY, {})
        store: Any = self._context.get("task_state_store")
        if store is not None and getattr(self._context.get("ti"), "try_number", 1) > 1:
            self._earlier = store.get(_STORE_KEY) or {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._publish(will_retry=error is not None and not is_permanent(error) and _has_tries_left(self._context))
        except Exception:
            if error is None:
                raise
            log.exception("The change record of this task could not be saved")

    def _publish(self, *, will_retry: bool) -> None:
        records = self.records()
        if records:
            # The name of a project may lead to another id than it did in an earlier try: then there are two records.
            is_single = self._single and len(records) == 1
            push(self._context, XCOM_KEY, next(iter(records.values())) if is_single else records)
        store: Any = self._context.get("task_state_store")
        if store is None:
            return
        written = {id_: record for id_, record in records.items() if record["added"] or record["removed"]}
        if will_retry and written:
            store.set(_STORE_KEY, written)
        elif self._earlier:
            # A task that is cleared later starts anew: what others did since must not count as its own.
            store.delete(_STORE_KEY)


def record_of_plan(plan: TagPlan, context: Context) -> ChangeRecord:
    """Return the record of a dry run: what would be changed."""
    return _record(plan.project_id, plan.tags, plan.after, list(plan.add), list(plan.remove), context, dry_run=True)


def parse_records(value: object) -> list[ChangeRecord]:
    """Return the records that came through XCom: one, a list of them, or one for each project id.

    :raises InvalidArgumentError: it is none of these.
    """
    if isinstance(value, Mapping) and "project_id" in value:
        return [_parse_record(value)]
    if isinstance(value, Mapping):
        value = value.values()
    if value is None or isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidArgumentError(
            f"change is {type_name(value)}; it must be what a writing task pushed as XCom {XCOM_KEY!r}: "
            f"task.output[{XCOM_KEY!r}], or the output of SetProjectTagsOperator."
        )
    return [record for item in value for record in parse_records(item)]


def push(context: Context, key: str, value: Any) -> None:
    """Push an XCom, if there is a task instance to push it for."""
    ti: Any = context.get("ti")
    if ti is not None:
        ti.xcom_push(key=key, value=value)


def _has_tries_left(context: Context) -> bool:
    ti: Any = context.get("ti")
    try_number, max_tries = getattr(ti, "try_number", None), getattr(ti, "max_tries", None)
    return isinstance(try_number, int) and isinstance(max_tries, int) and try_number <= max_tries


def _joined(earlier: ChangeRecord | None, later: ChangeRecord) -> ChangeRecord:
    """Return the net effect of two tries."""
    if earlier is None:
        return later
    net: Counter[str] = Counter()
    for record in (earlier, later):
        net.update(record["added"])
        net.subtract(record["removed"])
    return {
        **later,
        "before": earlier["before"],
        "added": [name for name, count in net.items() if count > 0],
        "removed": [name for name, count in net.items() if count < 0],
    }


def _parse_record(value: Mapping[str, Any]) -> ChangeRecord:
    record: Any = {**value}
    check_project_id(record["project_id"])
    for key in ("added", "removed"):
        if not isinstance(record.get(key), list):
            raise InvalidArgumentError(
                f"The change of project {record['project_id']!r} has no list {key!r}; it is not a change record."
            )
        record[key] = list(check_tag_names(record[key]))
    record["dry_run"] = record.get("dry_run") is True
    checked: ChangeRecord = record
    return checked


def _record(
    project_id: str,
    before: Iterable[str],
    after: Iterable[str],
    added: list[str],
    removed: list[str],
    context: Context,
    *,
    dry_run: bool,
) -> ChangeRecord:
    ti: Any = context.get("ti")
    return {
        "project_id": project_id,
        "before": list(before),
        "after": list(after),
        "added": added,
        "removed": removed,
        "dry_run": dry_run,
        "dag_id": getattr(ti, "dag_id", ""),
        "run_id": getattr(ti, "run_id", ""),
        "task_id": getattr(ti, "task_id", ""),
        "map_index": getattr(ti, "map_index", -1),
        "try_number": getattr(ti, "try_number", 1),
    }
