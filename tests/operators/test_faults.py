"""Tasks over many projects when requests fail: the change record is true, and a retry completes the work.

Every fault at every request of each operator that changes many projects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_paperspace.api.errors import PaperspaceError
from airflow_provider_paperspace.emulator.faults import KINDS
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from tests.operators.task import Task

pytestmark = pytest.mark.uncovered

WORLD: Final = {"projects": [{"id": id_, "tags": ["gpu", "stale:x", "stage:a"]} for id_ in ("p1", "p2")]}
BEFORE: Final = {"gpu", "stale:x", "stage:a"}
UNDONE: Final = [
    {"project_id": id_, "added": ["stage:a"], "removed": ["stage:z"], "dry_run": False} for id_ in ("p1", "p2")
]

TASKS: Final[dict[str, tuple[Callable[[], Task], set[str]]]] = {
    "add": (lambda: Task(AddProjectTagOperator, project_ids=["p1", "p2"], tags=["x", "gpu"]), BEFORE | {"x"}),
    "set": (
        lambda: Task(SetProjectTagsOperator, project_ids=["p1", "p2"], tags="stage:b", within="stage:"),
        BEFORE - {"stage:a"} | {"stage:b"},
    ),
    "clean up": (lambda: Task(CleanUpProjectTagsOperator, all_projects=True, names="stale:*"), BEFORE - {"stale:x"}),
    "undo": (lambda: Task(UndoProjectTagChangeOperator, change=UNDONE), BEFORE - {"stage:a"} | {"stage:z"}),
}
"""Each task, and the tags that a project has once the task is done."""


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("slow", "refused")])
def test_a_fault_leaves_a_true_record_and_a_retry_completes(
    kind: str, name: str, server: LocalPaperspaceServer, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    monkeypatch.setattr("airflow_provider_paperspace.api._rate_limit.MIN_RATE_PER_S", 1_000)
    make, after = TASKS[name]
    server.reset(seed=WORLD)
    make().run()
    for at in range(1, len(server.requests) + 1):
        server.reset(seed=WORLD)
        server.fault(kind, at=at, times=2)
        task = make()
        failed = _fails(task)
        for id_ in ("p1", "p2"):
            there = set(server.paperspace.tag_names(id_))
            assert there - BEFORE <= after, "a tag that nobody named was added"
            assert BEFORE - there <= BEFORE - after, "a tag that nobody named was removed"
            assert failed or there == after, "the task succeeded, but the tags are not as asked"
            record = task.pushed.get("change", {}).get(id_, {"added": [], "removed": []})
            assert set(record["added"]) <= there, "a recorded addition is there"
            assert not set(record["removed"]) & there, "a recorded removal is gone"
            assert there - BEFORE == set(record["added"]) or failed, "a success records every addition"
            assert BEFORE - there == set(record["removed"]) or failed, "a success records every removal"
        server.app.faults = []
        make().run()
        assert {frozenset(server.paperspace.tag_names(id_)) for id_ in ("p1", "p2")} == {frozenset(after)}


def _fails(task: Task) -> bool:
    try:
        task.run()
    except (AirflowException, PaperspaceError):
        return True
    return False
