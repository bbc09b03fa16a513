"""Projects and the session: which requests are sent, and what their answers become."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api._messages import Flow, Response
from airflow_provider_paperspace.api.errors import (
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ProjectNameError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.api.models import Project, Session
from airflow_provider_paperspace.api.projects import get_project, get_session, page_projects, resolve_project_id
from tests.conversation import answer, converse, refusal

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
PROJECT_IDS = TEXTS.filter(lambda text: text not in (".", ".."))

LEAST = {"id": "p", "name": "n", "dtCreated": "d"}
SESSION = {"user": {"id": "u", "email": "ada@example.org"}, "team": {"id": "t", "namespace": "acme"}}


def projects(*named: tuple[str, str] | tuple[str, str, str], next_page: str | None = None) -> Response:
    """Return a page of projects, each given as its id, its name, and when it was deleted."""
    items = [
        {"id": id_, "name": name, "dtCreated": "d", "dtDeleted": deleted[0] if deleted else None}
        for id_, name, *deleted in named
    ]
    return answer({"hasMore": next_page is not None, "items": items, "nextPage": next_page})


class TestGetProject:
    def test_a_project_is_read_with_one_request(self) -> None:
        project, requests = converse(get_project("p"), answer(LEAST))
        assert project == Project("p", "n", "d")
        assert [(r.method, r.target, r.body) for r in requests] == [("GET", "/projects/p", None)]

    def test_optional_fields_may_be_null_and_new_ones_are_ignored(self) -> None:
        most = {**LEAST, "dtDeleted": "x", "repoUrl": "u", "repoName": None, "colour": "new field"}
        assert converse(get_project("p"), answer(most))[0] == Project("p", "n", "d", "x", "u")

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"id": 7}, "'id' of a project is a number"),
            ({"name": None}, "'name' of a project is null"),
            ({"dtCreated": []}, "'dtCreated' of a project is a list"),
            ({"dtDeleted": 7}, "'dtDeleted' of a project is a number"),
            ({"repoUrl": {}}, "'repoUrl' of a project is an object"),
        ],
    )
    def test_a_malformed_project_names_its_wrong_field(self, change: dict[str, Any], complaint: str) -> None:
        with pytest.raises(UnexpectedResponseError, match=f"Project 'p': could not read it: .*{complaint}"):
            converse(get_project("p"), answer({**LEAST, **change}))

    @pytest.mark.parametrize("project_id", ["../teams", "a/b?x", "a#b", "%2e%2e", "a b"])
    def test_an_awkward_id_cannot_reach_another_path(self, project_id: str) -> None:
        target = next(get_project(project_id)).target
        assert target.count("/") == 2
        assert not set("?# ") & set(target)
        assert "/.." not in target.replace("/..%2F", "/")

    @given(PROJECT_IDS)
    def test_any_id_stays_one_ascii_path_segment(self, project_id: str) -> None:
        target = next(get_project(project_id)).target
        assert target.isascii()
        assert target.removeprefix("/projects/").strip("/") == target.removeprefix("/projects/")
        assert not set("/?#") & set(target.removeprefix("/projects/"))


class TestPageProjects:
    def test_a_page_size_is_always_sent(self) -> None:
        _, requests = converse(page_projects(order="asc", page_size=5).next_page(), projects())
        assert requests[0].target == "/projects?limit=5&orderBy=dtCreated&order=asc"

    def test_deleted_projects_are_included(self) -> None:
        items, _ = converse(page_projects().next_page(), projects(("p", "one"), ("q", "two", "2026-01-01")))
        assert [(project.id, project.dt_deleted) for project in items] == [("p", None), ("q", "2026-01-01")]

    def test_a_project_that_comes_again_is_dropped(self) -> None:
        pager = page_projects()
        converse(pager.next_new_items(), projects(("p", "one"), ("q", "two"), next_page="x"))
        items, _ = converse(pager.next_new_items(), projects(("q", "two"), ("r", "one")))
        assert [project.id for project in items] == ["r"]


class TestResolveProjectId:
    def test_the_one_project_with_the_name_is_found(self) -> None:
        found, requests = converse(
            resolve_project_id("two"), projects(("p", "one"), next_page="x"), projects(("q", "two"), ("r", "three"))
        )
        assert found == "q"
        assert len(requests) == 2

    def test_a_deleted_project_does_not_count(self) -> None:
        found, _ = converse(resolve_project_id("two"), projects(("p", "two", "2026-01-01"), ("q", "two")))
        assert found == "q"
        with pytest.raises(ProjectNameError, match="no project has this name"):
            converse(resolve_project_id("two"), projects(("p", "two", "2026-01-01")))

    def test_a_project_that_comes_again_counts_once(self) -> None:
        found, _ = converse(resolve_project_id("two"), projects(("q", "two"), next_page="x"), projects(("q", "two")))
        assert found == "q"

    def test_an_unknown_name_is_an_error(self) -> None:
        with pytest.raises(ProjectNameError, match="Project named 'two': could not find it: .*Check the spelling") as e:
            converse(resolve_project_id("two"), projects(("p", "one")))
        assert (e.value.project_ids, e.value.is_permanent) == ((), True)
        assert "similar" not in str(e.value)

    def test_similar_names_are_listed(self) -> None:
        there = projects(("p", "TWO"), ("q", " two"), ("r", "three"), ("s", "Two", "2026-01-01"))
        with pytest.raises(ProjectNameError, match="no project has this name; similar: ' two', 'TWO'[.]"):
            converse(resolve_project_id("two"), there)

    def test_a_name_that_several_projects_have_is_an_error(self) -> None:
        there = [projects(("p", "two"), next_page="x"), projects(("q", "two"))]
        with pytest.raises(ProjectNameError, match="2 projects have this name: 'p', 'q'.*Use project_id") as caught:
            converse(resolve_project_id("two"), *there)
        assert caught.value.project_ids == ("p", "q")


class TestGetSession:
    def test_a_session_tells_user_and_team(self) -> None:
        session, requests = converse(get_session(), answer(SESSION))
        assert session == Session("u", "ada@example.org", "t", "acme")
        assert [(r.method, r.target) for r in requests] == [("GET", "/auth/session")]

    def test_null_means_that_the_key_is_not_accepted(self) -> None:
        assert converse(get_session(), Response(200, {}, b"null"))[0] is None

    @pytest.mark.parametrize(
        ("value", "complaint"),
        [
            ({"user": {}}, "'team' of a session is missing"),
            ({**SESSION, "user": None}, "'user' of a session is null"),
            ({**SESSION, "user": {"email": "e"}}, "'id' of a session's user is missing"),
            ({**SESSION, "team": {"id": "t", "namespace": 7}}, "'namespace' of a session's team is a number"),
            ([], "a session is a list, not an object"),
        ],
    )
    def test_a_malformed_session_names_its_wrong_field(self, value: object, complaint: str) -> None:
        with pytest.raises(UnexpectedResponseError, match=f"API key: could not check it: .*{complaint}"):
            converse(get_session(), Response(200, {}, json.dumps(value).encode()))


def test_an_unknown_project_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="Project 'p': could not read it: .*404"):
        converse(get_project("p"), refusal(404))


@pytest.mark.parametrize(
    "flow",
    [get_session(), page_projects().next_page(), resolve_project_id("two")],
    ids=["session", "projects", "project by its name"],
)
def test_a_404_without_a_project_advises_to_check_the_host(flow: Flow[Any]) -> None:
    with pytest.raises(NotFoundError, match="404") as caught:
        converse(flow, refusal(404))
    assert str(caught.value).endswith(
        "There is no Paperspace API at this address. Check the base URL (Host of the Airflow connection)."
    )
    assert "project id" not in str(caught.value)
    assert caught.value.is_permanent


def test_a_404_on_a_project_advises_to_check_its_id() -> None:
    with pytest.raises(NotFoundError, match="Check the project id") as caught:
        converse(get_project("p"), refusal(404))
    assert "Host" not in str(caught.value)


@pytest.mark.parametrize("flow", [get_session(), page_projects().next_page()], ids=["session", "projects"])
def test_another_status_keeps_its_advice(flow: Flow[Any]) -> None:
    with pytest.raises(PermissionDeniedError, match="The key's user is not allowed to do this"):
        converse(flow, refusal(403))


@pytest.mark.parametrize(
    "call",
    [
        lambda: next(get_project("")),
        lambda: next(get_project("..")),
        lambda: page_projects(page_size=0),
        lambda: page_projects(order="up"),  # type: ignore[arg-type]
        lambda: next(resolve_project_id(" ")),
    ],
)
def test_a_bad_argument_is_refused_before_any_request(call: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgumentError):
        call()
