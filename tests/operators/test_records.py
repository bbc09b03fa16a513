"""The change record of a task: how it grows, when it is pushed, and what is kept for the next try."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowNotFoundException

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api._messages import Request, Response
from airflow_provider_paperspace.api.errors import ApiError, InvalidArgumentError, PaperspaceError, ServerError
from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.api.project_tags import converge_project_tags
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators._records import ChangeLog
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from tests.conversation import TagStore, play
from tests.operators.task import Store, Task

NOT_FOUND = ApiError.of(404, b"")
SERVER_ERROR = ApiError.of(500, b"")


class Interruption(BaseException):
    """Airflow interrupts a task with such an exception, out of a signal handler."""


class Instance(SimpleNamespace):
    """A task instance that records what is pushed."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"try_number": 1, "max_tries": 2, **more}, pushed=[])

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed.append((key, value))


class CountingStore(Store):
    def __init__(self, contents: dict[str, Any]) -> None:
        super().__init__(contents)
        self.calls: list[str] = []

    def get(self, key: str) -> Any:
        self.calls.append("get")
        return super().get(key)

    def set(self, key: str, value: Any) -> None:
        self.calls.append("set")
        super().set(key, value)

    def delete(self, key: str) -> None:
        self.calls.append("delete")
        super().delete(key)


def write(changes: ChangeLog, project_id: str = "p1", *, add: str = "", remove: str = "") -> None:
    """Record a change as the flow of a write does."""
    change = changes.start(project_id)
    change.before = change.after = ("gpu",)
    change.added += [Tag(1, add, "")] if add else []
    change.removed += [Tag(2, remove, "")] if remove else []


def log_change(instance: Instance, store: Store | None, error: BaseException | None, **written: str) -> None:
    """Run the block of a task that writes, and fails with an error if there is one."""
    context: Any = {"ti": instance, **({} if store is None else {"task_state_store": store})}
    try:
        with ChangeLog(context, single=True) as changes:
            write(changes, **written)
            if error is not None:
                raise error
    except BaseException as raised:
        if raised is not error:
            raise


def test_a_record_grows_with_each_answered_write() -> None:
    changes = ChangeLog({}, single=True)
    service = TagStore(["gpu", "stage:a"])
    seen: list[tuple[list[str], list[str]]] = []

    def answer_and_look(request: Request) -> Response:
        record = changes.records().get("p1")
        seen.append((record["added"], record["removed"]) if record else ([], []))
        return service(request)

    assert changes.records() == {}
    policy = policies.changing(add=["x", "y"], remove=["gpu"])
    play(converge_project_tags("p1", policy, changes.start("p1")), answer_and_look)
    assert seen == [([], []), ([], []), (["x"], []), (["x", "y"], [])]
    record = changes.record("p1")
    assert (record["added"], record["removed"]) == (["x", "y"], ["gpu"])
    assert (record["before"], record["after"]) == (["gpu", "stage:a"], ["stage:a", "x", "y"])


@pytest.mark.parametrize(
    "error", [None, SERVER_ERROR, NOT_FOUND, AirflowFailException(), ZeroDivisionError(), Interruption(), SystemExit()]
)
def test_a_record_is_pushed_however_the_task_ends(error: BaseException | None) -> None:
    instance = Instance()
    log_change(instance, None, error, add="x")
    assert [(key, value["added"]) for key, value in instance.pushed] == [("change", ["x"])]


def test_a_project_that_was_not_read_has_no_record() -> None:
    instance = Instance()
    context: Any = {"ti": instance}
    with ChangeLog(context, single=False) as changes:
        changes.start("p1")
        write(changes, "p2")
    assert [list(value) for _, value in instance.pushed] == [["p2"]]


def test_a_task_without_an_instance_pushes_nothing() -> None:
    with ChangeLog({}, single=True) as changes:
        write(changes, add="x")
    assert changes.record("p1")["added"] == ["x"]


@pytest.mark.parametrize(
    ("try_number", "calls"),
    [
        (1, ["set", "delete"]),
        (2, ["get", "set", "delete"]),
        (3, ["get"]),
    ],
)
def test_the_store_is_open_only_while_a_try_may_follow(try_number: int, calls: list[str]) -> None:
    store = CountingStore({})
    log_change(Instance(try_number=try_number), store, None, add="x")
    assert store.calls == calls


