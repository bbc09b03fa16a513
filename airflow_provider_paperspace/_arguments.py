"""Reads the arguments of operators, sensors and notifiers after templates and XCom values have been filled in.

The ``parse_`` functions return the value, and the ``check_`` functions nothing. Both raise InvalidArgumentError with a
message that says which argument cannot be used.

An argument that was passed but is empty (None, a blank string, the text ``None``) is an error, wherever it came from:
it never means "all", and it does not count as left out. So is an empty list, except for project ids and the tags to add
or remove, where it means "nothing to do"; setting no tags needs ``allow_empty``. An argument that was left out is
:data:`NOT_SET`, the default of every argument whose absence has a meaning.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_paperspace._compat import AirflowFailException
from airflow_provider_paperspace.api._checks import (
    check_project_id,
    check_project_name,
    check_tag_name,
    type_name,
)
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.projects import resolve_project_id
from airflow_provider_paperspace.rules.patterns import Pattern, has_open_bracket

if TYPE_CHECKING:
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.rules.watching import MatchMode

Tags = str | Sequence[str] | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A name, a list of names, or tags as another task returned them."""

Patterns = str | Sequence[str] | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A name or pattern, a list of them, or tags as another task returned them, which are taken literally."""

ProjectIds = Sequence[Any] | Mapping[str, Any]
"""Project ids, projects as ``ListProjectsOperator`` returned them, or a mapping by project id."""


class NotSet(Enum):
    """The type of :data:`NOT_SET`: an enum, because copying an operator does not copy enum members."""

    NOT_SET = "not set"

    def __str__(self) -> str:
        """Return what the Rendered Templates tab shows."""
        return "not set"


NOT_SET: Final = NotSet.NOT_SET

_EMPTY_TEXTS: Final = frozenset({"None", "[]", "()", "{}", "set()"})


class TaskArgumentError(InvalidArgumentError, AirflowFailException):
    """An argument that cannot be used, found when its task is created.

    That is when a DAG is parsed. A mapped task is created in its worker, where Airflow must fail it without a retry.
    """


def is_set(value: object) -> bool:
    """Return whether an argument was passed, whatever its value."""
    return value is not NOT_SET


def check_one_of(subject: str, **arguments: object) -> None:
    """Require that exactly one of these arguments was passed.

    :param subject: the task or notifier, to start the message with.
    :param arguments: by name; a flag such as ``all_projects`` counts if it is True.
    :raises TaskArgumentError: none was passed, or several were.
    """
    passed = [name for name, value in arguments.items() if is_set(value) and value is not False]
    if len(passed) != 1:
        *others, last = arguments
        found = f"found {' and '.join(passed)}" if passed else "found none of them"
        raise TaskArgumentError(f"{subject}: set exactly one of {', '.join(others)} and {last}; {found}.")


@contextmanager
def naming_task(task_id: str) -> Iterator[None]:
    """In a ``with`` block that checks a new task, prefix the message about a bad argument with the task.

    :raises TaskArgumentError: an argument was refused in the block.
    """
    try:
        yield
    except InvalidArgumentError as error:
        raise TaskArgumentError(f"Task {task_id!r}: {error}") from None


def is_constant(value: object) -> bool:
    """Return whether an argument is known when the DAG is parsed: no template, and no other task's output."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return all(map(is_constant, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(is_constant, value))
    return value is None or isinstance(value, (bool, int, float, date, timedelta, Enum))


def find_project(project_id: object, project_name: object) -> Flow[str]:
    """Return the id of a task's project: looked up by name if the name is set, otherwise the id itself.

    This is a flow, so it runs on either client. It sends requests only to look up a name.
    """
    if is_set(project_name):
        check_not_empty("project_name", project_name)
        return (yield from resolve_project_id(check_project_name(project_name)))
    return parse_project_id(project_id)


