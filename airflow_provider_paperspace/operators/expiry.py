"""The last day of tags that are written to expire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace.api.expiring_tags import expiring_tag
from airflow_provider_paperspace.operators.run_instant import run_instant

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context


def names_that_expire(names: Sequence[str], expires_in: Any, expires_on: Any, context: Context) -> list[str]:
    """Mark the names with their last day, or leave them as they are if none is asked for.

    :raises TypeError: ``expires_in`` is no timedelta, or ``expires_on`` no date. :raises ValueError: the day cannot be
        read, or a name carries one already.
    """
    if expires_in is None and expires_on is None:
        return list(names)
    last_day = _last_day_in(expires_in, context) if expires_in is not None else _last_day_on(expires_on)
    return [str(expiring_tag(name, last_day)) for name in names]


def _last_day_in(expires_in: Any, context: Context) -> date:
    if not isinstance(expires_in, timedelta):
        raise TypeError(f"expires_in is a {type(expires_in).__name__}, and must be a timedelta.")
    if expires_in < timedelta(0):
        raise ValueError(f"expires_in is {expires_in}, which lies in the past.")
    return (run_instant(context).astimezone(UTC) + expires_in).date()


def _last_day_on(expires_on: Any) -> date:
    if isinstance(expires_on, datetime):
        if expires_on.tzinfo is None:
            raise ValueError(f"expires_on is {expires_on}, which has no time zone. Give a date, or an aware instant.")
        return expires_on.astimezone(UTC).date()
    if isinstance(expires_on, date):
        return expires_on
    if not isinstance(expires_on, str):
        raise TypeError(f"expires_on is a {type(expires_on).__name__}, and must be a date or text such as 2026-12-01.")
    try:
        if len(expires_on.strip()) != len("2026-12-01"):
            raise ValueError
        return date.fromisoformat(expires_on.strip())
    except ValueError:
        raise ValueError(f"expires_on is {expires_on!r}, and must be a date such as 2026-12-01.") from None
