"""What an operator's ``tags`` may be, and the names in it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any


def tag_names(tags: Any) -> list[str]:
    """Give the names in ``tags``: a name, a list of names, or a list of tags as another task returned them.

    :raises TypeError: it is none of these. The message tells the usual cause.
    :raises ValueError: it is text that a template made of a list.
    """
    if isinstance(tags, str):
        if _is_a_list_in_disguise(tags):
            raise ValueError(
                f"tags is the text {tags!r}, which a template made of a list. "
                "Pass the list itself (tags=task.output), or set render_template_as_native_obj=True on the DAG."
            )
        return [tags]
    if isinstance(tags, Mapping):
        return [_name_of(tags)]
    if tags is None or not isinstance(tags, Iterable) or isinstance(tags, bytes):
        cause = " Did the task that it comes from return nothing?" if tags is None else ""
        raise TypeError(f"tags is {_kind(tags)}, and must be a name, names, or tags as another task returned.{cause}")
    return [_name_of(tag) for tag in tags]


def _name_of(tag: Any) -> str:
    if isinstance(tag, str):
        return tag
    if isinstance(tag, Mapping) and isinstance(tag.get("name"), str):
        name: str = tag["name"]
        return name
    if isinstance(tag, (list, tuple)):
        raise TypeError("tags holds a list of lists, one for each mapped task. Map this task too, or join them first.")
    raise TypeError(f"tags holds {_kind(tag)}, and must hold names or tags such as {{'name': 'nightly'}}.")


def _is_a_list_in_disguise(text: str) -> bool:
    if not text.lstrip().startswith(("[", "(")):
        return False
    try:
        return isinstance(ast.literal_eval(text.strip()), (list, tuple))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