def check_project(project_id: object, project_name: object, project_ids: object) -> None:
    """Check those of ``project_id``, ``project_name`` and ``project_ids`` that are constant."""
    if is_set(project_id) and is_constant(project_id):
        parse_project_id(project_id)
    if is_set(project_name) and is_constant(project_name):
        check_not_empty("project_name", project_name)
        check_project_name(project_name)
    if is_set(project_ids) and is_constant(project_ids):
        parse_project_ids(project_ids)


def parse_project_id(value: object, argument: str = "project_id") -> str:
    """Return the id in ``value``: an id, or a project as ``ListProjectsOperator`` returns it."""
    if isinstance(value, Mapping) and isinstance(value.get("id"), str):
        value = value["id"]
    check_not_empty(argument, value)
    return check_project_id(value)


def parse_project_ids(value: object) -> list[str]:
    """Return the ids in ``value``, without duplicates: a list of ids or projects, or a mapping by project id.

    The list may be empty; the caller decides what that means.
    """
    if isinstance(value, str):
        check_not_empty("project_ids", value)
        _check_not_rendered("project_ids", value)
        raise InvalidArgumentError(
            f"project_ids is the string {value!r}; it must be a list. For one project, use project_id."
        )
    if value is None or not isinstance(value, Iterable) or isinstance(value, bytes):
        raise InvalidArgumentError(
            f"project_ids is {type_name(value)}; it must be a list of project ids.{_hint(value)}"
        )
    if isinstance(value, Mapping) and isinstance(value.get("id"), str):
        value = [value]
    return list(dict.fromkeys(parse_project_id(item, "a project id in project_ids") for item in value))


def parse_tag_names(value: object, argument: str = "tags") -> list[str]:
    """Return the tag names in ``value``: a name, a list of names, or tags as another task returned them.

    The list may be empty; the caller decides what that means.
    """
    return list(dict.fromkeys(name for name, _ in _names(value, argument)))


def parse_patterns(value: object, argument: str) -> tuple[Pattern, ...]:
    """Return the names and patterns in ``value``, without duplicates; none if the argument was left out.

    A string is a pattern; a tag or project that another task returned is a name and is taken literally. If the argument
    was passed, there must be at least one.
    """
    if not is_set(value):
        return ()
    patterns = dict.fromkeys(Pattern(text, is_literal) for text, is_literal in _names(value, argument))
    if not patterns:
        raise InvalidArgumentError(f"{argument} is empty. Pass at least one name or pattern.")
    for pattern in patterns:
        if not pattern.is_literal and has_open_bracket(pattern.text):
            raise InvalidArgumentError(
                f"{argument} contains the pattern {pattern.text!r}, whose '[' is never closed. "
                "To match a literal '[', write '[[]'."
            )
    return tuple(patterns)


def parse_match_mode(value: object) -> MatchMode:
    """Return ``all``, ``any`` or ``none``."""
    if value == "all" or value == "any" or value == "none":
        return value
    raise InvalidArgumentError(f"mode_of_match is {value!r}; it must be 'all', 'any' or 'none'.")


def parse_bool(value: object, argument: str) -> bool:
    """Return a boolean, which a template may have rendered to text. No other value is accepted."""
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
    raise InvalidArgumentError(f"{argument} is {value!r}; it must be a whole number of at least 0, such as 5.")


def parse_max_concurrency(value: object) -> int:
    """Return a whole number of at least 1."""
    number = parse_whole_number(value, "max_concurrency")
    if number < 1:
        raise InvalidArgumentError(f"max_concurrency is {number}; it must be at least 1.")
    return number


def parse_prefix(value: object) -> str:
    """Return the prefix ``within``, as text that is not blank."""
    check_not_empty("within", value)
    if not isinstance(value, str):
        raise InvalidArgumentError(f"within is {type_name(value)}; it must be a prefix, such as 'stage:'.")
    return value


