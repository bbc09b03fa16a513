"""What a task with outlets announces: which assets get an event, and with what in it."""

from __future__ import annotations

import json
from typing import Any

import airflow
import pytest
from airflow.providers.common.compat.sdk import AirflowException, Asset, AssetAlias

from airflow_provider_paperspace.assets import project_asset
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.lease import ReturnProjectTagLeaseOperator, TakeProjectTagLeaseOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from tests.operators.task import Task

try:
    from airflow.sdk.execution_time.context import OutletEventAccessors
except ImportError:
    from airflow.utils.context import OutletEventAccessors  # type: ignore[no-redef,attr-defined]

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")
ALIAS, BOARD = AssetAlias("changed"), Asset("board")


@pytest.fixture
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    server.reset(seed={"projects": [{"id": "p1", "tags": ["gpu"]}, {"id": "p2", "tags": ["gpu", "new"]}]})
    return server


def task(kind: type[Any], *outlets: Any, **arguments: Any) -> Task:
    """Return a task with outlets, which runs in a context as Airflow makes it."""
    made = Task(kind, outlets=list(outlets), **arguments)
    made.context |= {"task": made.operator, "outlet_events": OutletEventAccessors()}
    return made


def announced(task: Task) -> dict[str, Any]:
    """Return what Airflow would emit if the task succeeded: the extra of each event, by URI of its asset."""
    events = task.context["outlet_events"]
    emitted = {}
    for outlet in task.operator.outlets:
        if isinstance(outlet, AssetAlias):
            for event in events[outlet].dataset_alias_events if ON_AIRFLOW_2 else events[outlet].asset_alias_events:
                uri = event["dest_dataset_uri"] if ON_AIRFLOW_2 else event.dest_asset_key.uri
                extra = event["extra"] if ON_AIRFLOW_2 else event.extra
                if ON_AIRFLOW_2:
                    hash(frozenset(extra.items()))
                emitted[uri] = extra
        else:
            emitted[outlet.uri] = events[outlet].extra
    plain: dict[str, Any] = json.loads(json.dumps(emitted))
    return plain


WRITERS: list[tuple[type[Any], dict[str, Any]]] = [
    (AddProjectTagOperator, {"project_id": "p1", "tags": "new"}),
    (RemoveProjectTagOperator, {"project_id": "p1", "tags": "gpu"}),
    (SetProjectTagsOperator, {"project_id": "p1", "tags": "stage:a", "within": "stage:"}),
    (UndoProjectTagChangeOperator, {"change": {"project_id": "p1", "added": ["gpu"], "removed": []}}),
    (CleanUpProjectTagsOperator, {"project_ids": ["p1"], "names": "gpu"}),
    (TakeProjectTagLeaseOperator, {"project_id": "p1", "tags": "in-use", "lease_id": "lease"}),
]


@pytest.mark.parametrize(("kind", "arguments"), WRITERS)
def test_every_writer_announces_its_change_and_no_repetition(
    kind: type[Any], arguments: dict[str, Any], world: LocalPaperspaceServer
) -> None:
    first = task(kind, project_asset("p1"), **arguments)
    first.run()
    change = first.pushed["change"]
    record = change if "project_id" in change else change["p1"]
    assert record["added"] or record["removed"]
    assert announced(first) == {"paperspace://projects/p1": record}

    through_alias = task(kind, ALIAS, **arguments)
    world.reset(seed={"projects": [{"id": "p1", "tags": ["gpu"]}]})
    through_alias.run()
    assert set(announced(through_alias)) == {"paperspace://projects/p1"}
    assert announced(through_alias)["paperspace://projects/p1"]["added"] == record["added"]

    again = task(kind, project_asset("p1"), ALIAS, **arguments)
    again.run()
    assert announced(again) == {}


def test_a_returned_lease_is_announced(world: LocalPaperspaceServer) -> None:
    lease = {"project_id": "p1", "tags": "in-use", "lease_id": "lease"}
    Task(TakeProjectTagLeaseOperator, **lease).run()
    returning = task(ReturnProjectTagLeaseOperator, ALIAS, **lease)
    returning.run()
    (record,) = announced(returning).values()
    assert len(record["removed"]) == 1


