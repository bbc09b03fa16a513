"""Reads the arguments of operators, sensors and notifiers once templates and XCom have filled them.

Each function returns the value, or raises InvalidArgumentError with a message that names the argument.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace.api._checks import check_project_id, check_tag_names, type_name
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.projects import resolve_project_id

if TYPE_CHECKING:
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.rules.watching import MatchMode

Tags = str | Sequence[str] | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A name, a list of names, or tags as another task returned them."""

Patterns = str | Sequence[str]
"""A name or pattern, or a list of them."""


def find_project(project_id: object, project_name: Any) -> Flow[str]:
    """Return the id of the project that a task names: by its name if that is set, or else by its id.

    A flow, so that it runs over either client; it sends requests for a name only.
    """
    if project_name is None:
        return parse_project_id(project_id)
    return (yield from resolve_project_id(project_name))


def parse_project_id(value: object) -> str:
    """Return the id in ``value``: an id, or a project as ``ListProjectsOperator`` returns it."""
    if isinstance(value, Mapping) and isinstance(value.get("id"), str):
        value = value["id"]
    if value is None:
        raise InvalidArgumentError(f"The project id is None.{_hint(value)}")
    return check_project_id(value)


def parse_project_ids(value: object) -> list[str]:
    """Return the ids in ``value``, without duplicates: a list of ids or projects, or a mapping by project id."""
    if isinstance(value, str):
        if _is_rendered_list(value):
            raise InvalidArgumentError(_rendered_list_message("project_ids", value))
        raise InvalidArgumentError(
            f"project_ids is the string {value!r}; it must be a list. For one project, use project_id."
        )
    if value is None or not isinstance(value, Iterable) or isinstance(value, bytes):
        raise InvalidArgumentError(
            f"project_ids is {type_name(value)}; it must be a list of project ids.{_hint(value)}"
        )
    if isinstance(value, Mapping) and isinstance(value.get("id"), str):
        value = [value]
    return list(dict.fromkeys(map(parse_project_id, value)))


def parse_tag_names(value: object, argument: str = "tags") -> list[str]:
    """Return the tag names in ``value``: a name, a list of names, or tags as another task returned them."""
    if isinstance(value, str):
        if _is_rendered_list(value):
            raise InvalidArgumentError(_rendered_list_message(argument, value))
        return list(check_tag_names(value))
    if isinstance(value, Mapping):
        value = [value]
    if value is None or not isinstance(value, Iterable) or isinstance(value, bytes):
        raise InvalidArgumentError(
            f"{argument} is {type_name(value)}; it must be a tag name, a list of names, or tags as another task "
            f"returned them.{_hint(value)}"
        )
    return list(check_tag_names([_tag_name(tag, argument) for tag in value]))


def parse_patterns(value: object, argument: str) -> tuple[str, ...]:
    """Return the names or patterns in ``value``, without duplicates: a string, or a list."""
    return tuple(parse_tag_names(value, argument))


def parse_match_mode(value: object) -> MatchMode:
    """Return ``all``, ``any`` or ``none``."""
    if value == "all" or value == "any" or value == "none":
        return value
    raise InvalidArgumentError(f"mode_of_match is {value!r}; it must be 'all', 'any' or 'none'.")


def parse_bool(value: object, argument: str) -> bool:
    """Return a boolean, which a template may have rendered to text. Nothing else is guessed."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise InvalidArgumentError(f"{argument} is {value!r}; it must be True or False.")


def parse_whole_number(value: object, argument: str) -> int:
    """Return a whole number of at least 0, which a template may have rendered to text."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise InvalidArgumentError(f"{argument} is {value!r}; it must be a whole number, such as 5.")


def parse_last_day(expires_in: object, expires_on: object, now: datetime) -> date | None:
    """Return the last day, in UTC, on which a tag holds; None if neither argument is set.

    :param expires_in: a timedelta, counted from ``now``.
    :param expires_on: a date, an aware datetime, or ``YYYY-MM-DD``.
    """
    if expires_in is not None:
        if not isinstance(expires_in, timedelta):
            raise InvalidArgumentError(f"expires_in is {type_name(expires_in)}; it must be a timedelta.")
        if expires_in < timedelta(0):
            raise InvalidArgumentError(f"expires_in is {expires_in}, which is in the past.")
        return (now.astimezone(UTC) + expires_in).date()
    return None if expires_on is None else _parse_day(expires_on)


def check_not_none(**arguments: object) -> None:
    """Refuse an argument that was passed and rendered to None: left out, it would mean something else."""
    for argument, value in arguments.items():
        if value is None:
            raise InvalidArgumentError(f"{argument} is None.{_hint(value)}")


def _parse_day(value: object) -> date:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgumentError(
                f"expires_on is {value}, which has no time zone. Use a date, or a datetime with a time zone."
            )
        return value.astimezone(UTC).date()
    if isinstance(value, date):
        return value
    if not isinstance(value, str):
        raise InvalidArgumentError(f"expires_on is {type_name(value)}; it must be a date, such as 2026-12-01.")
    try:
        if len(value.strip()) != len("2026-12-01"):
            raise ValueError
        return date.fromisoformat(value.strip())
    except ValueError:
        raise InvalidArgumentError(f"expires_on is {value!r}; it must be a date, such as 2026-12-01.") from None


def _tag_name(tag: object, argument: str) -> str:
    if isinstance(tag, str):
        return tag
    if isinstance(tag, Mapping) and isinstance(tag.get("name"), str):
        name: str = tag["name"]
        return name
    if isinstance(tag, (list, tuple)):
        raise InvalidArgumentError(
            f"{argument} contains a list of lists, one for each mapped task. Map this task too, or join them first."
        )
    raise InvalidArgumentError(
        f"{argument} contains {type_name(tag)}; it must contain names, or tags such as {{'name': 'nightly'}}."
    )


def _rendered_list_message(argument: str, text: str) -> str:
    return (
        f"{argument} is the string {text!r}, a list that a template rendered to text. Pass the list itself "
        f"({argument}=task.output), or set render_template_as_native_obj=True on the DAG."
    )


def _is_rendered_list(text: str) -> bool:
    if not text.lstrip().startswith(("[", "(")):
        return False
    try:
        return isinstance(ast.literal_eval(text.strip()), (list, tuple))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _hint(value: object) -> str:
    return " Did the upstream task return nothing?" if value is None else ""