def parse_duration(value: object, argument: str) -> timedelta:
    """Return a timedelta longer than 0."""
    if not isinstance(value, timedelta):
        raise InvalidArgumentError(
            f"{argument} is {type_name(value)}; it must be a timedelta, such as timedelta(days=7).{_hint(value)}"
        )
    if value <= timedelta(0):
        raise InvalidArgumentError(f"{argument} is {value}; it must be longer than 0.")
    return value


def parse_last_day(expires_in: object, expires_on: object, *, start: datetime, now: datetime) -> date | None:
    """Return the last day, in UTC, on which a tag is valid; None if neither argument is set.

    :param expires_in: a timedelta, counted from ``start``.
    :param expires_on: a date, an aware datetime, or ``YYYY-MM-DD``.
    :param now: the current time; a last day in the past is refused.
    """
    if is_set(expires_in):
        argument, duration = "expires_in", parse_duration(expires_in, "expires_in")
        try:
            last_day = (start.astimezone(UTC) + duration).date()
        except OverflowError:
            raise InvalidArgumentError(f"expires_in is {duration}, which ends after the year 9999.") from None
    elif is_set(expires_on):
        argument, last_day = "expires_on", parse_day(expires_on)
    else:
        return None
    if last_day < now.astimezone(UTC).date():
        raise InvalidArgumentError(
            f"{argument} ends on {last_day}, which is in the past: the tag would have expired by the time it was added."
        )
    return last_day


def check_not_empty(argument: str, value: object) -> None:
    """Refuse None, a blank string, an empty list, and the text forms of these, however they arrived."""
    if value is None:
        raise InvalidArgumentError(f"{argument} is None.{_hint(value)}")
    if isinstance(value, str):
        if not value.strip():
            raise InvalidArgumentError(f"{argument} is blank. Did a template render to nothing?")
        if value.strip() in _EMPTY_TEXTS:
            raise InvalidArgumentError(
                f"{argument} is the text {value.strip()!r}. Did a template render a missing or empty value?"
            )
    elif isinstance(value, (Sequence, Mapping, set, frozenset)) and not value:
        raise InvalidArgumentError(f"{argument} is empty.{_hint(None)}")


def parse_day(value: object) -> date:
    """Return the day in ``expires_on``, in UTC."""
    check_not_empty("expires_on", value)
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


def _names(value: object, argument: str) -> list[tuple[str, bool]]:
    """Return each name, and whether it is literal: it is if it comes from a tag or project object."""
    if isinstance(value, (str, Mapping)):
        value = [value]
    if value is None or not isinstance(value, Iterable) or isinstance(value, bytes):
        raise InvalidArgumentError(
            f"{argument} is {type_name(value)}; it must be a name, a list of names, or tags as another task "
            f"returned them.{_hint(value)}"
        )
    return [_name(item, argument) for item in value]


def _name(item: object, argument: str) -> tuple[str, bool]:
    if isinstance(item, str):
        check_not_empty(argument, item)
        _check_not_rendered(argument, item)
        return check_tag_name(item), False
    if isinstance(item, Mapping) and isinstance(item.get("name"), str):
        return check_tag_name(item["name"]), True
    if isinstance(item, (list, tuple)):
        raise InvalidArgumentError(
            f"{argument} is a list of lists, one for each mapped task. Map this task too, or flatten the lists first."
        )
    raise InvalidArgumentError(
        f"{argument} contains {type_name(item)}; it must contain names, or tags such as {{'name': 'nightly'}}."
        f"{_hint(item)}"
    )


def _check_not_rendered(argument: str, text: str) -> None:
    """Refuse another task's output, a list or an object, that a template has rendered to text."""
    if not text.lstrip().startswith(("[", "(", "{")):
        return
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return
    if isinstance(value, (list, tuple, dict)):
        raise InvalidArgumentError(
            f"{argument} is the string {text!r}, a value that a template rendered to text. Pass the value itself "
            f"({argument}=task.output), or set render_template_as_native_obj=True on the DAG."
        )


def _hint(value: object) -> str:
    return " Did the upstream task return nothing?" if value is None else ""
