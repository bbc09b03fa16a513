"""An exclusive lease: in every order of the requests of two runs, never do both hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from airflow_provider_paperspace.api._messages import Request
from airflow_provider_paperspace.api.errors import ConcurrentWriteError, PaperspaceError, ServerError
from airflow_provider_paperspace.api.models import TagChange
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.lease import TakeProjectTagLeaseOperator, take_exclusively
from tests.api.test_exclusive_sets import in_every_order
from tests.conversation import TagStore, lost
from tests.operators.task import Task, writes

A, B = "in-use/a-00000000", "in-use/b-11111111"


class Taker:
    """One run that takes the lease, a request at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.change = TagChange("p")
        self.error: PaperspaceError | None = None
        self._flow = take_exclusively([name], self.change)
        self.request: Request | None = next(self._flow)

    def step(self, store: TagStore, *, lose_answer: bool) -> None:
        """Let the store answer the next request; the answer may get lost on its way."""
        assert self.request is not None
        response = store(self.request)
        error: Any = lost()
        error.max_attempts = 3
        try:
            self.request = self._flow.throw(error) if lose_answer else self._flow.send(response)
        except StopIteration:
            self.request = None
        except PaperspaceError as raised:
            self.request, self.error = None, raised


def race(there: Iterable[str], choose: Callable[[int], int], *, lost_answers: int) -> tuple[TagStore, list[Taker]]:
    store, takers = TagStore(there), [Taker(A), Taker(B)]
    while running := [taker for taker in takers if taker.request is not None]:
        taker = running[choose(len(running))] if len(running) > 1 else running[0]
        assert taker.request is not None
        lose = bool(lost_answers and taker.request.method != "GET" and choose(2))
        lost_answers -= lose
        taker.step(store, lose_answer=lose)
    return store, takers


@pytest.mark.uncovered
@pytest.mark.parametrize(
    ("there", "lost_answers"), [((), 0), ((), 1), ((A,), 0), ((A,), 1), ((A, B), 1), (("gpu", "in-use"), 0)], ids=str
)
def test_two_runs_never_hold_the_lease_at_once(there: tuple[str, ...], lost_answers: int) -> None:
    ends: set[tuple[bool, bool]] = set()
    for store, takers in in_every_order(lambda choose: race(there, choose, lost_answers=lost_answers)):
        holders = [taker for taker in takers if taker.error is None]
        assert len(holders) < 2
        for taker in takers:
            added, removed = ([tag.name for tag in tags] for tags in (taker.change.added, taker.change.removed))
            if taker.error is None:
                assert taker.name in store.names
            else:
                assert isinstance(taker.error, ConcurrentWriteError)
                assert not taker.error.is_permanent
                assert taker.name not in store.names, "nothing of it is left, whatever an earlier try has left"
                assert added == []
            assert removed in ([], [taker.name])
            assert (taker.name in store.names) == ((taker.name in there or bool(added)) and not removed)
        ends.add((takers[0].error is None, takers[1].error is None))
    assert ends <= {(True, False), (False, True), (False, False)}
    if not {A, B} & set(there):
        assert ends == {(True, False), (False, True), (False, False)}


def test_a_retry_takes_the_lease_once_it_is_returned(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_tag("p1", {"name": "in-use/other-12345678"})
    message = "^Project 'p1': could not take the lease: another run holds it: 'in-use/other-12345678'"
    with pytest.raises(ConcurrentWriteError, match=message) as caught:
        take().run()
    assert "A retry takes it once it is returned" in str(caught.value)
    assert not writes(world), "the holder is seen before anything is written"
    world.paperspace.remove_tag("p1", {"name": "in-use/other-12345678"})
    (taken,) = take().run()
    assert taken["name"].startswith("in-use/dag-")
    assert len(world.requests) == 4, "a read, a read, a write, a read"


def test_two_killed_tries_do_not_block_each_other(world: LocalPaperspaceServer) -> None:
    (own,) = take().run()
    world.paperspace.add_tag("p1", {"name": "in-use/other-12345678"})
    task = take()
    with pytest.raises(ConcurrentWriteError, match="another run holds it: 'in-use/other-12345678'"):
        task.run()
    assert world.paperspace.tag_names("p1") == ["in-use/other-12345678"], "the other run can go on"
    assert task.pushed["change"]["removed"] == [own["name"]]


def test_a_taker_that_meets_another_steps_back_and_says_so(
    world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = race_with_another(world, monkeypatch)
    with pytest.raises(ConcurrentWriteError, match="another run holds it: 'in-use/other-12345678'"):
        task.run()
    assert world.paperspace.tag_names("p1") == ["in-use/other-12345678"]
    record = task.pushed["change"]
    assert (record["added"], record["removed"], record["unsettled"]) == ([], [], [])


def test_a_step_back_that_fails_is_in_the_record(world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    task = race_with_another(world, monkeypatch)
    world.fault("500", method="DELETE", times=0)
    with pytest.raises(ServerError, match="could not remove tag 'in-use/dag-"):
        task.run()
    own = next(name for name in world.paperspace.tag_names("p1") if name.startswith("in-use/dag-"))
    record = task.pushed["change"]
    assert record["added"] == [own], "an undo, or the next try, knows of it"


@pytest.mark.parametrize("where", [{"project_id": "p1"}, {"project_ids": ["p1", "p2"]}])
def test_a_lease_is_shared_unless_it_is_exclusive(world: LocalPaperspaceServer, where: dict[str, Any]) -> None:
    for project_id in ("p1", "p2"):
        world.paperspace.add_tag(project_id, {"name": "in-use/other-12345678"})
    assert take(exclusive=False, **where).run()


def test_many_projects_are_taken_or_named(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_tag("p2", {"name": "in-use/other-12345678"})
    with pytest.raises(Exception, match="1 of 2 projects failed") as caught:
        take(project_ids=["p1", "p2"]).run()
    assert "another run holds it: 'in-use/other-12345678'" in str(caught.value)
    assert len(world.paperspace.tag_names("p1")) == 1


@pytest.fixture
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": "p1"}, {"id": "p2"}]})
    return server


def take(**arguments: Any) -> Task:
    where = {} if "project_ids" in arguments else {"project_id": "p1"}
    return Task(
        TakeProjectTagLeaseOperator, **{"tags": "in-use", "lease_id": "l", "exclusive": True, **where, **arguments}
    )


def race_with_another(world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> Task:
    """Return a task whose write is followed at once by that of another run."""
    add_tag = world.paperspace.add_tag

    def add_and_race(project_id: str, body: Any) -> Any:
        added = add_tag(project_id, body)
        add_tag(project_id, {"name": "in-use/other-12345678"})
        return added

    monkeypatch.setattr(world.paperspace, "add_tag", add_and_race)
    return take()