def test_a_task_without_retries_does_not_touch_the_store() -> None:
    store = CountingStore({})
    log_change(Instance(max_tries=0), store, SERVER_ERROR, add="x")
    assert store.calls == []


class FrozenDict(dict[str, Any]):
    def __setitem__(self, key: str, value: Any) -> None:
        raise AssertionError(f"{key} was stored")


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (SetProjectTagsOperator, {"project_id": "p1", "tags": "stage:b", "within": "stage:"}),
        (SetProjectTagsOperator, {"project_ids": ["p1", "p2"], "tags": "stage:b", "within": "stage:"}),
        (CleanUpProjectTagsOperator, {"all_projects": True, "names": "gpu"}),
    ],
)
def test_a_dry_run_does_not_touch_the_store(
    kind: type[Any], arguments: dict[str, Any], world: LocalPaperspaceServer
) -> None:
    Task(kind, **arguments, dry_run=True).with_store(FrozenDict()).run()
    with pytest.raises(AssertionError, match="was stored"):
        Task(kind, **arguments).with_store(FrozenDict()).run()


@pytest.mark.parametrize(
    ("error", "try_number", "is_stored"),
    [
        (SERVER_ERROR, 1, True),
        (SERVER_ERROR, 2, True),
        (AirflowException(), 1, True),
        (ZeroDivisionError(), 1, True),
        (Interruption(), 1, True),
        (SystemExit(), 1, True),
        (None, 1, False),
        (SERVER_ERROR, 3, False),
        (Interruption(), 3, False),
        (NOT_FOUND, 1, False),
        (InvalidArgumentError("bad"), 1, False),
        (AirflowFailException(), 1, False),
        (AirflowNotFoundException(), 1, False),
    ],
)
def test_the_store_is_written_if_another_try_follows(
    error: BaseException | None, try_number: int, is_stored: bool
) -> None:
    contents: dict[str, Any] = {}
    log_change(Instance(try_number=try_number), Store(contents), error, add="x")
    assert bool(contents) is is_stored
    if is_stored:
        entry = Store(contents).get("paperspace_change")
        assert (entry["open"], entry["records"]["p1"]["added"]) == (False, ["x"])


@pytest.mark.parametrize(("error", "try_number"), [(None, 2), (NOT_FOUND, 2), (AirflowFailException(), 2), (None, 3)])
def test_the_store_is_emptied_if_no_try_follows(error: BaseException | None, try_number: int) -> None:
    contents: dict[str, Any] = {}
    log_change(Instance(), Store(contents), SERVER_ERROR, add="x")
    assert contents
    log_change(Instance(try_number=try_number), Store(contents), error)
    assert not contents


def test_tries_that_cancel_out_leave_no_record_in_the_store() -> None:
    contents: dict[str, Any] = {}
    log_change(Instance(), Store(contents), SERVER_ERROR, add="x")
    log_change(Instance(try_number=2), Store(contents), SERVER_ERROR, remove="x")
    assert Store(contents).get("paperspace_change")["records"] == {}


def test_a_try_that_was_killed_makes_the_record_incomplete() -> None:
    contents: dict[str, Any] = {}
    ChangeLog({"ti": Instance(), "task_state_store": Store(contents)}, single=True).__enter__()  # type: ignore[typeddict-item]
    second, third = Instance(try_number=2), Instance(try_number=3)
    log_change(second, Store(contents), SERVER_ERROR, add="x")
    log_change(third, Store(contents), None, add="y")
    assert [(value["added"], value["complete"]) for _, value in second.pushed] == [(["x"], False)]
    assert [(value["added"], value["complete"]) for _, value in third.pushed] == [(["x", "y"], False)]
    assert not contents


def test_a_killed_try_makes_unread_projects_incomplete_too() -> None:
    contents: dict[str, Any] = {}
    ChangeLog({"ti": Instance(), "task_state_store": Store(contents)}, single=False).__enter__()  # type: ignore[typeddict-item]
    instance = Instance(try_number=2)
    context: Any = {"ti": instance, "task_state_store": Store(contents)}
    with ChangeLog(context, single=False) as changes:
        changes.start("p1")
        write(changes, "p2", add="x")
    ((_, records),) = instance.pushed
    assert {id_: (record["added"], record["complete"]) for id_, record in records.items()} == {
        "p1": ([], False),
        "p2": (["x"], False),
    }


