"""The conversations themselves, played without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api import flows, policies, retries, walks
from airflow_provider_paperspace.api.answers import Flow
from airflow_provider_paperspace.api.errors import (
    ConflictError,
    NotFoundError,
    PaperspaceError,
    PermissionDeniedError,
    ServerError,
    TagNotFoundError,
    TransportError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.api.messages import Request, Response
from airflow_provider_paperspace.api.models import Tag, TagChange
from tests.conversation import answer, converse, page, refusal, tag

LOST = "reset"


def lost(at_s: float = 0.0) -> TransportError:
    return TransportError(LOST, subject="Project 'p'", action="write", at_s=at_s)


def add(*names: str, max_attempts: int = 3) -> Flow[TagChange]:
    return flows.converge_project_tags("p", policies.adding(names), max_attempts=max_attempts)


def remove(*names: str, max_attempts: int = 3, **options: Any) -> Flow[TagChange]:
    return flows.converge_project_tags("p", policies.removing(names, **options), max_attempts=max_attempts)


def set_to(names: str | list[str], **options: Any) -> Flow[TagChange]:
    return flows.converge_project_tags("p", policies.setting(names, **options), max_attempts=3)


def methods(requests: list[Request]) -> list[str]:
    return [request.method for request in requests]


def names(tags: tuple[Tag, ...]) -> list[str]:
    return [tag.name for tag in tags]


class TestReading:
    """Pages are walked until the service says that there are no more, and never round in circles."""

    def test_the_pages_of_a_list_are_joined_and_a_tag_that_comes_again_is_given_once(self) -> None:
        tags, requests = converse(
            flows.list_project_tags("p"),
            page("c", "b", next_page="1"),
            page("b", "a", next_page="2"),
            page("c"),
        )
        assert [tag.name for tag in tags] == ["c", "b", "a"]
        assert [request.target.partition("after=")[2] for request in requests] == ["", "1", "2"]

    @pytest.mark.parametrize(
        ("cursors", "complaint"),
        [
            ([None], "no cursor"),
            ([""], "an empty cursor ''"),
            (["\ud800"], "a cursor that is no valid Unicode"),
            (["x", "x"], "the cursor 'x' a second time"),
            (["x", "y", "x"], "the cursor 'x' a second time"),
        ],
    )
    def test_a_cursor_that_leads_nowhere_is_a_broken_answer(self, cursors: list[str | None], complaint: str) -> None:
        pages = [page(f"tag-{i}", next_page=cursor, has_more=True) for i, cursor in enumerate(cursors)]
        with pytest.raises(UnexpectedResponseError, match=complaint) as caught:
            converse(flows.list_project_tags("p"), *pages)
        assert "Project 'p'" in str(caught.value)

    def test_a_few_empty_pages_are_walked_over(self) -> None:
        empty = [page(next_page=str(i)) for i in range(walks.MAX_EMPTY_PAGES - 1)]
        tags, _ = converse(flows.list_project_tags("p"), *empty, page("a", next_page="x"), page("b"))
        assert [tag.name for tag in tags] == ["a", "b"]

    def test_a_run_of_empty_pages_is_a_broken_answer(self) -> None:
        empty = [page(next_page=str(i)) for i in range(walks.MAX_EMPTY_PAGES)]
        with pytest.raises(UnexpectedResponseError, match="10 empty pages in a row, the next at cursor '9'"):
            converse(flows.list_project_tags("p"), *empty)

    def test_more_pages_than_any_project_can_have_are_a_broken_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(walks, "MAX_PAGES", 20)
        endless = [page(f"tag-{i}", next_page=str(i)) for i in range(20)]
        with pytest.raises(UnexpectedResponseError, match="20 pages and has more, the next at cursor '19'"):
            converse(flows.list_project_tags("p"), *endless)

    def test_a_walk_gives_what_comes_again_within_600_names_once_and_forgets_what_is_far_back(self) -> None:
        walk = walks.walk_project_tags("p", page_size=120)
        given: list[str] = []
        for number in range(40):
            names = [f"tag-{number}-{i}" for i in range(120)]
            again = given[-600:]
            items, _ = converse(walk.next_new_items(), page(*again, *names, next_page=str(number)))
            assert [tag.name for tag in items] == names
            given += names
            assert len(walk._recent | walk._less_recent) < 2 * 720

    @given(st.lists(st.sampled_from("abcdefgh"), max_size=40), st.integers(1, 7))
    def test_however_a_list_is_cut_into_pages_each_name_is_given_once(self, names: list[str], size: int) -> None:
        cuts = [names[i : i + size] for i in range(0, len(names), size)] or [[]]
        pages = [page(*cut, next_page=str(i)) for i, cut in enumerate(cuts[:-1])] + [page(*cuts[-1])]
        tags, _ = converse(flows.list_project_tags("p"), *pages)
        assert [tag.name for tag in tags] == list(dict.fromkeys(names))

    @pytest.mark.parametrize(
        ("response", "kind", "text"),
        [
            (refusal(404), NotFoundError, "could not list its tags: the service answered 404"),
            (refusal(500, attempts=5), ServerError, "5 attempts"),
            (answer({"items": []}), UnexpectedResponseError, "'hasMore' of a page is missing"),
            (Response(200, {}, b"{"), UnexpectedResponseError, "it is not JSON"),
            (Response(200, {}, b"x" * 9, complete=False), UnexpectedResponseError, "cut off after 9 bytes"),
            (Response(302, {"location": "https://evil.example/x?y"}, b""), UnexpectedResponseError, "'evil.example'"),
            (Response(302, {"location": "http://[x/"}, b""), UnexpectedResponseError, "302 and sends us on, where"),
            (Response(304, {}, b""), UnexpectedResponseError, "304 and sends us on, where"),
            (refusal(429, retry_after_s=3600.0), PaperspaceError, "asks for 3600 s, of which at most 120 s"),
        ],
    )
    def test_an_answer_that_gives_no_list_raises_what_it_is(
        self, response: Response, kind: type[PaperspaceError], text: str
    ) -> None:
        with pytest.raises(kind, match=text):
            converse(flows.list_project_tags("p"), response)

    def test_nothing_is_asked_of_the_service_before_the_arguments_are_right(self) -> None:
        wrong: list[Callable[[], object]] = [
            lambda: walks.walk_project_tags(""),
            lambda: walks.walk_project_tags("p", page_size=0),
            lambda: walks.walk_project_tags("p", order="up"),  # type: ignore[arg-type]
            lambda: walks.walk_projects(page_size=0),
            lambda: next(add("")),
            lambda: next(remove("")),
            lambda: next(flows.read_project("..")),
        ]
        for call in wrong:
            with pytest.raises(ValueError):  # noqa: PT011  # each with its own message, tested where it is made
                call()

    def test_a_project_and_a_session_are_read_with_one_request(self) -> None:
        project, _ = converse(flows.read_project("p"), answer({"id": "p", "name": "n", "dtCreated": "d"}))
        assert project.name == "n"
        session, _ = converse(flows.read_session(), Response(200, {}, b"null"))
        assert session is None


class TestAdding:
    """``add`` ends with the tag there, and writes only what is missing."""

    def test_it_costs_the_pages_of_one_read_and_a_post_for_each_missing_tag(self) -> None:
        change, requests = converse(
            add("a", "b", "c"), page("b", next_page="x"), page("d"), answer(tag("a", 2)), answer(tag("c", 3))
        )
        assert methods(requests) == ["GET", "GET", "POST", "POST"]
        assert (names(change.added), names(change.unchanged)) == (["a", "c"], ["b"])

    def test_what_is_there_already_costs_no_write(self) -> None:
        change, requests = converse(add("a"), page("a"))
        assert (methods(requests), names(change.unchanged), change.added) == (["GET"], ["a"], ())

    @pytest.mark.parametrize("doubt", [lost(), refusal(500), refusal(408), refusal(503), answer({}), answer(7)])
    def test_after_an_answer_in_doubt_the_state_decides_that_it_is_done(self, doubt: Response | TransportError) -> None:
        change, requests = converse(add("a"), page(), doubt, page("a"))
        assert (methods(requests), names(change.added)) == (["GET", "POST", "GET"], ["a"])

    @pytest.mark.parametrize("doubt", [lost(), refusal(500), refusal(408), answer({})])
    def test_after_an_answer_in_doubt_the_state_decides_that_it_must_be_sent_again(
        self, doubt: Response | TransportError
    ) -> None:
        change, requests = converse(add("a"), page(), doubt, page(), answer(tag("a")))
        assert (methods(requests), names(change.added)) == (["GET", "POST", "GET", "POST"], ["a"])
        assert requests[-1].attempt == 2
        assert requests[-1].because

    def test_a_wait_that_a_failing_write_was_told_comes_before_the_next(self) -> None:
        _, requests = converse(add("a"), page(), refusal(503, retry_after_s=9.0), page(), answer(tag("a")))
        assert requests[-1].retry_after_s == 9.0

    def test_a_write_is_sent_so_often_at_most_and_then_the_real_error_comes_out(self) -> None:
        with pytest.raises(ServerError) as caught:
            converse(add("a", max_attempts=2), page(), lost(), page(), refusal(500), page())
        assert caught.value.attempts == 2

    def test_a_write_is_not_sent_again_when_the_total_time_is_over(self) -> None:
        first, late = refusal(503, at_s=10.0), refusal(503, at_s=10.0 + retries.MAX_TOTAL_S)
        with pytest.raises(ServerError):
            converse(add("a", max_attempts=99), page(), first, page(), late, page())

    def test_a_conflict_is_well_when_the_tag_is_there_and_was_then_not_ours(self) -> None:
        change, _ = converse(add("a"), page(), refusal(409), page("a"))
        assert (change.added, names(change.unchanged)) == ((), ["a"])

    def test_a_conflict_without_the_tag_is_raised_with_the_spelling_that_is_in_the_way(self) -> None:
        with pytest.raises(ConflictError, match="The project has 'gpu', which the service may hold for the same"):
            converse(add("GPU"), page(), refusal(409), page("gpu", "other"))

    def test_another_tag_in_the_answer_is_no_success(self) -> None:
        with pytest.raises(UnexpectedResponseError, match="the tag 'gpu' in its place.*The project has 'gpu'"):
            converse(add("GPU"), page("gpu"), answer(tag("gpu")), page("gpu"))

    def test_a_project_that_went_away_is_not_found(self) -> None:
        with pytest.raises(NotFoundError, match="took effect: that is not known"):
            converse(add("a"), page(), refusal(404), refusal(404))

    @pytest.mark.parametrize("status", [400, 401, 403, 405, 413, 422])
    def test_a_clear_no_is_raised_at_once(self, status: int) -> None:
        with pytest.raises(PaperspaceError):
            converse(add("a"), page(), refusal(status))

    def test_an_error_tells_what_was_done_before_it(self) -> None:
        with pytest.raises(PermissionDeniedError, match="Before that, 'a' added well"):
            converse(add("a", "b"), page(), answer(tag("a")), refusal(403))

    def test_when_the_state_cannot_be_read_again_the_error_says_that_the_outcome_is_open(self) -> None:
        with pytest.raises(ServerError, match="the attempt to add tag 'a' took effect: that is not known"):
            converse(add("a"), page(), lost(), refusal(500))

    def test_what_a_second_read_shows_saves_the_writes_that_others_did(self) -> None:
        change, requests = converse(add("a", "b"), page(), lost(), page("a", "b"))
        assert methods(requests) == ["GET", "POST", "GET"]
        assert (names(change.added), names(change.unchanged)) == (["a"], ["b"])

    def test_a_tag_that_others_took_off_meanwhile_is_put_back(self) -> None:
        change, requests = converse(
            add("a", "b", "c"), page("a", "c"), lost(), page("a"), answer(tag("b")), answer(tag("c"))
        )
        assert methods(requests) == ["GET", "POST", "GET", "POST", "POST"]
        assert (names(change.added), names(change.unchanged)) == (["b", "c"], ["a"])

    def test_no_names_still_show_that_the_project_is_there(self) -> None:
        change, requests = converse(add(), page("a"))
        assert (change, methods(requests)) == (TagChange(before=("a",), after=("a",)), ["GET"])
        with pytest.raises(NotFoundError):
            converse(add(), refusal(404))


class TestRemoving:
    """``remove`` ends with the tag gone, and touches none that was not named."""

    def test_it_costs_the_pages_of_one_read_and_a_delete_for_each_tag_that_is_there(self) -> None:
        change, requests = converse(remove("a", "x", "b"), page("b", "a", "c"), answer(tag("a")), answer(tag("b")))
        assert methods(requests) == ["GET", "DELETE", "DELETE"]
        assert (names(change.removed), change.absent) == (["a", "b"], ("x",))

    @pytest.mark.parametrize("doubt", [lost(), refusal(500), refusal(408), answer([])])
    def test_after_an_answer_in_doubt_the_state_decides(self, doubt: Response | TransportError) -> None:
        change, _ = converse(remove("a"), page("a"), doubt, page())
        assert names(change.removed) == ["a"]
        change, requests = converse(remove("a"), page("a"), doubt, page("a"), answer(tag("a")))
        assert (methods(requests), names(change.removed)) == (["GET", "DELETE", "GET", "DELETE"], ["a"])

    def test_a_404_means_gone_only_if_the_project_itself_still_answers(self) -> None:
        change, _ = converse(remove("a"), page("a"), refusal(404), page())
        assert (change.removed, change.absent) == ((), ("a",))
        with pytest.raises(NotFoundError):
            converse(remove("a"), page("a"), refusal(404), refusal(404))

    def test_a_404_for_a_tag_that_is_still_there_is_raised(self) -> None:
        with pytest.raises(NotFoundError):
            converse(remove("a"), page("a"), refusal(404), page("a"))

    def test_a_404_after_a_lost_answer_counts_as_our_removal(self) -> None:
        change, _ = converse(remove("a"), page("a"), lost(), page("a"), refusal(404), page())
        assert names(change.removed) == ["a"]

    def test_missing_tags_stop_it_before_anything_is_removed_when_they_may_not_be_missing(self) -> None:
        with pytest.raises(TagNotFoundError, match="not on the project: 'x', 'y'.*Nothing was removed") as caught:
            converse(remove("a", "x", "y", missing_ok=False), page("a"))
        assert caught.value.names == ("x", "y")

    def test_an_error_tells_what_was_done_before_it(self) -> None:
        with pytest.raises(PermissionDeniedError, match="Before that, 'a' removed well"):
            converse(remove("a", "b"), page("a", "b"), answer(tag("a")), refusal(403))

    def test_a_second_read_saves_the_removals_that_others_did(self) -> None:
        change, requests = converse(remove("a", "b"), page("a", "b"), lost(), page())
        assert (methods(requests), names(change.removed), change.absent) == (
            ["GET", "DELETE", "GET"],
            ["a"],
            ("b",),
        )


class TestSetting:
    def test_the_one_tag_of_the_prefix_is_added_before_the_other_goes_and_the_rest_stays(self) -> None:
        there = page("gpu", "stage:training", "stag")
        change, requests = converse(
            set_to("stage:evaluated", within="stage:"),
            *(there, answer(tag("stage:evaluated")), answer(tag("stage:training"))),
        )
        assert [request.action for request in requests] == [
            "list its tags",
            "add tag 'stage:evaluated'",
            "remove tag 'stage:training'",
        ]
        assert [t.name for t in change.added] == ["stage:evaluated"]
        assert [t.name for t in change.removed] == ["stage:training"]
        assert change.before == ("gpu", "stage:training", "stag")
        assert change.after == ("gpu", "stag", "stage:evaluated")

    def test_what_is_as_wanted_costs_the_read_alone(self) -> None:
        flow = set_to(["b", "a"])
        change, requests = converse(flow, page("a", "b"))
        assert methods(requests) == ["GET"]
        assert [t.name for t in change.unchanged] == ["b", "a"]
        assert change.before == change.after == ("a", "b")

    def test_an_addition_that_is_refused_leaves_the_old_tag(self) -> None:
        flow = set_to("new")
        with pytest.raises(PermissionDeniedError):
            converse(flow, page("old"), refusal(403))

    def test_a_removal_that_is_refused_tells_what_was_added(self) -> None:
        flow = set_to("new")
        with pytest.raises(PermissionDeniedError, match="Before that, 'new' added well"):
            converse(flow, page("old"), answer(tag("new")), refusal(403))

    def test_the_tags_seen_after_a_lost_answer_are_what_is_told(self) -> None:
        flow = set_to("new", within="n")
        change, _ = converse(flow, page("old"), lost(), page("new", "theirs"))
        assert (change.before, change.after) == (("old",), ("new", "theirs"))


def test_requests_are_as_json_as_they_say() -> None:
    _, requests = converse(add("é"), page(), answer(tag("é")))
    assert json.loads(requests[1].body or b"") == {"name": "é"}
    assert replace(requests[1], attempt=2).body == requests[1].body
