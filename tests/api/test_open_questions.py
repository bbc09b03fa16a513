"""Where the vendor does not say how the service answers, the outcome is the same whichever way it does.

Every value of every switch of the local Paperspace, with every operation and both clients. ``OUTCOME`` is the outcome
of an operation; ``UNLESS`` lists the few values that make a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from airflow_provider_paperspace.api.errors import (
    ApiError,
    NotFoundError,
    PaperspaceError,
    PermissionDeniedError,
    ServerError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.emulator.switches import CHOICES
from tests.clients import Client

pytestmark = pytest.mark.uncovered

LONG = "x" * 70
WORLD: Final = {
    "projects": [{"id": "p1", "name": "one", "tags": ["a", "gpu", "z"]}, {"id": "p2", "name": "two", "tags": ["gpu"]}],
    "foreignProjects": [{"id": "f1", "name": "theirs", "tags": ["secret"]}],
}

VALUES: Final = [
    (switch, concrete)
    for switch, choices in CHOICES.items()
    for choice in choices
    for concrete in {"1 to 120": ["1", "120"], "LENGTH/400": ["64/400"], "LENGTH/500": ["64/500"]}.get(choice, [choice])
]

Outcome = tuple[Any, list[str]]
"""What the call returns or raises, and the names on ``p1`` afterwards."""

UNTOUCHED: Final = ["a", "gpu", "z"]

OPERATIONS: Final[dict[str, Callable[[Client], Any]]] = {
    "list": lambda client: client.list("p1", order="asc"),
    "iterate": lambda client: client.iterate("p1", order="asc", page_size=2),
    "add new": lambda client: client.add("p1", ["new", "gpu"]),
    "add existing": lambda client: client.add("p1", "gpu"),
    "add while another adds": lambda client: client.add("p1", "raced"),
    "add in other case": lambda client: client.add("p1", "GPU"),
    "add long": lambda client: client.add("p1", LONG),
    "remove": lambda client: client.remove("p1", ["gpu", "z"]),
    "remove absent": lambda client: client.remove("p1", "absent"),
    "remove while another removes": lambda client: client.remove("p1", "a"),
    "remove in other case": lambda client: client.remove("p1", "GPU"),
    "set": lambda client: client.set("p1", ["gpu", "new"]),
    "set within": lambda client: client.set("p1", "gq", within="g"),
    "set what is set": lambda client: client.set("p1", ["a", "gpu", "z"]),
    "set in other case": lambda client: client.set("p1", "GPU", within="GP"),
    "set while another adds": lambda client: client.set("p1", ["raced", "gpu"]),
    "set long": lambda client: client.set("p1", LONG),
    "foreign": lambda client: client.list("f1"),
    "add to foreign": lambda client: client.add("f1", "x"),
    "projects": lambda client: [project.id for project in client.projects(order="asc")],
    "project": lambda client: client.project("p1").name,
    "resolve": lambda client: client.resolve("two"),
    "session": lambda client: client.session().team_namespace,  # type: ignore[union-attr]
}

OUTCOME: Final[dict[str, Outcome]] = {
    "list": (UNTOUCHED, UNTOUCHED),
    "iterate": (UNTOUCHED, UNTOUCHED),
    "add new": (["new", "gpu"], [*UNTOUCHED, "new"]),
    "add existing": (["gpu"], UNTOUCHED),
    "add while another adds": (["raced"], [*UNTOUCHED, "raced"]),
    "add in other case": (["GPU"], [*UNTOUCHED, "GPU"]),
    "add long": ([LONG], [*UNTOUCHED, LONG]),
    "remove": (["gpu", "z"], ["a"]),
    "remove absent": ([], UNTOUCHED),
    "remove while another removes": (["a"], ["gpu", "z"]),
    "remove in other case": ([], UNTOUCHED),
    "set": ((["new"], ["z", "a"]), ["gpu", "new"]),
    "set within": ((["gq"], ["gpu"]), ["a", "gq", "z"]),
    "set what is set": (([], []), UNTOUCHED),
    "set in other case": ((["GPU"], []), [*UNTOUCHED, "GPU"]),
    "set while another adds": ((["raced"], ["z", "a"]), ["gpu", "raced"]),
    "set long": (([LONG], ["z", "gpu", "a"]), [LONG]),
    "foreign": (NotFoundError, UNTOUCHED),
    "add to foreign": (NotFoundError, UNTOUCHED),
    "projects": (["p1", "p2"], UNTOUCHED),
    "project": ("one", UNTOUCHED),
    "resolve": ("p2", UNTOUCHED),
    "session": ("acme", UNTOUCHED),
}

UNLESS: Final[dict[tuple[str, str, str], Outcome]] = {
    ("case", "insensitive", "add in other case"): (UnexpectedResponseError, UNTOUCHED),
    ("case", "insensitive", "set in other case"): (UnexpectedResponseError, UNTOUCHED),
    ("add-existing", "409", "set while another adds"): (([], ["z", "a"]), ["gpu", "raced"]),
    ("longest-name", "64/400", "set long"): (ApiError, UNTOUCHED),
    ("longest-name", "64/500", "set long"): (ServerError, UNTOUCHED),
    ("longest-name", "64/400", "add long"): (ApiError, UNTOUCHED),
    ("longest-name", "64/500", "add long"): (ServerError, UNTOUCHED),
    ("foreign-project", "403", "foreign"): (PermissionDeniedError, UNTOUCHED),
    ("foreign-project", "403", "add to foreign"): (PermissionDeniedError, UNTOUCHED),
    # On a 404 someone else has removed the tag; on a 200 we count the removal as ours.
    ("remove-absent", "404", "remove while another removes"): ([], ["gpu", "z"]),
}


def outcome_of(switch: str, value: str, operation: str) -> Outcome:
    # Switches that are not set have their default, and that may make a difference, too.
    values = {name: choices[0] for name, choices in CHOICES.items()} | {switch: value}
    for name, held in values.items():
        if (name, held, operation) in UNLESS:
            return UNLESS[name, held, operation]
    return OUTCOME[operation]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("switch", "value"), VALUES, ids=[f"{switch}={value}" for switch, value in VALUES])
def test_the_outcome_does_not_depend_on_the_switch(
    switch: str, value: str, operation: str, client: Client, server: LocalPaperspaceServer
) -> None:
    server.reset(seed=WORLD, switches={switch: value})
    if "another" in operation:
        _let_another_writer_come_first(server, operation)
    expected, tags = outcome_of(switch, value, operation)
    if isinstance(expected, type):
        with pytest.raises(PaperspaceError) as caught:
            OPERATIONS[operation](client)
        assert type(caught.value) is expected
    else:
        assert OPERATIONS[operation](client) == expected
    assert sorted(server.paperspace.tag_names("p1")) == sorted(tags)
    assert server.paperspace.tag_names("p2") == ["gpu"]
    assert server.paperspace.tag_names("f1") == ["secret"]


@pytest.mark.parametrize("value", ["200", "409", "500"])
def test_an_error_names_the_tag_in_another_case(value: str, client: Client, server: LocalPaperspaceServer) -> None:
    server.reset(seed=WORLD, switches={"case": "insensitive", "add-existing": value})
    with pytest.raises(PaperspaceError, match="The project has 'gpu', which the service may treat as the same"):
        client.add("p1", "GPU")
    assert sorted(server.paperspace.tag_names("p1")) == UNTOUCHED


def _let_another_writer_come_first(server: LocalPaperspaceServer, operation: str) -> None:
    state = server.paperspace
    read = state.list_tags

    def read_then_let_another_write(project_id: str, query: Any) -> Any:
        page = read(project_id, query)
        if operation.endswith("adds"):
            state.add_tag("p1", {"name": "raced"})
        else:
            state.remove_tag("p1", {"name": "a"})
        del state.list_tags  # type: ignore[method-assign]
        return page

    state.list_tags = read_then_let_another_write  # type: ignore[method-assign]
