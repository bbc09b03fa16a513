"""The change record of a task: what it wrote, as plain JSON in XCom ``change``, so that it can be undone.

If the task has outlets, the record is in the events of their assets, too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict

from airflow_provider_paperspace._compat import IS_AIRFLOW_2, Asset, AssetAlias
from airflow_provider_paperspace.api._checks import check_project_id, check_tag_names, type_name
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.models import Tag, TagChange, TagPlan
from airflow_provider_paperspace.assets import URI_PREFIX, project_asset, project_uri
from airflow_provider_paperspace.hooks.paperspace import is_permanent

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context

log = logging.getLogger(__name__)

XCOM_KEY: Final = "change"
_STORE_KEY: Final = "paperspace_change"


class ChangeRecord(TypedDict):
    """What one task did to the tags of one project.

    :param before: all tag names when the project was first read.
    :param after: all tag names after the last read or write; for a dry run, those that the project would have.
    :param added: the names that this task added.
    :param removed: the names that this task removed.
    :param unsettled: names whose write was sent but not confirmed when the task ended. Whether it took effect is
        unknown, so an undo leaves them alone.
    :param complete: False if an earlier try of the task may have made changes that are not in this record.
    :param dry_run: True if the changes were only planned.
    """

    project_id: str
    before: list[str]
    after: list[str]
    added: list[str]
    removed: list[str]
    unsettled: list[str]
    complete: bool
    dry_run: bool
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int


class ChangeLog:
    """The changes that a task makes. Use it in a ``with`` block: its records are pushed however the block ends.

    Airflow deletes the XComs of a task before it retries the task. Airflow 3.3 and later have a store that survives the
    retry: the records of earlier tries are kept there, and merged with those of this one. A try that may be followed by
    another one marks its entry in the store as open while it runs. If a later try finds it open, the record is
    incomplete: an earlier try was killed, for example, and what it wrote is unknown. Before 3.3 there is no store, and
    the record of a retried task may be incomplete.

    :param single: whether XCom ``change`` contains one record, rather than one for each project id.
    :param dry_run: whether the task only plans. If so, this try cannot leave writes behind, and opens no entry.
    """

    def __init__(self, context: Context, *, single: bool, dry_run: bool = False) -> None:
        self._context = context
        self._single = single
        self.is_dry_run = dry_run
        self._changes: dict[str, TagChange] = {}
        self._plans: dict[str, ChangeRecord] = {}
        self._earlier: dict[str, ChangeRecord] = {}
        self._complete = True
        self._has_entry = False

    def start(self, project_id: str) -> TagChange:
        """Return a new, empty change for a project, to which each confirmed write is added."""
        self._changes[project_id] = change = TagChange(project_id)
        return change

    def note_read(self, project_id: str, tags: Iterable[Tag]) -> None:
        """Remember a project's tags, in case this try does not change the project.

        The project gets a record only if an earlier try may have made changes that are unknown.
        """
        if not self._complete and not self.is_dry_run:
            change = self.start(project_id)
            change.before = change.after = tuple(tag.name for tag in tags)

    def record_plan(self, plan: TagPlan) -> ChangeRecord:
        """Record what a dry run would change on a project, and return the record."""
        record = _record(
            plan.project_id,
            self._context,
            before=plan.tags,
            after=plan.after,
            added=plan.add,
            removed=plan.remove,
            dry_run=True,
        )
        self._plans[plan.project_id] = record
        return record

    def records(self) -> dict[str, ChangeRecord]:
        """Return the records of this try and of earlier ones so far, by project id."""
        # Other threads may be adding to the dict.
        read = [project_id for project_id, change in list(self._changes.items()) if change.before is not None]
        earlier = {id_: self._marked(record) for id_, record in self._earlier.items()}
        records = {**self._plans, **earlier, **{project_id: self.record(project_id) for project_id in read}}
        if records and not self._complete:
            # An earlier try may have written to the projects that this one could not read.
            records = {**{project_id: self._unknown(project_id) for project_id in list(self._changes)}, **records}
        return records

    def record(self, project_id: str) -> ChangeRecord:
        """Return the record of one project so far, across this try and earlier ones; its tags must have been read."""
        change = self._changes[project_id]
        record = _record(
            project_id,
            self._context,
            before=change.before,
            after=change.after or (),
            added=[tag.name for tag in change.added],
            removed=[tag.name for tag in change.removed],
            unsettled=change.unsettled,
        )
        return self._marked(_joined(self._earlier.get(project_id), record))

    def _unknown(self, project_id: str) -> ChangeRecord:
        return self._marked(_record(project_id, self._context, before=(), after=(), added=(), removed=()))

    def _marked(self, record: ChangeRecord) -> ChangeRecord:
        return record if self._complete else {**record, "complete": False}

    def __enter__(self) -> Self:
        store: Any = self._context.get("task_state_store")
        is_retry = getattr(self._context.get("ti"), "try_number", 1) > 1
        if store is None:
            self._complete = not is_retry
            return self
        entry = (store.get(_STORE_KEY) if is_retry else None) or {}
        # Clearing a task raises its max_tries. It then starts over without the earlier records: merged with them, its
        # record would credit the task with what others have changed since.
        was_cleared = bool(entry) and entry["max_tries"] != _max_tries(self._context)
        self._earlier = {} if was_cleared else entry.get("records", {})
        self._complete = not (was_cleared or entry.get("open", False))
        self._has_entry = bool(entry)
        if _has_tries_left(self._context) and not self.is_dry_run:
            self._store(store, self._earlier, is_open=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._publish(error)
        except Exception:
            if error is None:
                raise
            log.exception("The change record of this task could not be saved")

    def _publish(self, error: BaseException | None) -> None:
        records = self.records()
        # A project name may resolve to a different id than in an earlier try; then there are two records.
        change = next(iter(records.values())) if self._single and len(records) == 1 else records
        if records or (error is None and not self._single):
            push(self._context, XCOM_KEY, change)
        if error is None:
            announce(self._context, records, change)
        store: Any = self._context.get("task_state_store")
        if error is not None and not is_permanent(error) and _has_tries_left(self._context):
            if store is not None:
                written = {id_: record for id_, record in records.items() if _has_writes(record)}
                self._store(store, written, is_open=not self._complete)
        elif self._has_entry:
            store.delete(_STORE_KEY)

    def _store(self, store: Any, records: dict[str, ChangeRecord], *, is_open: bool) -> None:
        entry = {"open": is_open, "records": records, "max_tries": _max_tries(self._context)}
        store.set(_STORE_KEY, entry)
        self._has_entry = True


def parse_records(value: object) -> list[ChangeRecord]:
    """Return the records that came through XCom: one, a list of them, or one for each project id.

    An empty mapping is valid: it comes from a task without projects. An empty list means that there was no task at all.

    :raises InvalidArgumentError: the value is none of these.
    """
    if isinstance(value, Mapping) and "project_id" in value:
        return [_parse_record(value)]
    if value is None:
        raise InvalidArgumentError(
            "change is None: the other task left no change record. It did not run, was killed, or failed before it "
            "began changing tags. Nothing was undone."
        )
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidArgumentError(
            f"change is {type_name(value)}; it must be the XCom {XCOM_KEY!r} of a task that changes tags: "
            f"task.output[{XCOM_KEY!r}], or the output of SetProjectTagsOperator."
        )
    items = list(value.values() if isinstance(value, Mapping) else value)
    if not items and not isinstance(value, Mapping):
        raise InvalidArgumentError("change is empty: no task left a change record. Nothing was undone.")
    return [record for item in items for record in parse_records(item)]


def push(context: Context, key: str, value: Any) -> None:
    """Push an XCom, if there is a task instance to push it for."""
    ti: Any = context.get("ti")
    if ti is not None:
        ti.xcom_push(key=key, value=value)


def announce(context: Context, records: Mapping[str, ChangeRecord], change: Any) -> None:
    """Put what a task changed into the asset events of its outlets. Airflow emits them once the task has succeeded.

    An alias gets an event for each project that was changed. The asset of a project gets an event if that project was
    changed. Any other asset gets an event in any case; that is Airflow's rule.

    :param records: the records by project id.
    :param change: what XCom ``change`` contains, for the assets that are not those of a project.
    """
    task: Any = context.get("task")
    outlets: list[Any] = list(getattr(task, "outlets", None) or ())
    if not outlets:
        return
    events: Any = context.get("outlet_events")
    changed = {project_uri(id_): record for id_, record in records.items() if _may_have_changed(record)}
    silent = []
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            for record in changed.values():
                events[outlet].add(project_asset(record["project_id"]), extra=_extra_of_alias(record))
        elif isinstance(outlet, Asset) and outlet.uri in changed:
            events[outlet].extra = {**changed[outlet.uri]}
        elif isinstance(outlet, Asset) and outlet.uri.startswith(URI_PREFIX):
            silent.append(outlet)
        elif isinstance(outlet, Asset):
            events[outlet].extra = {**change}
    if silent:
        # The task is the copy that Airflow made for this run. Airflow reads what to announce from it afterwards.
        task.outlets = [outlet for outlet in outlets if outlet not in silent]


def _extra_of_alias(record: ChangeRecord) -> dict[str, Any]:
    """Return the record in a form that Airflow can store.

    Airflow 2 needs hashable values, and stores a tuple as a list: https://github.com/apache/airflow/issues/56882.
    """
    return {key: tuple(value) if IS_AIRFLOW_2 and isinstance(value, list) else value for key, value in record.items()}


def _has_writes(record: ChangeRecord) -> bool:
    return not record["dry_run"] and bool(record["added"] or record["removed"] or record["unsettled"])


def _may_have_changed(record: ChangeRecord) -> bool:
    """Return whether to announce a record: one event too many is better than a missing one."""
    return _has_writes(record) or not record["complete"]


def _has_tries_left(context: Context) -> bool:
    try_number, max_tries = getattr(context.get("ti"), "try_number", None), _max_tries(context)
    return isinstance(try_number, int) and max_tries is not None and try_number <= max_tries


def _max_tries(context: Context) -> int | None:
    max_tries = getattr(context.get("ti"), "max_tries", None)
    return max_tries if isinstance(max_tries, int) else None


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
        # Names that this try added or removed are settled now; the others are not.
        "unsettled": [
            *(name for name in earlier["unsettled"] if name not in later["added"] and name not in later["removed"]),
            *later["unsettled"],
        ],
    }


def _parse_record(value: Mapping[str, Any]) -> ChangeRecord:
    record: Any = {**value}
    check_project_id(record["project_id"])
    for key in ("added", "removed"):
        if not isinstance(record.get(key), list):
            raise InvalidArgumentError(
                f"The change to project {record['project_id']!r} has no {key!r} list; it is not a change record."
            )
        record[key] = list(check_tag_names(record[key]))
    record["unsettled"] = list(check_tag_names(record.get("unsettled") or []))
    record["complete"] = record.get("complete") is not False
    record["dry_run"] = record.get("dry_run") is True
    checked: ChangeRecord = record
    return checked


def _record(
    project_id: str,
    context: Context,
    *,
    before: Iterable[str] | None,
    after: Iterable[str],
    added: Iterable[str],
    removed: Iterable[str],
    unsettled: Iterable[str] = (),
    dry_run: bool = False,
) -> ChangeRecord:
    ti: Any = context.get("ti")
    return {
        "project_id": project_id,
        "before": list(before or ()),
        "after": list(after),
        "added": list(added),
        "removed": list(removed),
        "unsettled": list(unsettled),
        "complete": True,
        "dry_run": dry_run,
        "dag_id": getattr(ti, "dag_id", ""),
        "run_id": getattr(ti, "run_id", ""),
        "task_id": getattr(ti, "task_id", ""),
        "map_index": getattr(ti, "map_index", -1),
        "try_number": getattr(ti, "try_number", 1),
    }
