"""A project's tags: conversations with the service, played without a socket."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api import _retries, policies
from airflow_provider_paperspace.api._messages import Flow, Request, Response, load_json
from airflow_provider_paperspace.api.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PaperspaceError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    StoppedError,
    TagNotFoundError,
    TransportError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.api.models import Tag, TagChange, TagTarget
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.api.project_tags import (
    _parse_tag,
    add_request,
    converge_project_tags,
    list_project_tags,
    page_project_tags,
    plan_project_tags,
    remove_request,
)
from tests.clients import names_of
from tests.conversation import Answer, TagStore, answer, converse, lost, page, play, refusal, tag

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
PROJECT_IDS = TEXTS.filter(lambda text: text not in (".", ".."))


def add(*names: str) -> Flow[TagChange]:
    return converge_project_tags("p", policies.adding(names))


def remove(*names: str, **options: Any) -> Flow[TagChange]:
    return converge_project_tags("p", policies.removing(names, **options))


def set_to(names: str | list[str], **options: Any) -> Flow[TagChange]:
    return converge_project_tags("p", policies.setting(names, **options))


def methods(requests: list[Request]) -> list[str]:
    return [request.method for request in requests]


class TestRequests:
    """Whatever a project id or tag name contains, a request addresses this project and this tag only."""

    @given(PROJECT_IDS, TEXTS)
    def test_a_removal_names_its_tag_in_the_query(self, project_id: str, name: str) -> None:
        request = remove_request(project_id, name)
        parts = urlsplit(request.target)
        head, projects, one, tags = parts.path.split("/")
        assert (head, projects, unquote(one), tags) == ("", "projects", project_id, "tags")
        assert parse_qs(parts.query, strict_parsing=True) == {"name": [name]}
        assert request.target.isascii()
        assert request.body is None

    @given(PROJECT_IDS, TEXTS)
    def test_an_addition_names_its_tag_in_ascii_json(self, project_id: str, name: str) -> None:
        request = add_request(project_id, name)
        assert request.body is not None
        assert request.body.isascii()
        assert json.loads(request.body) == {"name": name}
        assert "?" not in request.target

    def test_the_conversation_sends_these_requests(self) -> None:
        _, requests = converse(add("é"), page(), answer(tag("é")))
        assert requests[1] == add_request("p", "é")
        assert replace(requests[1], attempt=2).body == requests[1].body
        _, requests = converse(remove("é"), page("é"), answer(tag("é")))
        assert requests[1] == remove_request("p", "é")

    def test_a_list_always_asks_for_its_page_size(self) -> None:
        _, requests = converse(list_project_tags("p"), page())
        assert requests[0].target == "/projects/p/tags?limit=120&orderBy=dtCreated&order=desc"
        _, requests = converse(list_project_tags("p", order="asc"), page())
        assert requests[0].target == "/projects/p/tags?limit=120&orderBy=dtCreated&order=asc"

    @pytest.mark.parametrize(
        "call",
        [
            lambda: page_project_tags(""),
            lambda: page_project_tags("p", page_size=0),
            lambda: page_project_tags("p", order="up"),  # type: ignore[arg-type]
            lambda: next(list_project_tags("")),
            lambda: next(plan_project_tags(".", policies.adding("a"))),
            lambda: next(converge_project_tags("..", policies.adding("a"))),
            lambda: add(""),
            lambda: remove(""),
        ],
    )
    def test_a_bad_argument_is_refused_before_any_request(self, call: Callable[[], object]) -> None:
        with pytest.raises(InvalidArgumentError):
            call()


class TestParsing:
    def test_a_tag_is_read_and_new_fields_are_ignored(self) -> None:
        parsed = _parse_tag({**tag("gpu", 7), "colour": "new field"})
        assert parsed == Tag(7, "gpu", "2026-03-02T09:15:00.000Z")
        assert parsed.as_json() == tag("gpu", 7)

    def test_a_number_with_an_empty_fraction_is_whole(self) -> None:
        parsed = _parse_tag(load_json(b'{"id": 7.0, "name": "gpu", "dtCreated": "d"}'))
        assert (parsed.id, type(parsed.id)) == (7, int)

    @pytest.mark.parametrize(
        ("value", "complaint"),
        [
            ({"name": "a", "dtCreated": "d"}, "'id' of a tag is missing"),
            ({**tag("a"), "id": "7"}, "'id' of a tag is a string"),
            ({**tag("a"), "id": True}, "'id' of a tag is a boolean"),
            ({**tag("a"), "id": 7.5}, "'id' of a tag is not a whole number"),
            ({**tag("a"), "name": None}, "'name' of a tag is null"),
            ({**tag("a"), "name": ["a"]}, "'name' of a tag is a list"),
            ({**tag("a"), "dtCreated": 0}, "'dtCreated' of a tag is a number"),
            ([], "a tag is a list, not an object"),
            ("gpu", "a tag is a string, not an object"),
            (None, "a tag is null, not an object"),
        ],
    )
    def test_a_malformed_tag_names_its_wrong_field(self, value: object, complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint):
            _parse_tag(value)
        listed = answer({"hasMore": False, "items": [value]})
        with pytest.raises(UnexpectedResponseError, match=f"Project 'p': could not list its tags: .*{complaint}"):
            converse(list_project_tags("p"), listed)


class TestListing:
    def test_pages_are_joined_and_each_tag_comes_once(self) -> None:
        tags, requests = converse(
            list_project_tags("p"),
            page("c", "b", next_page="1"),
            page("b", "a", next_page="2"),
            page("c"),
        )
        assert names_of(tags) == ["c", "b", "a"]
        assert [request.target.partition("after=")[2] for request in requests] == ["", "1", "2"]

    @given(st.lists(st.sampled_from("abcdefgh"), max_size=40), st.integers(1, 7))
    def test_each_name_comes_once_however_pages_are_cut(self, names: list[str], size: int) -> None:
        cuts = [names[i : i + size] for i in range(0, len(names), size)] or [[]]
        pages = [page(*cut, next_page=str(i)) for i, cut in enumerate(cuts[:-1])] + [page(*cuts[-1])]
        tags, _ = converse(list_project_tags("p"), *pages)
        assert names_of(tags) == list(dict.fromkeys(names))

    @pytest.mark.parametrize(
        ("response", "kind", "text"),
        [
            (refusal(404), NotFoundError, "could not list its tags: the service answered 404"),
            (refusal(500, attempts=5), ServerError, "5 attempts"),
            (answer({"items": []}), UnexpectedResponseError, "'hasMore' of a page is missing"),
            (Response(200, {}, b"{"), UnexpectedResponseError, "it is not JSON"),
            (Response(200, {}, b"x" * 9, complete=False), UnexpectedResponseError, "larger than the limit of 9 bytes"),
            (Response(302, {"location": "https://evil.example/x?y"}, b""), UnexpectedResponseError, "'evil.example'"),
            (
                Response(302, {"location": "http://[x/"}, b""),
                UnexpectedResponseError,
                "302, a redirect. Check the base URL",
            ),
            (Response(304, {}, b""), UnexpectedResponseError, "304, a redirect. Check the base URL"),
            (refusal(429, retry_after_s=3600.0), RateLimitError, "asked the client to wait 3600 s, until 20"),
        ],
    )
    def test_an_answer_without_a_list_raises_its_error(
        self, response: Response, kind: type[PaperspaceError], text: str
    ) -> None:
        with pytest.raises(kind, match=text):
            converse(list_project_tags("p"), response)

    def test_a_lost_answer_to_a_read_is_raised(self) -> None:
        with pytest.raises(TransportError, match="reset"):
            converse(list_project_tags("p"), lost())


class TestAdding:
    """Adding ends with the tag there, and writes only what is missing."""

    def test_one_read_and_a_post_for_each_missing_tag(self) -> None:
        change, requests = converse(
            add("a", "b", "c"), page("b", next_page="x"), page("d"), answer(tag("a", 2)), answer(tag("c", 3))
        )
        assert methods(requests) == ["GET", "GET", "POST", "POST"]
        assert (names_of(change.added), names_of(change.unchanged)) == (["a", "c"], ["b"])
        assert [added.id for added in change.added] == [2, 3]

    def test_a_tag_that_is_there_is_not_written(self) -> None:
        change, requests = converse(add("a"), page("a"))
        assert (methods(requests), names_of(change.unchanged), change.added) == (["GET"], ["a"], [])

    @pytest.mark.parametrize("unclear", [lost(), refusal(500), refusal(408), refusal(503), answer({}), answer(7)])
    def test_an_unclear_answer_is_settled_by_a_second_read(self, unclear: Answer) -> None:
        change, requests = converse(add("a"), page(), unclear, page("a"))
        assert (methods(requests), names_of(change.added)) == (["GET", "POST", "GET"], ["a"])

    @pytest.mark.parametrize("unclear", [lost(), refusal(500), refusal(408), answer({})])
    def test_a_write_is_sent_again_if_the_tag_is_missing(self, unclear: Answer) -> None:
        change, requests = converse(add("a"), page(), unclear, page(), answer(tag("a")))
        assert (methods(requests), names_of(change.added)) == (["GET", "POST", "GET", "POST"], ["a"])
        assert requests[-1].attempt == 2
        assert requests[-1].previous_problem

    def test_a_retry_after_is_passed_to_the_next_write(self) -> None:
        _, requests = converse(add("a"), page(), refusal(503, retry_after_s=9.0), page(), answer(tag("a")))
        assert requests[-1].retry_after_s == 9.0

    def test_attempts_are_limited_and_the_last_error_is_raised(self) -> None:
        with pytest.raises(ServerError) as caught:
            converse(add("a"), page(), lost(), page(), refusal(500), page(), max_attempts=2)
        assert caught.value.attempts == 2

    def test_a_lost_answer_carries_the_limit_too(self) -> None:
        with pytest.raises(TransportError) as caught:
            converse(add("a"), page(), refusal(500), page(), lost(), page(), max_attempts=2)
        assert caught.value.attempts == 2

    def test_no_write_is_sent_after_the_total_time(self) -> None:
        first, late = refusal(503, at_s=10.0), refusal(503, at_s=10.0 + _retries.MAX_TOTAL_S)
        with pytest.raises(ServerError):
            converse(add("a"), page(), first, page(), late, page(), max_attempts=99)
        with pytest.raises(TransportError):
            converse(add("a"), page(), lost(10.0), page(), lost(10.0 + _retries.MAX_TOTAL_S), page(), max_attempts=99)

    def test_a_conflict_with_the_tag_there_is_not_our_addition(self) -> None:
        change, _ = converse(add("a"), page(), refusal(409), page("a"))
        assert (change.added, names_of(change.unchanged)) == ([], ["a"])

    def test_a_conflict_names_the_similar_tag(self) -> None:
        with pytest.raises(ConflictError, match="The project has 'gpu', which the service may treat as the same"):
            converse(add("GPU"), page(), refusal(409), page("gpu", "other"))

    def test_another_tag_in_the_answer_is_an_error(self) -> None:
        with pytest.raises(UnexpectedResponseError, match="answered with the tag 'gpu'.*The project has 'gpu'"):
            converse(add("GPU"), page("gpu"), answer(tag("gpu")), page("gpu"))

    def test_a_project_that_vanished_is_not_found(self) -> None:
        with pytest.raises(NotFoundError, match="Unknown whether the attempt to add tag 'a' took effect"):
            converse(add("a"), page(), refusal(404), refusal(404))

    @pytest.mark.parametrize("status", [400, 401, 403, 405, 413, 422])
    def test_a_clear_refusal_is_raised_at_once(self, status: int) -> None:
        with pytest.raises(PaperspaceError) as caught:
            converse(add("a"), page(), refusal(status))
        assert caught.value.notes == []

    def test_a_429_after_all_attempts_is_raised_at_once(self) -> None:
        with pytest.raises(RateLimitError) as caught:
            converse(add("a"), page(), refusal(429))
        assert caught.value.notes == []

    def test_an_error_lists_what_was_added_before(self) -> None:
        with pytest.raises(PermissionDeniedError, match="Already added: 'a', 'b'[.]"):
            converse(add("a", "b", "c"), page(), answer(tag("a")), answer(tag("b")), refusal(403))

    def test_an_unreadable_state_leaves_the_outcome_unknown(self) -> None:
        with pytest.raises(ServerError, match="Unknown whether the attempt to add tag 'a' took effect"):
            converse(add("a"), page(), lost(), refusal(500))

    def test_a_stopped_client_did_not_send_the_write(self) -> None:
        with pytest.raises(StoppedError) as caught:
            converse(add("a", "b"), page(), answer(tag("a")), StoppedError("the client was stopped"))
        assert caught.value.notes == ["Already added: 'a'."]

    def test_a_second_read_saves_the_writes_of_others(self) -> None:
        change, requests = converse(add("a", "b"), page(), lost(), page("a", "b"))
        assert methods(requests) == ["GET", "POST", "GET"]
        assert (names_of(change.added), names_of(change.unchanged)) == (["a"], ["b"])

    def test_a_tag_removed_meanwhile_is_put_back(self) -> None:
        change, requests = converse(
            add("a", "b", "c"), page("a", "c"), lost(), page("a"), answer(tag("b")), answer(tag("c"))
        )
        assert methods(requests) == ["GET", "POST", "GET", "POST", "POST"]
        assert (names_of(change.added), names_of(change.unchanged)) == (["b", "c"], ["a"])

    def test_no_names_still_check_that_the_project_exists(self) -> None:
        change, requests = converse(add(), page("a"))
        assert (change, methods(requests)) == (TagChange("p", before=("a",), after=("a",)), ["GET"])
        with pytest.raises(NotFoundError):
            converse(add(), refusal(404))


class TestRemoving:
    """Removing ends with the tag gone, and touches none that was not named."""

    def test_one_read_and_a_delete_for_each_tag_that_is_there(self) -> None:
        change, requests = converse(remove("a", "x", "b"), page("b", "a", "c"), answer(tag("a")), answer(tag("b")))
        assert methods(requests) == ["GET", "DELETE", "DELETE"]
        assert (names_of(change.removed), change.absent) == (["a", "b"], ["x"])

    @pytest.mark.parametrize("unclear", [lost(), refusal(500), refusal(408), answer([])])
    def test_an_unclear_answer_is_settled_by_a_second_read(self, unclear: Answer) -> None:
        change, _ = converse(remove("a"), page("a"), unclear, page())
        assert names_of(change.removed) == ["a"]
        change, requests = converse(remove("a"), page("a"), unclear, page("a"), answer(tag("a")))
        assert (methods(requests), names_of(change.removed)) == (["GET", "DELETE", "GET", "DELETE"], ["a"])

    def test_a_404_means_gone_if_the_project_still_answers(self) -> None:
        change, _ = converse(remove("a"), page("a"), refusal(404), page())
        assert (change.removed, change.absent) == ([], ["a"])
        with pytest.raises(NotFoundError):
            converse(remove("a"), page("a"), refusal(404), refusal(404))

    def test_a_404_for_a_tag_that_is_still_there_is_raised(self) -> None:
        with pytest.raises(NotFoundError):
            converse(remove("a"), page("a"), refusal(404), page("a"))

    def test_a_404_after_a_lost_answer_counts_as_our_removal(self) -> None:
        change, _ = converse(remove("a"), page("a"), lost(), page("a"), refusal(404), page())
        assert names_of(change.removed) == ["a"]

    def test_a_required_tag_that_is_missing_stops_everything(self) -> None:
        with pytest.raises(TagNotFoundError, match="not on the project: 'x', 'y'.*Nothing was removed") as caught:
            converse(remove("a", "x", "y", missing_ok=False), page("a"))
        assert caught.value.names == ("x", "y")
        assert str(caught.value).startswith("Project 'p': could not remove tags: ")

    def test_an_error_lists_what_was_removed_before(self) -> None:
        with pytest.raises(PermissionDeniedError, match="Already removed: 'a'[.]"):
            converse(remove("a", "b"), page("a", "b"), answer(tag("a")), refusal(403))

    def test_a_second_read_saves_the_removals_of_others(self) -> None:
        change, requests = converse(remove("a", "b"), page("a", "b"), lost(), page())
        assert (methods(requests), names_of(change.removed), change.absent) == (
            ["GET", "DELETE", "GET"],
            ["a"],
            ["b"],
        )

    def test_a_tag_added_meanwhile_is_removed_too(self) -> None:
        change, requests = converse(remove("a", "x"), page("a"), lost(), page("x"), answer(tag("x")))
        assert methods(requests) == ["GET", "DELETE", "GET", "DELETE"]
        assert (names_of(change.removed), change.absent) == (["a", "x"], [])


class TestSetting:
    def test_the_new_tag_is_added_before_the_old_one_goes(self) -> None:
        change, requests = converse(
            set_to("stage:evaluated", within="stage:"),
            page("gpu", "stage:training", "stag"),
            answer(tag("stage:evaluated")),
            answer(tag("stage:training")),
            page("gpu", "stag", "stage:evaluated"),
        )
        assert [request.action for request in requests] == [
            "list its tags",
            "add tag 'stage:evaluated'",
            "remove tag 'stage:training'",
            "list its tags",
        ]
        assert names_of(change.added) == ["stage:evaluated"]
        assert names_of(change.removed) == ["stage:training"]
        assert change.before == ("gpu", "stage:training", "stag")
        assert change.after == ("gpu", "stag", "stage:evaluated")

    def test_tags_that_are_as_wanted_cost_one_read(self) -> None:
        change, requests = converse(set_to(["b", "a"]), page("a", "b"))
        assert methods(requests) == ["GET"]
        assert names_of(change.unchanged) == ["b", "a"]
        assert change.before == change.after == ("a", "b")

    def test_a_refused_addition_leaves_the_old_tag(self) -> None:
        with pytest.raises(PermissionDeniedError):
            converse(set_to("new"), page("old"), refusal(403))

    def test_a_refused_removal_lists_what_was_added(self) -> None:
        with pytest.raises(PermissionDeniedError, match="Already added: 'new'"):
            converse(set_to("new"), page("old"), answer(tag("new")), refusal(403))

    def test_after_is_what_the_last_read_showed(self) -> None:
        change, _ = converse(
            set_to("new", within="n"), page("old"), lost(), page("new", "theirs"), page("new", "theirs", "late")
        )
        assert (change.before, change.after) == (("old",), ("new", "theirs", "late"))


NAMES = st.sampled_from(["a", "b", "s:a", "s:b", "s:c", "é", " a "])
NAME_LISTS = st.lists(NAMES, max_size=5)
TAGS = st.lists(NAMES, unique=True)


@st.composite
def some_policy(draw: st.DrawFn) -> Policy:
    """Return one of the four policies with arbitrary names."""
    kind = draw(st.sampled_from(["adding", "removing", "changing", "setting"]))
    if kind == "adding":
        return policies.adding(draw(NAME_LISTS))
    if kind == "removing":
        return policies.removing(draw(NAME_LISTS), missing_ok=draw(st.booleans()))
    if kind == "changing":
        names = draw(NAME_LISTS)
        return policies.changing(add=names, remove=[name for name in draw(NAME_LISTS) if name not in names])
    within = draw(st.sampled_from([None, "s:"]))
    return policies.setting([name for name in draw(NAME_LISTS) if name.startswith(within or "")], within=within)


def _requires_a_missing_tag(policy: Policy, there: list[str]) -> bool:
    try:
        policy({name: Tag(1, name, "d") for name in there})
    except TagNotFoundError:
        return True
    return False


class TestPlanning:
    """A plan writes nothing, and converging carries out exactly that plan."""

    @given(policy=some_policy(), there=TAGS)
    def test_converging_carries_out_the_plan(self, policy: Policy, there: list[str]) -> None:
        planned, carried_out = TagStore(there), TagStore(there)
        if _requires_a_missing_tag(policy, there):
            for flow, store in (
                (plan_project_tags("p", policy), planned),
                (converge_project_tags("p", policy), carried_out),
            ):
                with pytest.raises(TagNotFoundError, match="Project 'p': could not remove tags: not on the project"):
                    play(flow, store)
                assert store.writes == []
            return
        plan = play(plan_project_tags("p", policy), planned)
        change = play(converge_project_tags("p", policy), carried_out)
        assert (planned.writes, planned.names) == ([], there)
        assert carried_out.writes == [
            *[("POST", name) for name in plan.add],
            *[("DELETE", name) for name in plan.remove],
        ]
        assert tuple(names_of(change.added)) == plan.add
        assert tuple(names_of(change.removed)) == plan.remove
        assert tuple(names_of(change.unchanged)) == plan.unchanged
        assert tuple(change.absent) == plan.absent
        assert change.before == tuple(there)
        assert change.after == plan.after == tuple(carried_out.names)
        assert plan.project_id == change.project_id == "p"

    @given(policy=some_policy(), there=TAGS)
    def test_a_plan_after_converging_is_empty(self, policy: Policy, there: list[str]) -> None:
        store = TagStore(there)
        with suppress(TagNotFoundError):  # removing with missing_ok=False, now or the second time
            play(converge_project_tags("p", policy), store)
            plan = play(plan_project_tags("p", policy), store)
            assert (plan.add, plan.remove) == ((), ())

    def test_a_plan_costs_the_pages_of_one_read(self) -> None:
        plan, requests = converse(
            plan_project_tags("p", policies.changing(add=["a", "n"], remove=["b", "m"])),
            page("a", next_page="x"),
            page("b"),
        )
        assert methods(requests) == ["GET", "GET"]
        assert (plan.add, plan.remove, plan.unchanged, plan.absent) == (("n",), ("b",), ("a",), ("m",))
        assert plan.after == ("a", "n")

    def test_a_plan_without_a_required_tag_is_an_error(self) -> None:
        with pytest.raises(TagNotFoundError, match="Project 'p': could not remove tags: not on the project: 'x'"):
            converse(plan_project_tags("p", policies.removing("x", missing_ok=False)), page("a"))

    def test_any_function_of_the_tags_is_a_policy(self) -> None:
        change, _ = converse(
            converge_project_tags("p", lambda tags: TagTarget(absent=tuple(tags))), page("a"), answer(tag("a"))
        )
        assert names_of(change.removed) == ["a"]


ADDED, REMOVED = ["a", "b", "c"], ["x", "y", "z"]
WRITES = [*[("POST", name) for name in ADDED], *[("DELETE", name) for name in REMOVED]]

READ = "the read is answered"
STOPPED = StoppedError("the client was stopped")

SETTLED: dict[str, list[Answer | BaseException | str]] = {
    "refused": [refusal(403)],
    "too many": [refusal(429)],
    "stopped before it was sent": [STOPPED],
    "in conflict, and read again": [refusal(409), READ],
    "answered with another tag, and read again": [answer(tag("another")), READ],
    "lost, read again, and stopped before the second attempt": [lost(), READ, STOPPED],
    "lost, read again, and refused": [lost(), READ, refusal(403)],
    "lost three times, and read again": [lost(), READ, lost(), READ, lost(), READ],
}
UNSETTLED: dict[str, list[Answer | BaseException | str]] = {
    "lost, then unreadable": [lost(), refusal(500)],
    "lost, then forbidden to read": [lost(), refusal(403)],
    "lost, then stopped": [lost(), STOPPED],
    "lost, then interrupted": [lost(), KeyboardInterrupt()],
    "lost, then closed": [lost(), GeneratorExit()],
    "lost, read again, lost, then unreadable": [lost(), READ, lost(), refusal(500)],
    "failed, then lost": [refusal(500), lost()],
    "unreadable, then unreadable": [answer({}), answer({})],
    "interrupted": [KeyboardInterrupt()],
    "interrupted at the second attempt": [lost(), READ, KeyboardInterrupt()],
    "closed": [GeneratorExit()],
}
ENDINGS = {**SETTLED, **UNSETTLED}


class TestTheRecordOfTheCaller:
    """The change that a caller passes in holds exactly the answered writes, however the conversation ends."""

    @pytest.mark.parametrize("ending", ENDINGS)
    @pytest.mark.parametrize("position", range(len(WRITES)), ids=[f"{method} {name}" for method, name in WRITES])
    def test_it_holds_the_answered_writes(self, position: int, ending: str) -> None:
        store, change = TagStore(["k", *REMOVED]), TagChange("p")
        policy = policies.changing(add=[*ADDED, "k"], remove=[*REMOVED, "m"])
        with pytest.raises((PaperspaceError, KeyboardInterrupt, GeneratorExit)) as caught:
            _play_until(converge_project_tags("p", policy, change), store, position, ENDINGS[ending])
        answered = [name for _, name in WRITES[:position]]
        assert store.writes == WRITES[:position]
        assert names_of(change.added) == [name for name in answered if name in ADDED]
        assert names_of(change.removed) == [name for name in answered if name in REMOVED]
        assert change.before == ("k", *REMOVED)
        assert change.after == tuple(store.names)
        assert bool(change) == bool(answered)
        assert change.unsettled == ([WRITES[position][1]] if ending in UNSETTLED else [])
        if isinstance(caught.value, PaperspaceError):
            assert caught.value.is_outcome_unknown == (ending in UNSETTLED)
            notes = [note for note in caught.value.notes if note.startswith("Already")]
            assert notes == [
                f"Already {verb}: {', '.join(repr(tag.name) for tag in done)}."
                for verb, done in (("added", change.added), ("removed", change.removed))
                if done
            ]

    def test_a_success_leaves_nothing_unsettled(self) -> None:
        store, change = TagStore(["k", *REMOVED]), TagChange("p")
        play(converge_project_tags("p", policies.changing(add=ADDED, remove=REMOVED), change), store)
        assert (store.writes, change.unsettled) == (WRITES, [])

    @pytest.mark.parametrize("position", range(len(WRITES)), ids=[f"{method} {name}" for method, name in WRITES])
    def test_a_write_is_unsettled_while_it_is_under_way(self, position: int) -> None:
        store, change = TagStore(REMOVED), TagChange("p")
        flow = converge_project_tags("p", policies.changing(add=ADDED, remove=REMOVED), change)
        request = next(flow)
        assert change.unsettled == []
        while request.method == "GET" or len(store.writes) < position:
            request = flow.send(store(request))
        assert change.unsettled == [WRITES[position][1]]
        flow.close()
        assert change.unsettled == [WRITES[position][1]]

    @pytest.mark.parametrize("ending", [[KeyboardInterrupt()], [refusal(500)], [STOPPED]], ids=repr)
    def test_a_last_read_leaves_nothing_unsettled(self, ending: list[Answer | BaseException | str]) -> None:
        store, change = TagStore(["old"]), TagChange("p")
        flow = converge_project_tags("p", policies.setting("new"), change)
        with pytest.raises((PaperspaceError, KeyboardInterrupt)):
            _play_until(flow, store, 2, ending, at_a_write=False)
        assert (names_of(change.added), names_of(change.removed), change.unsettled) == (["new"], ["old"], [])

    def test_a_first_read_that_fails_leaves_it_empty(self) -> None:
        change = TagChange("p")
        with pytest.raises(ServerError):
            converse(converge_project_tags("p", policies.adding("a"), change), refusal(500))
        assert change == TagChange("p")

    def test_it_is_what_the_conversation_returns(self) -> None:
        change = TagChange("p")
        returned, _ = converse(converge_project_tags("p", policies.adding("a"), change), page(), answer(tag("a")))
        assert returned is change

    def test_it_keeps_what_it_held_before(self) -> None:
        change = TagChange("p")
        converse(converge_project_tags("p", policies.adding("a"), change), page("old"), answer(tag("a")))
        converse(converge_project_tags("p", policies.removing("a"), change), page("a", "old"), answer(tag("a")))
        assert (names_of(change.added), names_of(change.removed)) == (["a"], ["a"])
        assert change.after == ("old",)


def _play_until(
    flow: Flow[Any],
    store: TagStore,
    position: int,
    ending: list[Answer | BaseException | str],
    *,
    at_a_write: bool = True,
) -> None:
    """Let the store answer everything up to a write, counted from 0, and give that one the ending."""
    request = next(flow)
    while len(store.writes) < position or (at_a_write and request.method == "GET"):
        request = flow.send(store(request))
    for step in ending:
        if isinstance(step, TransportError):
            error = deepcopy(step)  # flows add notes to it
            error.max_attempts = 3
            request = flow.throw(error)
        elif isinstance(step, BaseException):
            request = flow.throw(step)
        elif isinstance(step, Response):
            request = flow.send(replace(step, max_attempts=3))
        else:
            request = _answered_by(store, flow, request)
    pytest.fail("the conversation went on")


def _answered_by(store: TagStore, flow: Flow[Any], request: Request) -> Request:
    """Let the store answer all pages of a read; return the request after it."""
    while request.method == "GET":
        response = store(request)
        request = flow.send(response)
        if not json.loads(response.body)["hasMore"]:
            break
    return request


@pytest.mark.parametrize(
    ("flow", "answers", "level"),
    [
        (add("a"), [page(), answer(tag("a"))], logging.INFO),
        (remove("a"), [page("a"), answer(tag("a"))], logging.INFO),
        (add("a"), [page("a")], logging.DEBUG),
        (remove("a"), [page()], logging.DEBUG),
    ],
)
def test_a_change_is_logged_at_info(
    flow: Flow[TagChange], answers: list[Response], level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        change, _ = converse(flow, *answers)
    (record,) = [record for record in caplog.records if record.name.startswith("airflow_provider_paperspace")]
    assert (record.levelno, record.getMessage()) == (level, f"Project 'p': {change}")