@pytest.mark.parametrize(("try_number", "complete"), [(1, True), (2, False), (3, False)])
def test_without_a_store_a_retried_task_is_incomplete(try_number: int, complete: bool) -> None:
    instance = Instance(try_number=try_number)
    log_change(instance, None, SERVER_ERROR, add="x")
    assert [value["complete"] for _, value in instance.pushed] == [complete]


def test_a_task_that_was_killed_and_cleared_starts_anew() -> None:
    contents: dict[str, Any] = {}
    log_change(Instance(), Store(contents), SERVER_ERROR, add="x")
    cleared = Instance(try_number=3, max_tries=4)  # clearing raises max_tries; the try before left no trace
    log_change(cleared, Store(contents), None, add="y")
    assert [(value["added"], value["complete"]) for _, value in cleared.pushed] == [(["y"], False)]
    assert not contents


def test_a_store_that_fails_does_not_hide_the_error(caplog: pytest.LogCaptureFixture) -> None:
    class FailingStore(Store):
        def set(self, key: str, value: Any) -> None:
            if not value["open"]:
                raise OSError("no database")
            super().set(key, value)

        def delete(self, key: str) -> None:
            raise OSError("no database")

    log_change(Instance(), FailingStore({}), SERVER_ERROR, add="x")
    assert "The change record of this task could not be saved" in caplog.text
    contents: dict[str, Any] = {}
    log_change(Instance(), Store(contents), SERVER_ERROR, add="x")
    with pytest.raises(OSError, match="no database"):
        log_change(Instance(try_number=2), FailingStore(contents), None)


def test_a_name_that_moved_to_another_project_leaves_two_records() -> None:
    contents: dict[str, Any] = {}
    instances = [Instance(), Instance(try_number=2)]
    for instance, project_id, error in zip(instances, ["p1", "p2"], [SERVER_ERROR, None], strict=True):
        context: Any = {"ti": instance, "task_state_store": Store(contents)}
        try:
            with ChangeLog(context, single=True) as changes:
                write(changes, project_id, add="x")
                if error is not None:
                    raise error
        except PaperspaceError:
            continue
    assert instances[0].pushed[-1][1]["project_id"] == "p1"
    assert list(instances[1].pushed[-1][1]) == ["p1", "p2"]


@pytest.fixture
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": "p1", "tags": ["gpu", "stage:a"]}, {"id": "p2", "tags": ["gpu"]}]})
    return server


def test_a_record_covers_earlier_tries(world: LocalPaperspaceServer) -> None:
    store: dict[str, Any] = {}
    arguments: dict[str, Any] = {"project_id": "p1", "tags": ["x", "y"], "replace_all": True}
    world.fault("500", method="DELETE", at=2, times=2)
    with pytest.raises(ServerError, match="Already added: 'x', 'y'"):
        Task(SetProjectTagsOperator, **arguments).with_store(store).run()
    assert store
    second = Task(SetProjectTagsOperator, **arguments).with_store(store, try_number=2)
    record = second.run()
    assert (record["added"], sorted(record["removed"])) == (["x", "y"], ["gpu", "stage:a"])
    assert record["before"] == ["stage:a", "gpu"]
    assert not store, "nothing is left behind"
    Task(UndoProjectTagChangeOperator, change=second.pushed["change"]).run()
    assert sorted(world.paperspace.tag_names("p1")) == ["gpu", "stage:a"]


def test_tries_that_revert_each_other_change_nothing(world: LocalPaperspaceServer) -> None:
    store: dict[str, Any] = {}
    world.fault("500", method="DELETE", at=1, times=2)
    with pytest.raises(ServerError):
        Task(SetProjectTagsOperator, project_id="p1", tags="stage:b", within="stage:").with_store(store).run()
    other = Task(SetProjectTagsOperator, project_id="p1", tags="stage:a", within="stage:")
    record = other.with_store(store, try_number=2).run()
    assert (record["added"], record["removed"]) == ([], [])


