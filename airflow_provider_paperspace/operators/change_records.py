"""What a task changed, as plain JSON: what it returns or pushes as XCom ``change``, and what an undo takes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypedDict

from airflow_provider_paperspace.api.messages import check_project_id, check_tag_names

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.models import TagChange

XCOM_KEY: Final = "change"
_STORE_KEY: Final = "paperspace_change"


class ChangeRecord(TypedDict):
    """What one task did to the tags of one project.

    :param before: all names that the project had when it was read.
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


def records_of(changes: Mapping[str, TagChange], context: Context, *, tried_again: bool) -> dict[str, ChangeRecord]:
    """Record what was changed, by project id, and by which task; joined with what its tries before have changed.

    :param tried_again: whether this try fails and another follows.
    """
    records = {
        project_id: _record(
            project_id,
            change.before,
            change.after,
            [tag.name for tag in change.added],
            [tag.name for tag in change.removed],
            context,
            dry_run=False,
        )
        for project_id, change in changes.items()
    }
    return _with_earlier_tries(records, context, tried_again=tried_again)


def record_of_plan(
    project_id: str, before: Iterable[str], add: Iterable[str], remove: Iterable[str], context: Context
) -> ChangeRecord:
    """Record what would be changed."""
    before, add, remove = list(before), list(add), list(remove)
    gone = set(remove)
    after = [name for name in [*before, *add] if name not in gone]
    return _record(project_id, before, after, add, remove, context, dry_run=True)


def _with_earlier_tries(
    records: Mapping[str, ChangeRecord], context: Context, *, tried_again: bool
) -> dict[str, ChangeRecord]:
    """Join the records of this try with those of the tries before, and keep them for the next.

    Airflow drops a task's XComs when it is tried again. From 3.3 on it has a store that survives that; before 3.3 the
    records are those of the last try alone.

    :param records: by project id.
    :param tried_again: whether this try fails and another follows. If not, nothing is kept: a task that is cleared
        later begins anew, and what others did since is not to be taken for its own.
    """
    store: Any = context.get("task_state_store")
    if store is None:
        return dict(records)
    earlier: dict[str, Any] = store.get(_STORE_KEY) or {}
    joined = {**earlier, **{id_: _joined(earlier.get(id_), record) for id_, record in records.items()}}
    changed = {id_: record for id_, record in joined.items() if record["added"] or record["removed"]}
    if tried_again and changed:
        store.set(_STORE_KEY, changed)
    elif earlier and not tried_again:
        store.delete(_STORE_KEY)
    return joined


def _joined(earlier: ChangeRecord | None, later: ChangeRecord) -> ChangeRecord:
    """Give the net effect of two tries."""
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


def read_records(value: Any) -> list[ChangeRecord]:
    """Read records that came through XCom: one, a list of them, or one for each project id.

    :raises TypeError: it is none of these. :raises ValueError: a record holds names that could not be sent.
    """
    if isinstance(value, Mapping) and "project_id" in value:
        return [_read(value)]
    if isinstance(value, Mapping):
        value = value.values()
    if value is None or isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        found = "None" if value is None else f"a {type(value).__name__}"
        raise TypeError(
            f"change is {found}, and must be what a writing task pushed as XCom {XCOM_KEY!r}: "
            f"task.output[{XCOM_KEY!r}], or the output of SetProjectTagsOperator."
        )
    return [record for item in value for record in read_records(item)]


def _read(value: Mapping[str, Any]) -> ChangeRecord:
    record: Any = {**value}
    check_project_id(record["project_id"])
    for key in ("added", "removed"):
        if not isinstance(record.get(key), list):
            raise TypeError(f"The change of project {record['project_id']!r} has no list {key!r}: it is no record.")
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
