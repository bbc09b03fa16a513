"""What an operator's arguments may be once templates and XCom have filled them, and what they mean."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_paperspace.api.messages import check_project_id, check_tag_names

Patterns = str | Sequence[str]


def tag_names(tags: Any, argument: str = "tags") -> list[str]:
    """Give the names in ``tags``: a name, a list of names, or a list of tags as another task returned them.

    :param argument: what the message calls it.
    :raises TypeError: it is none of these. The message tells the usual cause.
    :raises ValueError: it is text that a template made of a list, or a name is blank.
    """
    if isinstance(tags, str):
        if _is_a_list_in_disguise(tags):
            raise ValueError(_of_a_list_in_disguise(argument, tags))
        return [tags]
    if isinstance(tags, Mapping):
        return [_name_of(tags, argument)]
    if tags is None or not isinstance(tags, Iterable) or isinstance(tags, bytes):
        raise TypeError(
            f"{argument} is {_kind(tags)}, and must be a name, names, or tags as another task returned.{_cause(tags)}"
        )
    return [_name_of(tag, argument) for tag in tags]


def patterns(value: Any, argument: str) -> tuple[str, ...]:
    """Give the names or patterns in ``value``, each once: a text, or a list of texts.

    :raises TypeError: it is neither.
    :raises ValueError: it is text that a template made of a list, or a pattern is blank.
    """
    return check_tag_names(tag_names(value, argument))


def project_id_of(value: Any) -> str:
    """Give the id in ``value``: an id, or a project as ``ListProjectsOperator`` returns it.

    :raises TypeError: it is neither.
    :raises ValueError: it is blank.
    """
    if isinstance(value, Mapping) and isinstance(value.get("id"), str):
        value = value["id"]
    if value is None:
        raise TypeError(f"The project id is None.{_cause(value)}")
    return check_project_id(value)


def project_ids_of(value: Any) -> list[str]:
    """Give the ids in ``value``, each once: a list of ids or projects, or what another task returned by project id.

    :raises TypeError: it is none of these.
    :raises ValueError: it is text, or an id is blank.
    """
    if isinstance(value, str):
        if _is_a_list_in_disguise(value):
            raise ValueError(_of_a_list_in_disguise("project_ids", value))
        raise ValueError(f"project_ids is the text {value!r}, and must be a list. For one project, use project_id.")
    if value is None or not isinstance(value, Iterable) or isinstance(value, bytes):
        raise TypeError(f"project_ids is {_kind(value)}, and must be a list of project ids.{_cause(value)}")
    if isinstance(value, Mapping) and isinstance(value.get("id"), str):
        value = [value]
    return list(dict.fromkeys(map(project_id_of, value)))


def flag(value: Any, argument: str) -> bool:
    """Give a yes or no, which a template may have made text of.

    :raises TypeError: it is neither. Nothing is guessed: what is meant for a dry run must not write.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise TypeError(f"{argument} is {value!r}, and must be True or False.")


def whole_number(value: Any, argument: str) -> int:
    """Give a whole number from 0 up, which a template may have made text of.

    :raises TypeError: it is none.
    """
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise TypeError(f"{argument} is {value!r}, and must be a whole number from 0 up.")


def _name_of(tag: Any, argument: str) -> str:
    if isinstance(tag, str):
        return tag
    if isinstance(tag, Mapping) and isinstance(tag.get("name"), str):
        name: str = tag["name"]
        return name
    if isinstance(tag, (list, tuple)):
        raise TypeError(
            f"{argument} holds a list of lists, one for each mapped task. Map this task too, or join them first."
        )
    raise TypeError(f"{argument} holds {_kind(tag)}, and must hold names or tags such as {{'name': 'nightly'}}.")


def _of_a_list_in_disguise(argument: str, text: str) -> str:
    return (
        f"{argument} is the text {text!r}, which a template made of a list. "
        f"Pass the list itself ({argument}=task.output), or set render_template_as_native_obj=True on the DAG."
    )


def _is_a_list_in_disguise(text: str) -> bool:
    if not text.lstrip().startswith(("[", "(")):
        return False
    try:
        return isinstance(ast.literal_eval(text.strip()), (list, tuple))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _cause(value: object) -> str:
    return " Did the task that it comes from return nothing?" if value is None else ""


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
