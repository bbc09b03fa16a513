"""What a task leaves behind of its work on many projects, and whether Airflow will try it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace.hooks.opening import is_beyond_retry
from airflow_provider_paperspace.operators.change_records import XCOM_KEY, ChangeRecord, records_of

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.many import Outcome
    from airflow_provider_paperspace.api.models import TagChange


def keep_changes(outcome: Outcome[TagChange], context: Context) -> dict[str, ChangeRecord]:
    """Push the records of what was changed as XCom ``change``, of the projects that failed or were cut off as well."""
    partial = {id_: error.change for id_, error in outcome.broken_off.items() if error.change is not None}
    records = records_of({**outcome.done, **partial}, context, tried_again=will_be_tried_again(outcome, context))
    push(context, XCOM_KEY, records)
    return records


def is_lasting(outcome: Outcome[Any]) -> bool:
    """Say whether a retry could mend nothing of what failed."""
    if outcome.ended_by is not None:
        return is_beyond_retry(outcome.ended_by)
    return bool(outcome.failed) and not outcome.left and all(map(is_beyond_retry, outcome.failed.values()))


def will_be_tried_again(outcome: Outcome[Any], context: Context) -> bool:
    """Say whether the task fails by this outcome, and Airflow then tries it again by itself."""
    return bool(outcome.failed or outcome.left) and not is_lasting(outcome) and has_tries_left(context)


def has_tries_left(context: Context) -> bool:
    """Say whether Airflow tries the task again by itself, should it fail."""
    ti: Any = context.get("ti")
    tries, most = getattr(ti, "try_number", None), getattr(ti, "max_tries", None)
    return isinstance(tries, int) and isinstance(most, int) and tries <= most


def push(context: Context, key: str, value: Any) -> None:
    """Push an XCom, where there is a task instance to push it for."""
    ti: Any = context.get("ti")
    if ti is not None:
        ti.xcom_push(key=key, value=value)
