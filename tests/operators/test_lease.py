"""The lease of a tag: whose it is, and that returning it removes nothing else."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskGroup
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.errors import ServerError
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.lease import (
    ProjectTagLease,
    ReturnProjectTagLeaseOperator,
    TakeProjectTagLeaseOperator,
    lease_names,
)
from airflow_provider_paperspace.operators.project_tags import ListProjectTagsOperator
from airflow_provider_paperspace.rules.patterns import Pattern
from tests.operators.task import Task, names

MIDNIGHT = "scheduled__2026-11-24T00:00:00+00:00"


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": id_, "tags": ["gpu", "in-use", "in-use:run"]} for id_ in ("p1", "p2")]})
    return server


class Holder:
    """The two tasks of a lease, in one run of one DAG."""

    def __init__(
        self,
        dag_id: str = "train",
        *,
        run_id: str = MIDNIGHT,
        lease_id: str = "lease",
        map_index: int = -1,
        **more: Any,
    ) -> None:
        self.identity = {"dag_id": dag_id, "run_id": run_id, "map_index": map_index}
        self.arguments = {
            "tags": "in-use",
            "lease_id": lease_id,
            **({} if "project_ids" in more else {"project_id": "p1"}),
        }
        self.arguments |= more

    def take(self, **identity: Any) -> Any:
        return self._run(TakeProjectTagLeaseOperator, identity)

    def give_back(self, **identity: Any) -> Any:
        return self._run(ReturnProjectTagLeaseOperator, identity)

    def _run(self, kind: type[Any], identity: dict[str, Any]) -> Any:
        task = Task(kind, **self.arguments)
        for name, value in {**self.identity, **identity}.items():
            setattr(task, name, value)
        return task.run()


def leases(world: LocalPaperspaceServer, project_id: str = "p1") -> list[str]:
    return [name for name in world.paperspace.tag_names(project_id) if "/" in name]


def test_a_lease_is_named_after_its_dag_and_a_hash(world: LocalPaperspaceServer) -> None:
    (name,) = names(Holder().take())
    assert re.fullmatch(r"in-use/train-[0-9a-f]{8}", name)
    assert leases(world) == [name]


@pytest.mark.parametrize(
    "other",
    [
        {"dag_id": "evaluate"},
        {"run_id": "scheduled__2026-11-25T00:00:00+00:00"},
        {"lease_id": "second"},
        {"map_index": 0},
    ],
)
def test_two_holders_return_each_their_own_lease(world: LocalPaperspaceServer, other: dict[str, Any]) -> None:
    first, second = Holder(), Holder(**other)
    (mine,), (theirs,) = names(first.take()), names(second.take())
    assert mine != theirs
    assert names(first.give_back()) == [mine]
    assert leases(world) == [theirs]
    assert names(second.give_back()) == [theirs]
    assert world.paperspace.tag_names("p1") == ["gpu", "in-use", "in-use:run"], "tags of people stay"


def test_mapped_holders_have_a_lease_each(world: LocalPaperspaceServer) -> None:
    holders = [Holder(map_index=index) for index in range(12)]
    taken = [names(holder.take())[0] for holder in holders]
    assert len(set(taken)) == 12
    for holder in holders[1:]:
        holder.give_back()
    assert leases(world) == [taken[0]], "1 is not found in 10 or 11"


def test_a_run_id_within_another_is_not_the_same(world: LocalPaperspaceServer) -> None:
    short, long = Holder(run_id="1"), Holder(run_id="v100")
    short.take()
    (name,) = names(long.take())
    short.give_back()
    assert leases(world) == [name]


def test_the_tag_of_a_person_is_never_returned(world: LocalPaperspaceServer) -> None:
    holder = Holder(tags="gpu")
    holder.take()
    world.paperspace.add_tag("p1", {"name": "gpu/somebody"})
    holder.give_back()
    assert world.paperspace.tag_names("p1") == ["gpu", "in-use", "in-use:run", "gpu/somebody"]


@pytest.mark.parametrize("fault", ["500", "lost-answer"])
def test_a_retried_take_and_return_keep_to_one_lease(world: LocalPaperspaceServer, fault: str) -> None:
    holder = Holder(tags=["in-use", "gpu"])
    world.fault(fault, method="POST", at=2, times=0)
    with suppress(ServerError):  # a lost answer is found by reading again
        holder.take()
    world.app.faults = []
    taken = names(holder.take(try_number=2))
    assert sorted(leases(world)) == sorted(taken)
    assert len(taken) == 2
    world.fault("500", method="DELETE", at=2, times=0)
    with pytest.raises(ServerError, match="Already removed"):
        holder.give_back()
    world.app.faults = []
    holder.give_back(try_number=2)
    assert leases(world) == []


def test_a_cleared_run_takes_and_returns_the_same_lease(world: LocalPaperspaceServer) -> None:
    first = Holder().take()
    Holder().give_back()
    assert names(Holder().take(try_number=5)) == names(first)
    Holder().give_back(try_number=5)
    assert leases(world) == []


def test_a_lease_of_a_killed_worker_is_returned(world: LocalPaperspaceServer) -> None:
    Holder().take()  # and nothing more of this worker; another one runs the teardown
    Holder().give_back()
    assert leases(world) == []
    assert Holder().give_back() == [], "returning twice is returning once"


def test_a_lease_that_outlived_its_run_is_one_pattern() -> None:
    (name,) = names(Holder().take())
    assert Pattern("in-use/*").matches(name)


def test_many_projects_are_leased_and_returned(world: LocalPaperspaceServer) -> None:
    holder = Holder(project_ids=["p1", "p2"])
    taken = holder.take()
    assert names(taken["p1"]) == names(taken["p2"]) == leases(world, "p2")
    world.paperspace.add_tag("p2", {"name": "in-use/other"})
    assert {id_: names(tags) for id_, tags in holder.give_back().items()} == {id_: names(t) for id_, t in taken.items()}
    assert (leases(world, "p1"), leases(world, "p2")) == ([], ["in-use/other"])


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6) | st.sampled_from(["a", "a\nb", "b\nc", "'", "1"])
IDENTITIES = st.tuples(TEXTS, TEXTS, TEXTS, st.integers(-1, 20))


def named(identity: tuple[str, str, str, int], try_number: int = 1) -> list[str]:
    task = Task(ListProjectTagsOperator, project_id="p1")
    task.dag_id, task.run_id, lease_id, task.map_index = identity
    task.try_number = try_number
    return lease_names("in-use", lease_id, task.context)


@given(first=IDENTITIES, second=IDENTITIES, try_number=st.integers(1, 9))
def test_a_lease_has_one_name_for_each_holder(
    first: tuple[str, str, str, int], second: tuple[str, str, str, int], try_number: int
) -> None:
    assert named(first) == named(first, try_number)
    assert (named(first) == named(second)) is (first == second)


@given(parts=st.lists(st.sampled_from(["a", "b", "\n", "', '", ","]), min_size=4, max_size=8), cut=st.data())
def test_no_id_spills_over_into_the_next(parts: list[str], cut: st.DataObject) -> None:
    text = "".join(parts)
    places = st.integers(1, len(text) - 2)
    first, second = cut.draw(places), cut.draw(places)
    identities = [("dag", text[:at], text[at:], -1) for at in (first, second)]
    assert (named(identities[0]) == named(identities[1])) is (first == second)


@pytest.mark.parametrize("kind", [TakeProjectTagLeaseOperator, ReturnProjectTagLeaseOperator])
def test_a_lease_without_a_tag_is_refused(world: LocalPaperspaceServer, kind: type[Any]) -> None:
    with pytest.raises(ValueError, match="Task 'task': tags is empty"):
        Task(kind, lease_id="lease", project_id="p1", tags=[])
    task = Task(kind, lease_id="lease", project_id="p1", tags="{{ x }}")
    task.operator.tags = []
    with pytest.raises(AirflowFailException, match="Task 'task': tags is empty"):
        task.run()
    assert not world.requests


def test_a_lease_encloses_the_tasks_of_its_block() -> None:
    with DAG("leased", schedule=None) as dag:
        with ProjectTagLease(task_id="gpu", project_id="p1", tags="in-use", retries=3):
            ListProjectTagsOperator(task_id="work", project_id="p1")
    assert {id_: task.downstream_task_ids for id_, task in dag.task_dict.items()} == {
        "gpu_take": {"work", "gpu_return"},
        "work": {"gpu_return"},
        "gpu_return": set(),
    }
    assert [id_ for id_, task in dag.task_dict.items() if task.is_setup] == ["gpu_take"]
    assert [id_ for id_, task in dag.task_dict.items() if task.is_teardown] == ["gpu_return"]
    assert {task.retries for id_, task in dag.task_dict.items() if id_ != "work"} == {3}


def test_a_task_in_front_of_a_lease_precedes_the_setup() -> None:
    with DAG("leased", schedule=None):
        before = ListProjectTagsOperator(task_id="before", project_id="p1")
        with ProjectTagLease(task_id="gpu", project_id="p1", tags="in-use") as lease:
            ListProjectTagsOperator(task_id="work", project_id="p1")
        before >> lease.take
    assert before.downstream_task_ids == {"gpu_take"}


def test_leases_in_two_task_groups_have_names_of_their_own() -> None:
    with DAG("d", schedule=None) as dag:
        for group_id in ("first", "second"):
            with TaskGroup(group_id):
                ProjectTagLease(task_id="lease", project_ids=["p1"], tags="in-use")
    assert [(id_, task.lease_id) for id_, task in dag.task_dict.items()] == [
        ("first.lease_take", "first.lease"),
        ("first.lease_return", "first.lease"),
        ("second.lease_take", "second.lease"),
        ("second.lease_return", "second.lease"),
    ]


def test_two_leases_in_one_dag_have_names_of_their_own() -> None:
    with DAG("leased", schedule=None) as dag:
        for lease_id in ("first", "second"):
            ProjectTagLease(task_id=lease_id, project_ids=["p1"], tags="in-use")
    assert [(id_, task.lease_id) for id_, task in dag.task_dict.items()] == [
        ("first_take", "first"),
        ("first_return", "first"),
        ("second_take", "second"),
        ("second_return", "second"),
    ]
