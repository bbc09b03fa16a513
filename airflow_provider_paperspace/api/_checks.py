"""Argument checks: each returns the value, or raises InvalidArgumentError before any request is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow_provider_paperspace._quoting import quoted
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.protocol import MAX_PAGE_SIZE, Order


def check_project_id(project_id: object) -> str:
    """Return a project id that can be sent.

    Ids are opaque. Only ids that cannot be sent, or would lead to a path other than ``/projects/{id}``, are refused.
    """
    if not isinstance(project_id, str):
        raise InvalidArgumentError(f"A project id must be a string such as 'prmximcci', not {type_name(project_id)}.")
    if not project_id.strip():
        raise InvalidArgumentError(
            "The project id is empty. It is the last part of the project's address in the Paperspace console."
        )
    if project_id in (".", ".."):
        raise InvalidArgumentError(f"{project_id!r} is not a project id: in a URL it would lead to another path.")
    return _check_unicode(project_id, "project id")


def check_project_name(name: object) -> str:
    """Return a project name that can be looked up."""
    if not isinstance(name, str):
        raise InvalidArgumentError(f"A project name must be a string such as 'vision-training', not {type_name(name)}.")
    if not name.strip():
        raise InvalidArgumentError("The project name is empty. Write it as the Paperspace console shows it.")
    return name


def check_tag_names(names: object) -> tuple[str, ...]:
    """Return one or many tag names as a tuple, without duplicates, in the given order and otherwise untouched.

    Blank names are refused, because nobody could remove such a tag.
    """
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Iterable) or isinstance(names, (bytes, Mapping)):
        raise InvalidArgumentError(f"Tag names must be a string or a list of strings, not {type_name(names)}.")
    return tuple(dict.fromkeys(map(check_tag_name, names)))


def check_tag_name(name: object) -> str:
    """Return a tag name that can be sent."""
    if not isinstance(name, str):
        raise InvalidArgumentError(f"A tag name must be a string, not {type_name(name)}.")
    if not name.strip():
        raise InvalidArgumentError(f"The tag name {quoted(name)} is blank. Remove it, or replace it with a name.")
    return _check_unicode(name, "tag name")


def check_page_size(page_size: object) -> int:
    """Return a page size between 1 and 120."""
    if not isinstance(page_size, int) or isinstance(page_size, bool):
        raise InvalidArgumentError(f"page_size must be a whole number, not {type_name(page_size)}.")
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidArgumentError(f"page_size is {page_size}; it must be between 1 and {MAX_PAGE_SIZE}.")
    return page_size


def check_order(order: object) -> Order:
    """Return ``asc`` or ``desc``."""
    if order == "asc":
        return "asc"
    if order == "desc":
        return "desc"
    raise InvalidArgumentError(f"order is {order!r}; it must be 'asc' (oldest first) or 'desc' (newest first).")


def is_sendable(text: str) -> bool:
    """Return whether the text can be percent-encoded. An unpaired surrogate, which JSON allows, cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def type_name(value: object) -> str:
    """Return what a value is, for a message: ``None``, ``an int``, ``a list``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _check_unicode(text: str, what: str) -> str:
    if not is_sendable(text):
        raise InvalidArgumentError(f"The {what} {quoted(text)} contains half of a surrogate pair and cannot be sent.")
    return text
