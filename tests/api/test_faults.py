"""Whatever goes wrong: a call returns with the state as asked, or it raises a documented error.

Every fault at every request of every operation, one at a time, and in random pairs. No tag that was not named is
ever touched, and no call returns while the state is not as asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from airflow_provider_paperspace.api.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    PaperspaceError,
    PermissionDeniedError,
    TransportError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.api.settings import ClientSettings
from airflow_provider_paperspace.emulator.faults import KINDS
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.clients import Client

pytestmark = pytest.mark.uncovered

STRANGERS: Final = {f"other-{i}" for i in range(125)}
WORLD: Final = {
    "projects": [
        {"id": "p1", "name": "one", "tags": ["old", "stale", *sorted(STRANGERS)]},
        {"id": "p2", "name": "two", "tags": ["old", "gpu"]},
    ]
}
BEFORE: Final = {"old", "stale", *STRANGERS}


@dataclass(frozen=True)
class Operation:
    """A call, what it returns when nothing fails, and the tags that are then on the project."""

    call: Callable[[Client], Any]
    result: Any
    after: frozenset[str]
    requests: int


OPERATIONS: Final = {
    "list": Operation(lambda c: set(c.list("p1")), BEFORE, frozenset(BEFORE), 2),
    "add": Operation(
        lambda c: c.add("p1", ["old", "new", "newer"]), ["old", "new", "newer"], frozenset(BEFORE | {"new", "newer"}), 4
    ),
    "remove": Operation(
        lambda c: c.remove("p1", ["stale", "absent", "old"]), ["stale", "old"], frozenset(STRANGERS), 4
    ),
    "set": Operation(
        lambda c: c.set("p1", "steady", within="st"),
        (["steady"], ["stale"]),
        frozenset(BEFORE - {"stale"} | {"steady"}),
        4,
    ),
    "projects": Operation(
        lambda c: [p.id for p in c.projects(order="asc", page_size=1)], ["p1", "p2"], frozenset(BEFORE), 2
    ),
    "project": Operation(lambda c: c.project("p1").name, "one", frozenset(BEFORE), 1),
    "resolve": Operation(lambda c: c.resolve("two"), "p2", frozenset(BEFORE), 1),
    "session": Operation(lambda c: c.session() is not None, True, frozenset(BEFORE), 1),
}

APPLIED: Final = ["408", "500", "502", "503", "504"]
"""Error answers that may arrive although the write took effect."""

FAULTS: Final = [(kind, {}) for kind in KINDS if kind != "slow"] + [
    *[("429", {"retry_after": "2"}), ("503", {"retry_after": "Mon, 02 Mar 2026 12:01:00 GMT"})],
    *[(kind, {"applied": True}) for kind in APPLIED],
]
FAULT_IDS: Final = ["-".join([kind, *options]) for kind, options in FAULTS]

ALWAYS_RAISED: Final = {"401": AuthenticationError, "403": PermissionDeniedError}
"""Errors that always come out; after all other faults a call may still succeed."""

MAY_RAISE: Final = {
    "401": AuthenticationError,
    "403": PermissionDeniedError,
    "409": ConflictError,
    "truncated": UnexpectedResponseError,
    "wrong-types": UnexpectedResponseError,
    "no-cursor": UnexpectedResponseError,
    "repeated-cursor": UnexpectedResponseError,
}
"""The error that a single fault may come out as. Faults that are not listed must be survived."""


def check(operation: Operation, client: Client, server: LocalPaperspaceServer) -> PaperspaceError | None:
    """Make the call, and check what must always hold. Return the error, if one came out."""
    try:
        result, error = operation.call(client), None
    except PaperspaceError as raised:
        result, error = None, raised
    tags = set(server.paperspace.tag_names("p1"))
    assert BEFORE - tags <= BEFORE - operation.after, "a tag that was not named was removed"
    assert tags - BEFORE <= operation.after - BEFORE, "a tag that was not named was added"
    assert set(server.paperspace.tag_names("p2")) == {"old", "gpu"}
    assert "stale" not in BEFORE - tags or operation is not OPERATIONS["set"] or "steady" in tags, (
        "the project has neither tag"
    )
    if error is None:
        assert result == operation.result
        assert tags == operation.after, "the call returned, and the state is not as asked"
    return error


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("kind", "options"), FAULTS, ids=FAULT_IDS)
def test_one_fault_is_survived_or_raised_as_what_it_is(
    kind: str, options: dict[str, Any], name: str, client: Client, server: LocalPaperspaceServer
) -> None:
    operation = OPERATIONS[name]
    for at in range(1, operation.requests + 1):
        server.reset(seed=WORLD)
        server.fault(kind, at=at, **options)
        error = check(operation, client, server)
        if kind in ALWAYS_RAISED:
            assert error is not None, f"at request {at} it must come out"
        if error is not None:
            assert type(error) is MAY_RAISE.get(kind), f"at request {at}: {error}"
        # Once the fault is over, the same call ends in the state that was asked for.
        assert operation.call(client) is not None
        assert set(server.paperspace.tag_names("p1")) == operation.after


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("kind", "options"), FAULTS, ids=FAULT_IDS)
def test_a_lasting_fault_is_raised_in_the_end(
    kind: str, options: dict[str, Any], name: str, client: Client, server: LocalPaperspaceServer
) -> None:
    operation = OPERATIONS[name]
    server.reset(seed=WORLD)
    server.fault(kind, times=0, **options)
    error = check(operation, client, server)
    pages_only = kind in ("no-cursor", "repeated-cursor")
    if pages_only and name in ("project", "session"):
        assert error is None
    else:
        assert isinstance(error, (ApiError, TransportError, UnexpectedResponseError))


faults = st.tuples(st.sampled_from(FAULTS), st.integers(1, 8), st.sampled_from([1, 1, 1, 2, 3]))


@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(OPERATIONS)), pair=st.tuples(faults, faults))
def test_two_faults_never_cause_a_false_success(
    name: str, pair: tuple[Any, Any], client: Client, server: LocalPaperspaceServer
) -> None:
    server.reset(seed=WORLD)
    for (kind, options), at, times in pair:
        server.fault(kind, at=at, times=times, **options)
    check(OPERATIONS[name], client, server)
    server.restore()
    server.app.faults = []
    OPERATIONS[name].call(client)
    assert set(server.paperspace.tag_names("p1")) == OPERATIONS[name].after


def test_a_slow_answer_counts_as_lost(
    settings: ClientSettings, make_client: Callable[[ClientSettings], Client], server: LocalPaperspaceServer
) -> None:
    server.reset(seed=WORLD)
    server.fault("slow", at=3, seconds=0.6)
    with make_client(replace(settings, timeout_s=0.3)) as client:
        assert check(OPERATIONS["add"], client, server) is None
    methods = [request.method for request in server.requests]
    assert methods.count("GET") > 2, "the state was read again"
