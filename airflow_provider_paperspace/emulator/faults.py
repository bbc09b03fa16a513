"""Faults: what can go wrong with a request, on demand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

KINDS: Final = {
    "401": "answers 401",
    "403": "answers 403",
    "408": "answers 408",
    "409": "answers 409",
    "429": "answers 429, with Retry-After if retry_after is set",
    "500": "answers 500",
    "502": "answers 502 with an HTML page, as an edge server does",
    "503": "answers 503 with an HTML page, with Retry-After if retry_after is set",
    "504": "answers 504 with an HTML page",
    "slow": "answers after `seconds`",
    "refused": "drops the connection and refuses new ones for `seconds`",
    "reset": "resets the connection before the request has any effect",
    "lost-answer": "does what was asked, then resets the connection instead of answering",
    "truncated": "does what was asked, and cuts the JSON of the answer in half",
    "wrong-types": "does what was asked, and answers with values of the wrong types",
    "no-cursor": "answers with a page that has hasMore=true but no cursor",
    "repeated-cursor": "answers with a page that has hasMore=true and the cursor that led to it",
}
"""Every kind of fault and what it does."""

HTML_STATUSES: Final = frozenset({"502", "503", "504"})

METHODS: Final = ("GET", "POST", "DELETE")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _is_header(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


_OPTIONS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "at": (lambda value: _is_whole(value) and value >= 1, "a whole number of at least 1"),
    "times": (lambda value: _is_whole(value) and value >= 0, "a whole number of at least 0"),
    "method": (lambda value: value is None or value in METHODS, "GET, POST or DELETE"),
    "path": (lambda value: isinstance(value, str), "a string"),
    "retry_after": (lambda value: value is None or _is_seconds(value) or _is_header(value), "seconds or an HTTP date"),
    "seconds": (_is_seconds, "a number of seconds, 0 or more"),
    "applied": (lambda value: isinstance(value, bool), "True or False"),
}
"""Each option of a fault: what checks it, and what it must be."""


@dataclass(slots=True)
class Fault:
    """A fault, and the requests that it affects.

    :param kind: such as ``429`` or ``lost-answer``.
    :param at: the first matching request that it affects, counted from 1.
    :param times: number of matching requests in a row that it affects; 0 for all from then on.
    :param method: only requests with this method match.
    :param path: only requests whose path contains this text match.
    :param retry_after: the value of ``Retry-After``: seconds or an HTTP date.
    :param seconds: how long a slow answer or a refusal lasts.
    :param applied: whether a write takes effect despite the error status.
    :raises ValueError: the kind is unknown, or an option has an invalid value.
    """

    kind: str
    at: int = 1
    times: int = 1
    method: Literal["GET", "POST", "DELETE"] | None = None
    path: str = ""
    retry_after: str | float | None = None
    seconds: float = 1.0
    applied: bool = False
    seen: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Unknown fault {self.kind!r}. Known faults: {', '.join(KINDS)}.")
        for option, (is_valid, expected) in _OPTIONS.items():
            value = getattr(self, option)
            if not is_valid(value):
                raise ValueError(f"Fault {self.kind!r}: {option} is {value!r}; it must be {expected}.")
        if isinstance(self.retry_after, (int, float)):
            self.retry_after = f"{self.retry_after:g}"

    def hits(self, method: str, path: str) -> bool:
        """Return whether this request is affected, and count it if it matches."""
        if self.method not in (None, method) or self.path not in path:
            return False
        self.seen += 1
        return self.seen >= self.at and (self.times == 0 or self.seen < self.at + self.times)


def first_hit(faults: Iterable[Fault], method: str, path: str) -> Fault | None:
    """Return the first fault that affects this request; every matching fault counts it."""
    hits = [fault for fault in faults if fault.hits(method, path)]
    return hits[0] if hits else None


def parse_fault(text: str) -> Fault:
    """Return a fault from its command-line form: ``429:at=2,retry_after=3``.

    :raises ValueError: the text is not a fault.
    """
    kind, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, re.split(r",(?=[^,=]+=)", rest)):  # an HTTP date has a comma
        name, sign, value = part.partition("=")
        if not sign or name not in _READERS:
            raise ValueError(f"Fault {text!r}: unknown option {part!r}. Known options: {', '.join(_READERS)}.")
        try:
            options[name] = _READERS[name](value)
        except ValueError:
            raise ValueError(f"Fault {text!r}: invalid value {value!r} for {name!r}.") from None
    return Fault(kind, **options)


def _method(value: str) -> str:
    if value not in METHODS:
        raise ValueError
    return value


def _flag(value: str) -> bool:
    return {"true": True, "false": False}[value] if value in ("true", "false") else bool(int(value))


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "at": int,
    "times": int,
    "method": _method,
    "path": str,
    "retry_after": str,
    "seconds": float,
    "applied": _flag,
}
assert {*_READERS, "kind", "seen"} == {*_OPTIONS, "kind", "seen"} == {f.name for f in fields(Fault)}
