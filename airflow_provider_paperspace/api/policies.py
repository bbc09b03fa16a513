"""What a project's tags are to become: pure functions of the tags that are there.

A policy looks at a project's tags and says which names are to be there and which are to be gone. Everything else on
the project is left alone: only the difference is ever sent, never a whole list, so the tags of other writers survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from airflow_provider_paperspace.api.errors import TagNotFoundError
from airflow_provider_paperspace.api.messages import check_tag_names
from airflow_provider_paperspace.api.models import Tag

Policy = Callable[[Mapping[str, Tag]], "Wanted"]
"""Takes the tags that are there, by name."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Names that are to be there, and names that are to be gone."""

    present: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def missing_in(self, there: Iterable[str]) -> tuple[str, ...]:
        """List the names that have to be added."""
        known = set(there)
        return tuple(name for name in self.present if name not in known)

    def surplus_in(self, there: Iterable[str]) -> tuple[str, ...]:
        """List the names that have to be removed."""
        known = set(there)
        return tuple(name for name in self.gone if name in known)


def adding(names: str | Iterable[str]) -> Policy:
    """Want the names there.

    :raises ValueError: a name could not be sent. :raises TypeError: it is no text.
    """
    wanted = Wanted(present=check_tag_names(names))
    return lambda there: wanted


def removing(names: str | Iterable[str], *, missing_ok: bool = True) -> Policy:
    """Want the names gone.

    :param missing_ok: whether a tag that is not there is well. If not, the policy raises TagNotFoundError.
    :raises ValueError: a name could not be sent. :raises TypeError: it is no text.
    """
    wanted = Wanted(gone=check_tag_names(names))

    def policy(there: Mapping[str, Tag]) -> Wanted:
        missing = tuple(name for name in wanted.gone if name not in there)
        if missing and not missing_ok:
            advice = "Nothing was removed. Leave these names out, or allow them to be missing (missing_ok=True)."
            raise TagNotFoundError(missing, action="remove tags", advice=advice)
        return wanted

    return policy


def changing(*, add: str | Iterable[str] = (), remove: str | Iterable[str] = ()) -> Policy:
    """Want some names there and others gone.

    :raises ValueError: a name could not be sent, or is in both. :raises TypeError: it is no text.
    """
    wanted = Wanted(present=check_tag_names(add), gone=check_tag_names(remove))
    both = set(wanted.present) & set(wanted.gone)
    if both:
        raise ValueError(f"{', '.join(map(repr, sorted(both)))} is to be added and removed at once. Decide for one.")
    return lambda there: wanted


def setting(names: str | Iterable[str], *, within: str | None = None) -> Policy:
    """Want exactly these names among the tags that begin with ``within``, and leave the others alone.

    :param within: a prefix such as ``stage:``. None manages all of the project's tags.
    :raises ValueError: a name could not be sent or does not begin with ``within``, or ``within`` is empty.
    :raises TypeError: a name or ``within`` is no text.
    """
    present = check_tag_names(names)
    prefix = _checked_prefix(within)
    outside = [name for name in present if not name.startswith(prefix)]
    if outside:
        raise ValueError(
            f"{', '.join(map(repr, outside))} {'do' if len(outside) > 1 else 'does'} not begin with {prefix!r}, "
            "so setting it within that prefix would never take it off again. Name the tag in full."
        )
    kept = set(present)
    return lambda there: Wanted(present, tuple(name for name in there if name.startswith(prefix) and name not in kept))


def _checked_prefix(within: object) -> str:
    if within is None:
        return ""
    if not isinstance(within, str):
        raise TypeError(f"within is a prefix such as 'stage:', or None for all tags, not a {type(within).__name__}.")
    if not within:
        # A template that came to nothing must not take every other tag off.
        raise ValueError("within is empty. Give a prefix such as 'stage:', or None to manage all tags of the project.")
    return within