def test_records_of_many_projects_cover_earlier_tries(world: LocalPaperspaceServer) -> None:
    store: dict[str, Any] = {}
    world.fault("500", path="/p2/", times=2)
    with pytest.raises(AirflowException, match="1 of 2 projects failed"):
        Task(AddProjectTagOperator, project_ids=["p1", "p2"], tags="x").with_store(store).run()
    second = Task(AddProjectTagOperator, project_ids=["p1", "p2"], tags="x").with_store(store, try_number=2)
    second.run()
    assert {id_: record["added"] for id_, record in second.pushed["change"].items()} == {"p1": ["x"], "p2": ["x"]}


def test_a_cleared_task_forgets_its_last_try(world: LocalPaperspaceServer) -> None:
    store: dict[str, Any] = {}
    arguments: dict[str, Any] = {"project_id": "p1", "tags": ["x", "y"]}
    world.fault("500", method="POST", at=2, times=2)
    last_try = Task(AddProjectTagOperator, **arguments).with_store(store, try_number=Task.max_tries + 1)
    with pytest.raises(ServerError):
        last_try.run()
    assert last_try.pushed["change"]["added"] == ["x"]
    Task(UndoProjectTagChangeOperator, change=last_try.pushed["change"]).run()
    world.paperspace.add_tag("p1", {"name": "x"})  # another writer's now
    cleared = Task(AddProjectTagOperator, **arguments).with_store(store, try_number=Task.max_tries + 2)
    cleared.run()
    assert cleared.pushed["change"]["added"] == ["y"]


def test_an_exit_by_a_lost_answer_leaves_the_write_unsettled(world: LocalPaperspaceServer) -> None:
    world.fault("lost-answer", method="POST", times=1)
    world.fault("500", method="GET", at=2, times=0)  # the read that would settle it
    task = Task(AddProjectTagOperator, project_id="p1", tags=["x", "y"])
    with pytest.raises(PaperspaceError, match="Unknown whether the attempt"):
        task.run()
    record = task.pushed["change"]
    assert (record["added"], record["unsettled"]) == ([], ["x"])


def test_a_later_try_that_adds_an_unsettled_tag_settles_it(world: LocalPaperspaceServer) -> None:
    store: dict[str, Any] = {}
    world.fault("reset", method="POST", times=1)
    world.fault("500", method="GET", at=2, times=0)
    with pytest.raises(PaperspaceError):
        Task(AddProjectTagOperator, project_id="p1", tags=["x"]).with_store(store).run()
    world.app.faults = []
    second = Task(AddProjectTagOperator, project_id="p1", tags=["x"]).with_store(store, try_number=2)
    second.run()
    assert (second.pushed["change"]["added"], second.pushed["change"]["unsettled"]) == (["x"], [])


def test_an_earlier_unsettled_write_stays_unsettled(world: LocalPaperspaceServer) -> None:
    store: dict[str, Any] = {}
    world.fault("lost-answer", method="POST", times=1)
    world.fault("500", method="GET", at=2, times=0)
    with pytest.raises(PaperspaceError):
        Task(AddProjectTagOperator, project_id="p1", tags=["x"]).with_store(store).run()
    world.app.faults = []
    second = Task(AddProjectTagOperator, project_id="p1", tags=["x"]).with_store(store, try_number=2)
    second.run()
    assert (second.pushed["change"]["added"], second.pushed["change"]["unsettled"]) == ([], ["x"])


@pytest.mark.parametrize("where", [{"project_id": "p1"}, {"project_ids": ["p1"]}])
def test_a_last_try_that_reads_nothing_tells_of_earlier_ones(
    world: LocalPaperspaceServer, where: dict[str, Any]
) -> None:
    store: dict[str, Any] = {}
    world.fault("500", method="POST", at=2, times=2)
    with pytest.raises((AirflowException, ServerError)):
        Task(AddProjectTagOperator, tags=["x", "y"], **where).with_store(store).run()
    world.app.faults = []
    world.fault("500", times=0)
    last = Task(AddProjectTagOperator, tags=["x", "y"], **where).with_store(store, try_number=3)
    with pytest.raises((AirflowException, ServerError)):
        last.run()
    assert not store
    world.app.faults = []
    Task(UndoProjectTagChangeOperator, change=last.pushed["change"]).run()
    assert sorted(world.paperspace.tag_names("p1")) == ["gpu", "stage:a"]