def test_an_alias_announces_the_changed_ones_of_many_projects(world: LocalPaperspaceServer) -> None:
    adding = task(AddProjectTagOperator, ALIAS, project_ids=["p1", "p2"], tags="new")
    adding.run()
    assert announced(adding) == {"paperspace://projects/p1": adding.pushed["change"]["p1"]}


@pytest.mark.parametrize("tags", ["new", "gpu"])
def test_an_asset_of_another_kind_gets_what_xcom_gets(world: LocalPaperspaceServer, tags: str) -> None:
    for arguments in ({"project_id": "p1"}, {"project_ids": ["p1", "p2"]}):
        adding = task(AddProjectTagOperator, BOARD, tags=tags, **arguments)
        adding.run()
        assert announced(adding) == {"board": adding.pushed["change"]}


def test_an_undo_takes_what_was_announced(world: LocalPaperspaceServer) -> None:
    setting = task(SetProjectTagsOperator, BOARD, ALIAS, project_id="p1", tags=["new"], replace_all=True)
    for uri in ("board", "paperspace://projects/p1"):
        setting.run()
        Task(UndoProjectTagChangeOperator, change=announced(setting)[uri]).run()
        assert world.paperspace.tag_names("p1") == ["gpu"]


def test_the_asset_of_a_project_that_the_task_left_alone_gets_no_event(world: LocalPaperspaceServer) -> None:
    adding = task(AddProjectTagOperator, project_asset("p2"), project_asset("p1"), project_id="p1", tags="new")
    adding.run()
    assert set(announced(adding)) == {"paperspace://projects/p1"}


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (SetProjectTagsOperator, {"project_id": "p1", "tags": "stage:b", "within": "stage:"}),
        (CleanUpProjectTagsOperator, {"project_ids": ["p1"], "names": "gpu"}),
    ],
)
@pytest.mark.parametrize("try_number", [1, 2])
def test_a_dry_run_announces_nothing(
    kind: type[Any], arguments: dict[str, Any], try_number: int, world: LocalPaperspaceServer
) -> None:
    planning = task(kind, project_asset("p1"), ALIAS, dry_run=True, **arguments)
    planning.try_number = try_number
    planning.run()
    assert announced(planning) == {}


def test_a_task_that_fails_announces_nothing_and_its_retry_all(world: LocalPaperspaceServer) -> None:
    world.fault("500", path="/p2/", times=2)
    store: dict[str, Any] = {}
    adding = task(AddProjectTagOperator, ALIAS, project_ids=["p1", "p2"], tags="x").with_store(store)
    with pytest.raises(AirflowException):
        adding.run()
    assert announced(adding) == {}
    retried = task(AddProjectTagOperator, ALIAS, project_ids=["p1", "p2"], tags="x").with_store(store, try_number=2)
    retried.run()
    assert {uri: extra["added"] for uri, extra in announced(retried).items()} == {
        "paperspace://projects/p1": ["x"],
        "paperspace://projects/p2": ["x"],
    }


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (AddProjectTagOperator, {"tags": "gpu"}),
        (CleanUpProjectTagsOperator, {"names": "removed-by-the-first-try"}),
        (CleanUpProjectTagsOperator, {"names": "new"}),
    ],
)
def test_a_retry_without_memory_announces_what_may_have_changed(
    kind: type[Any], arguments: dict[str, Any], world: LocalPaperspaceServer
) -> None:
    """Before Airflow 3.3, nobody knows what the try before has written."""
    retried = task(kind, ALIAS, project_ids=["p1", "p2"], **arguments)
    retried.try_number = 2
    retried.run()
    records = announced(retried)
    assert {uri.rpartition("/")[2] for uri in records} == {"p1", "p2"}
    assert not any(record["complete"] for record in records.values())
    assert {id_: sorted(record["after"]) for id_, record in retried.pushed["change"].items()} == {
        id_: sorted(world.paperspace.tag_names(id_)) for id_ in ("p1", "p2")
    }


def test_a_task_without_outlets_needs_no_events(world: LocalPaperspaceServer) -> None:
    adding = Task(AddProjectTagOperator, project_id="p1", tags="new")
    adding.run()
    assert "outlet_events" not in adding.context
