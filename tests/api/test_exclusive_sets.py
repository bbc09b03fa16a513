"""Two writers of one exclusive set, in every order of their requests: never are both green with two tags left."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import pytest

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api._messages import Flow, Request
from airflow_provider_paperspace.api.errors import (
    ConcurrentWriteError,
    PaperspaceError,
    PermissionDeniedError,
    ServerError,
)
from airflow_provider_paperspace.api.models import TagChange
from airflow_provider_paperspace.api.project_tags import converge_project_tags
from tests.clients import names_of
from tests.conversation import TagStore, answer, converse, lost, page, play, refusal, tag

A, B, OLD = "stage:a", "stage:b", "stage:old"


def set_stage(*names: str, change: TagChange | None = None) -> Flow[TagChange]:
    return converge_project_tags("p", policies.setting(names, within="stage:"), change)


def stages(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith("stage:")}


@dataclass
class Writer:
    """One run of a set, a request at a time."""

    wanted: str
    change: TagChange = field(default_factory=lambda: TagChange("p"))
    error: PaperspaceError | None = None
    deleted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._flow = set_stage(self.wanted, change=self.change)
        self.request: Request | None = next(self._flow)

    @property
    def is_green(self) -> bool:
        return self.error is None

    def step(self, store: TagStore, *, lose_answer: bool) -> None:
        """Let the store answer the next request; the answer may get lost on its way."""
        assert self.request is not None
        if self.request.method == "DELETE":
            self.deleted.add(self.request.target.partition("?name=")[2].replace("%3A", ":"))
        response = store(self.request)
        try:
            self.request = self._flow.throw(_lost()) if lose_answer else self._flow.send(response)
        except StopIteration:
            self.request = None
        except PaperspaceError as error:
            self.request, self.error = None, error


def _lost() -> Any:
    error = lost()
    error.max_attempts = 3
    return error


def race(there: Iterable[str], choose: Callable[[int], int], *, lost_answers: int) -> tuple[TagStore, list[Writer]]:
    """Run two sets on one project. ``choose(n)`` returns which of n ways the race takes next."""
    store, writers = TagStore(there), [Writer(A), Writer(B)]
    while running := [writer for writer in writers if writer.request is not None]:
        writer = running[choose(len(running))] if len(running) > 1 else running[0]
        assert writer.request is not None
        lose = bool(lost_answers and writer.request.method != "GET" and choose(2))
        lost_answers -= lose
        writer.step(store, lose_answer=lose)
    return store, writers


T = TypeVar("T")


def in_every_order(run: Callable[[Callable[[int], int]], T]) -> Iterator[T]:
    """Run something once for every sequence of choices that it can make."""
    prefix: list[tuple[int, int]] = []
    while True:
        taken: list[tuple[int, int]] = []

        def choose(ways: int, prefix: list[tuple[int, int]] = prefix, taken: list[tuple[int, int]] = taken) -> int:
            choice = prefix[len(taken)][0] if len(taken) < len(prefix) else 0
            taken.append((choice, ways))
            return choice

        yield run(choose)
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return
        choice, ways = taken.pop()
        prefix = [*taken, (choice + 1, ways)]


@cache
def every_race(there: tuple[str, ...], lost_answers: int) -> list[tuple[TagStore, list[Writer]]]:
    """Return how the race ends in every order of its requests, with any one answer to a write lost."""
    return list(in_every_order(lambda choose: race(there, choose, lost_answers=lost_answers)))


@pytest.mark.uncovered
@pytest.mark.parametrize(
    ("there", "lost_answers"),
    [
        pytest.param((), 0, id="none"),
        pytest.param((), 1, id="none, an answer lost"),
        pytest.param((OLD,), 0, id="one old"),
        pytest.param((OLD,), 1, id="one old, an answer lost"),
        pytest.param((A,), 0, id="one of them"),
        pytest.param((A,), 1, id="one of them, an answer lost"),
        pytest.param((A, B), 0, id="both"),
        pytest.param((A, B), 1, id="both, an answer lost"),
        pytest.param(("gpu", OLD), 0, id="another tag"),
        pytest.param(("gpu", OLD), 1, id="another tag, an answer lost"),
    ],
)
class TestTwoWriters:
    @pytest.fixture(autouse=True)
    def _quiet(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "airflow_provider_paperspace.api.project_tags")

    def test_two_green_sets_never_leave_two_stages(self, there: tuple[str, ...], lost_answers: int) -> None:
        races = every_race(there, lost_answers)
        assert len(races) >= 13, "the requests of both are mixed"
        for store, writers in races:
            left = stages(store.names)
            assert not all(writer.is_green for writer in writers) or left in ({A}, {B})
            assert left <= {A, B}
            assert ("gpu" in store.names) == ("gpu" in there)

    def test_only_what_was_planned_is_removed(self, there: tuple[str, ...], lost_answers: int) -> None:
        for _, writers in every_race(there, lost_answers):
            for writer in writers:
                assert writer.deleted <= stages(writer.change.before or ()) - {writer.wanted}

    def test_the_error_names_the_tag_of_the_other(self, there: tuple[str, ...], lost_answers: int) -> None:
        failed = [writer for _, writers in every_race(there, lost_answers) for writer in writers if writer.error]
        assert failed
        for writer in failed:
            assert isinstance(writer.error, ConcurrentWriteError)
            assert not writer.error.is_permanent
            assert not writer.error.is_outcome_unknown
            assert writer.change.unsettled == []
            other = A if writer.wanted == B else B
            left = stages(writer.change.after or ())
            assert set(writer.error.names) == (left ^ {writer.wanted})
            assert (f"added {other!r}" in str(writer.error)) == (other in left)
            assert (f"removed {writer.wanted!r}" in str(writer.error)) == (writer.wanted not in left)

    def test_a_retry_settles_it(self, there: tuple[str, ...], lost_answers: int) -> None:
        for store, writers in every_race(there, lost_answers):
            again = TagStore(store.names)
            for writer in writers:
                if not writer.is_green:
                    play(set_stage(writer.wanted), again)
                    assert stages(again.names) == {writer.wanted}


class TestCost:
    def test_an_unchanged_set_costs_one_read(self) -> None:
        _, requests = converse(set_stage(A), page("gpu", A))
        assert [request.method for request in requests] == ["GET"]
        _, requests = converse(set_stage(A), page("gpu", next_page="x"), page(A))
        assert [request.method for request in requests] == ["GET", "GET"], "its pages"

    def test_a_changed_set_costs_one_read_more(self) -> None:
        _, requests = converse(
            set_stage(A), page("gpu", next_page="x"), page(OLD), answer(tag(A)), answer(tag(OLD)), page("gpu", A)
        )
        assert [request.method for request in requests] == ["GET", "GET", "POST", "DELETE", "GET"]

    def test_adding_and_removing_read_no_second_time(self) -> None:
        flow = converge_project_tags("p", policies.changing(add=A, remove=OLD))
        _, requests = converse(flow, page(OLD), answer(tag(A)), answer(tag(OLD)))
        assert [request.method for request in requests] == ["GET", "POST", "DELETE"]

    def test_an_unchanged_set_on_an_old_record_costs_one_read(self) -> None:
        change, _ = converse(set_stage(A), page(OLD), answer(tag(A)), answer(tag(OLD)), page(A))
        _, requests = converse(set_stage(A, change=change), page(A))
        assert [request.method for request in requests] == ["GET"]


class TestTheLastRead:
    def test_a_set_whose_writes_others_made_reads_again_too(self) -> None:
        """Nothing was written by this set, but what it had read is out of date."""
        with pytest.raises(ConcurrentWriteError, match=f"another writer added {B!r} at the same time") as caught:
            converse(set_stage(A), page(), refusal(409), page(A, B), page(A, B))
        assert caught.value.names == (B,)
        with pytest.raises(ConcurrentWriteError, match=f"added {B!r}"):
            converse(set_stage(A), page(A, OLD), refusal(404), page(A), page(A, B))

    def test_a_tag_outside_the_prefix_does_not_matter(self) -> None:
        change, _ = converse(set_stage(A), page(), answer(tag(A)), page(A, "gpu"))
        assert (names_of(change.added), change.after) == ([A], (A, "gpu"))

    def test_replacing_all_notices_every_tag(self) -> None:
        with pytest.raises(ConcurrentWriteError, match="another writer added 'gpu' at the same time"):
            converse(converge_project_tags("p", policies.setting(A)), page(), answer(tag(A)), page(A, "gpu"))

    def test_the_error_lists_what_was_written(self) -> None:
        with pytest.raises(ConcurrentWriteError) as caught:
            converse(set_stage(A), page(OLD), answer(tag(A)), answer(tag(OLD)), page(B))
        assert str(caught.value) == (
            f"Project 'p': could not set its tags: another writer added {B!r} and removed {A!r} at the same time. "
            f"Already added: {A!r}. Already removed: {OLD!r}. "
            "Try again; if it happens often, let one task at a time set these tags (a pool with one slot)."
        )

    @pytest.mark.parametrize(("answered", "kind"), [(refusal(403), PermissionDeniedError), (refusal(500), ServerError)])
    def test_a_last_read_that_fails_is_an_error(self, answered: Any, kind: type[PaperspaceError]) -> None:
        change = TagChange("p")
        with pytest.raises(kind, match=f"Already added: {A!r}"):
            converse(set_stage(A, change=change), page(), answer(tag(A)), answered)
        assert (names_of(change.added), change.unsettled) == ([A], [])
