"""What a project's tags should become: pure functions of its current tags.

A policy takes a project's tags and returns a :class:`~.models.TagTarget`: the names that must be present and those
that must be absent. Everything else on the project is left alone. Only the difference is ever written, never a whole
list, so the tags of other writers survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from airflow_provider_paperspace._quoting import quoted_list
from airflow_provider_paperspace.api._checks import check_tag_names, type_name
from airflow_provider_paperspace.api.errors import InvalidArgumentError, TagNotFoundError
from airflow_provider_paperspace.api.models import Tag, TagTarget

Policy = Callable[[Mapping[str, Tag]], TagTarget]
"""Takes the project's tags by name."""


def adding(names: str | Iterable[str]) -> Policy:
    """Return the policy that wants these names present.

    :raises InvalidArgumentError: a name cannot be sent.
    """
    target = TagTarget(present=check_tag_names(names))
    return lambda tags: target


def removing(names: str | Iterable[str], *, missing_ok: bool = True) -> Policy:
    """Return the policy that wants these names absent.

    :param missing_ok: whether missing tags are allowed. If not, the policy raises TagNotFoundError.
    :raises InvalidArgumentError: a name cannot be sent.
    """
    target = TagTarget(absent=check_tag_names(names))

    def policy(tags: Mapping[str, Tag]) -> TagTarget:
        missing = tuple(name for name in target.absent if name not in tags)
        if missing and not missing_ok:
            advice = "Nothing was removed. Pass only tags that the project has, or set missing_ok=True."
            raise TagNotFoundError(missing, action="remove tags", advice=advice)
        return target

    return policy


def changing(*, add: str | Iterable[str] = (), remove: str | Iterable[str] = ()) -> Policy:
    """Return the policy that wants some names present and others absent.

    :raises InvalidArgumentError: a name cannot be sent, or is in both lists.
    """
    target = TagTarget(present=check_tag_names(add), absent=check_tag_names(remove))
    both = sorted(set(target.present) & set(target.absent))
    if both:
        raise InvalidArgumentError(
            f"add and remove both contain {quoted_list(both)}. Keep each name in only one of them."
        )
    return lambda tags: target


def setting(names: str | Iterable[str], *, within: str | None = None) -> Policy:
    """Return the policy that wants exactly these names among the tags that start with ``within``.

    It is exclusive: after writing, the tags are read once more, and a tag that another writer has added is an
    error.

    :param within: a prefix such as ``stage:``. None manages all tags of the project.
    :raises InvalidArgumentError: a name cannot be sent or does not start with ``within``, or ``within`` is empty.
    """
    present = check_tag_names(names)
    prefix = _check_prefix(within)
    outside = [name for name in present if not name.startswith(prefix)]
    if outside:
        raise InvalidArgumentError(
            f"{quoted_list(outside)} {'do' if len(outside) > 1 else 'does'} not start with {prefix!r}. "
            "Write the prefix in each name: a tag without it would not be removed when the tags are set again."
        )

    def policy(tags: Mapping[str, Tag]) -> TagTarget:
        absent = tuple(name for name in tags if name.startswith(prefix) and name not in present)
        return TagTarget(present, absent, is_exclusive=True)

    return policy


def _check_prefix(within: object) -> str:
    if within is None:
        return ""
    if not isinstance(within, str):
        raise InvalidArgumentError(
            f"within must be a prefix such as 'stage:', or None for all tags, not {type_name(within)}."
        )
    if not within:
        # A template that rendered to nothing must not remove every other tag.
        raise InvalidArgumentError("within is empty. Set a prefix such as 'stage:', or None to manage all tags.")
    return within
