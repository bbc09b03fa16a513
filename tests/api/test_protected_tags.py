"""Protected tags: whatever a flow or a caller of a client wants, a matching tag is never removed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api._messages import Request, Response
from airflow_provider_paperspace.api.errors import InvalidArgumentError, ProtectedTagError
from airflow_provider_paperspace.api.models import Tag, TagChange, TagTarget
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.api.project_tags import converge_project_tags, plan_project_tags
from airflow_provider_paperspace.api.settings import ClientSettings
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.rules.patterns import Pattern, first_match
from tests.clients import Client
from tests.conversation import TagStore, answer, converse, lost, page, play, tag
from tests.operators.task import writes

NAMES = st.text("ab:*", min_size=1, max_size=3)


def protecting(*patterns: str, name: str = "c") -> ClientSettings:
    return ClientSettings(api_key="k", protected_tags=tuple(map(Pattern, patterns)), name=name)


def stamped(response: Response, *patterns: str) -> Response:
    """Return the response as a client with these protected tags hands it to a flow."""
    return replace(response, protected_by=protecting(*patterns).protected_by)


@pytest.mark.parametrize(
    ("patterns", "name", "reason"),
    [
        ([], "prod", ""),
        (["prod"], "prod", "protected by connection 'c' ('prod')"),
        (["prod"], "Prod", ""),
        (["prod"], "prod2", ""),
        (["gpu", "prod*", "*"], "prod2", "protected by connection 'c' ('prod*')"),
        (["x[[]1]"], "x[1]", "protected by connection 'c' ('x[[]1]')"),
        (["a\nb"], "a\nb", r"protected by connection 'c' ('a\nb')"),
    ],
)
def test_a_matching_tag_is_protected(patterns: list[str], name: str, reason: str) -> None:
    assert protecting(*patterns).protected_by(name) == reason


def test_settings_without_a_name_protect_too() -> None:
    assert protecting("p*", name="").protected_by("prod") == "protected by the settings of the client ('p*')"


@pytest.mark.parametrize("value", ["prod", ["prod"], ("prod",), None, [Pattern("prod")]])
def test_protected_tags_are_a_tuple_of_patterns(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="protected_tags must be a tuple of patterns"):
        ClientSettings(api_key="k", protected_tags=value)


def test_the_error_names_each_tag_and_what_protects_it() -> None:
    error = ProtectedTagError(
        {"a": "protected by connection 'c' ('a')", "p1": "protected by p", "p2": "protected by p"},
        subject="Project 'p'",
        action="remove tags",
    )
    error.connection = "c"
    assert str(error) == (
        "Project 'p': could not remove tags: 'a' is protected by connection 'c' ('a'); 'p1', 'p2' are protected by p."
    ), "the connection is named once"
    assert (error.names, error.is_permanent) == (("a", "p1", "p2"), True)
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    assert (str(copied), copied.names) == (str(error), error.names)


Wanted = tuple[list[str], list[str]]


@given(
    st.lists(NAMES, unique=True, max_size=6),
    st.tuples(st.lists(NAMES, max_size=4), st.lists(NAMES, max_size=4)),
    st.lists(NAMES, max_size=2),
)
def test_no_target_removes_a_protected_tag(there: list[str], wanted: Wanted, protected: list[str]) -> None:
    present, absent = wanted[0], [name for name in wanted[1] if name not in wanted[0]]
    store, patterns = TagStore(there), list(map(Pattern, protected))
    in_the_way = [name for name in absent if name in there and first_match(name, patterns)]

    def service(request: Request) -> Response:
        return stamped(store(request), *protected)

    target = TagTarget(tuple(dict.fromkeys(present)), tuple(dict.fromkeys(absent)))
    if in_the_way:
        with pytest.raises(ProtectedTagError) as caught:
            play(converge_project_tags("p", lambda tags: target), service)
        assert set(caught.value.names) == set(in_the_way)
        assert not store.writes, "refused before the first write"
    else:
        play(converge_project_tags("p", lambda tags: target), service)
        assert set(store.names) == (set(there) | set(present)) - set(absent)
    assert {name for name in there if first_match(name, patterns)} <= set(store.names)


def test_a_dry_run_is_refused_like_the_real_run() -> None:
    with pytest.raises(ProtectedTagError, match="'s:b' is protected by connection 'c'"):
        converse(plan_project_tags("p", policies.setting("s:a", within="s:")), stamped(page("s:b"), "s:b"))


def test_a_tag_on_the_second_page_is_protected() -> None:
    pages = stamped(page("x", next_page="2"), "prod"), stamped(page("prod"), "prod")
    with pytest.raises(ProtectedTagError):
        converse(converge_project_tags("p", policies.removing(["x", "prod"])), *pages)


def test_a_protected_tag_that_another_writer_adds_meanwhile_stays() -> None:
    """It was absent when the plan was made, and is there when the tags are read again after a lost answer."""
    change = TagChange("p")
    answers = stamped(page("x"), "prod"), lost(), stamped(page("prod"), "prod")
    with pytest.raises(ProtectedTagError, match=r"'prod' is protected .* Already removed: 'x'\."):
        converse(converge_project_tags("p", policies.removing(["x", "prod"]), change), *answers)
    assert ([tag.name for tag in change.removed], change.absent, change.unsettled) == (["x"], [], [])


def test_a_protected_tag_that_crosses_an_exclusive_set_stays() -> None:
    answers = page(), answer(tag("s:a")), page("s:a", "s:live")
    with pytest.raises(ProtectedTagError, match=r"'s:live' is protected .* Already added: 's:a'\."):
        converse(
            converge_project_tags("p", policies.setting("s:a", within="s:")), *(stamped(a, "s:live") for a in answers)
        )


class TestClients:
    """Both clients, with ``prod`` and ``s:live`` protected."""

    TAGS = ("prod", "s:live", "s:a", "x")

    @pytest.fixture
    def settings(self, settings: ClientSettings) -> ClientSettings:
        return replace(settings, protected_tags=(Pattern("prod"), Pattern("*:live")))

    @pytest.fixture(autouse=True)
    def world(self, server: LocalPaperspaceServer) -> None:
        server.reset(seed={"projects": [{"id": "p1", "tags": list(self.TAGS)}]})

    @pytest.mark.parametrize(
        ("call", "names"),
        [
            (lambda client: client.remove("p1", ["x", "prod"]), ["prod"]),
            (lambda client: client.remove("p1", ["x", "prod"], missing_ok=False), ["prod"]),
            (lambda client: client.set("p1", "s:b", within="s:"), ["s:live"]),
            (lambda client: client.set("p1", ["y"]), ["prod", "s:live"]),
            (lambda client: client.converge("p1", policies.changing(add="y", remove="prod")), ["prod"]),
            (lambda client: client.run(converge_project_tags("p1", policies.removing(["prod"]))), ["prod"]),
            (lambda client: client.run(plan_project_tags("p1", policies.removing(["prod"]))), ["prod"]),
        ],
        ids=["remove", "remove strictly", "set within", "set all", "converge", "run", "plan"],
    )
    def test_a_removal_is_refused_before_the_first_write(
        self, client: Client, server: LocalPaperspaceServer, call: Callable[[Client], Any], names: list[str]
    ) -> None:
        with pytest.raises(ProtectedTagError, match="protected by connection 'paperspace_default'") as caught:
            call(client)
        assert sorted(caught.value.names) == names
        assert str(caught.value).startswith("Project 'p1': could not remove tags: '")
        assert not writes(server)

    @pytest.mark.parametrize(
        ("call", "after"),
        [
            (lambda client: client.add("p1", ["prod", "b:live"]), ["prod", "s:live", "s:a", "x", "b:live"]),
            (lambda client: client.remove("p1", ["x", "a:live"]), ["prod", "s:live", "s:a"]),
            (lambda client: client.set("p1", ["s:live", "s:b"], within="s:"), ["prod", "s:live", "x", "s:b"]),
            (lambda client: client.set("p1", ["prod", "s:live"]), ["prod", "s:live"]),
        ],
        ids=["add", "remove others", "keep within", "keep all"],
    )
    def test_what_removes_no_protected_tag_is_done(
        self, client: Client, server: LocalPaperspaceServer, call: Callable[[Client], Any], after: Iterable[str]
    ) -> None:
        call(client)
        assert server.paperspace.tag_names("p1") == list(after)

    def test_a_policy_of_ones_own_cannot_remove_it(self, client: Client, server: LocalPaperspaceServer) -> None:
        policy: Policy = lambda tags: TagTarget(absent=tuple(tags))  # noqa: E731
        with pytest.raises(ProtectedTagError):
            client.converge("p1", policy)
        assert not writes(server)


def test_a_plan_for_no_client_protects_nothing() -> None:
    there = {"x": Tag(1, "x", "2026-03-02T09:15:00.000Z")}
    assert TagTarget(absent=("x",)).plan("p", there).protected == {}
