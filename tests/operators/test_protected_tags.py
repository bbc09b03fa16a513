"""Protected tags of a connection: every operation that writes, for one project and for many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import ProtectedTagError
from airflow_provider_paperspace.api.project_tags import converge_project_tags
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook
from airflow_provider_paperspace.notifications.project_tags import ProjectTagNotifier
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.lease import (
    ReturnProjectTagLeaseOperator,
    TakeProjectTagLeaseOperator,
    lease_names,
)
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from tests.conftest import REPOSITORY
from tests.operators.task import Task, writes

PROTECTED = "prod, s:live, in-use/*, demo@2026-12-01"
TAGS = ["prod", "s:live", "s:a", "old", "demo@2026-12-01"]
BOTH = [{"project_id": "p1"}, {"project_ids": ["p1", "p2"]}]
ONE_OR_MANY = pytest.mark.parametrize("where", BOTH, ids=["one", "many"])


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json(protected_tags=PROTECTED))
    server.reset(seed={"projects": [{"id": id_, "name": id_, "tags": TAGS} for id_ in ("p1", "p2")]})
    return server


def protect(monkeypatch: pytest.MonkeyPatch, server: LocalPaperspaceServer, value: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_json(protected_tags=value))


def ids_of(where: dict[str, Any]) -> list[str]:
    return where.get("project_ids", ["p1"])


def record(project_id: str, **change: list[str]) -> dict[str, Any]:
    return {"project_id": project_id, "added": [], "removed": [], **change}


def undo(where: dict[str, Any]) -> Task:
    """Return the undo of tasks that added a protected tag and removed another tag."""
    return Task(
        UndoProjectTagChangeOperator, change=[record(id_, added=["prod"], removed=["gone"]) for id_ in ids_of(where)]
    )


@ONE_OR_MANY
@pytest.mark.parametrize(
    ("task", "tag"),
    [
        (lambda where: Task(RemoveProjectTagOperator, tags=["old", "prod"], **where), "prod"),
        (lambda where: Task(RemoveProjectTagOperator, tags="prod", missing_ok=False, **where), "prod"),
        (lambda where: Task(SetProjectTagsOperator, tags="s:b", within="s:", **where), "s:live"),
        (lambda where: Task(SetProjectTagsOperator, tags="s:b", within="s:", dry_run=True, **where), "s:live"),
        (lambda where: Task(SetProjectTagsOperator, tags=["s:live", "new"], replace_all=True, **where), "prod"),
        (undo, "prod"),
        (
            lambda where: Task(AddProjectTagOperator, tags="demo", expires_on="2026-12-08", renew=True, **where),
            "demo@2026-12-01",
        ),
    ],
    ids=["remove", "remove strictly", "set", "set dry run", "replace all", "undo", "renew"],
)
def test_a_task_is_refused_before_its_first_write(
    world: LocalPaperspaceServer, where: dict[str, Any], task: Callable[[dict[str, Any]], Task], tag: str
) -> None:
    with pytest.raises(AirflowFailException, match=f"'{tag}' is protected by connection 'paperspace_default' \\('"):
        task(where).run()
    assert not writes(world)


def test_the_error_is_the_one_on_the_page(world: LocalPaperspaceServer) -> None:
    world.paperspace.add_project("prmximcci", tags=[{"name": "prod"}])
    with pytest.raises(AirflowFailException) as caught:
        Task(RemoveProjectTagOperator, tags="prod", project_id="prmximcci").run()
    assert f"```text\n{caught.value}\n```" in (REPOSITORY / "docs/how-to/protect-tags.md").read_text()


@ONE_OR_MANY
@pytest.mark.parametrize("exclusive", [False, True])
def test_a_lease_with_a_protected_name_is_taken_and_not_returned(
    world: LocalPaperspaceServer, where: dict[str, Any], exclusive: bool
) -> None:
    arguments = {"tags": "in-use", "lease_id": "lease", **where}
    take = Task(TakeProjectTagLeaseOperator, exclusive=exclusive, **arguments)
    take.run()
    (name,) = lease_names("in-use", "lease", take.context)
    count = len(writes(world))
    with pytest.raises(AirflowFailException, match=f"'{name}' is protected by connection 'paperspace_default'"):
        Task(ReturnProjectTagLeaseOperator, **arguments).run()
    assert len(writes(world)) == count == len(ids_of(where))


@ONE_OR_MANY
def test_a_protected_tag_may_be_added(
    world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, where: dict[str, Any]
) -> None:
    protect(monkeypatch, world, "release:*")
    Task(AddProjectTagOperator, tags="release:1", **where).run()
    Task(SetProjectTagsOperator, tags="release:1", within="release:", **where).run()
    undone = [record(id_, removed=["release:2"]) for id_ in ids_of(where)]
    Task(UndoProjectTagChangeOperator, change=undone).run()
    for id_ in ids_of(where):
        assert world.paperspace.tag_names(id_) == [*TAGS, "release:1", "release:2"]


@ONE_OR_MANY
def test_a_protected_tag_that_is_missing_needs_no_refusal(world: LocalPaperspaceServer, where: dict[str, Any]) -> None:
    world.paperspace.remove_tag("p1", {"name": "prod"})
    world.paperspace.remove_tag("p2", {"name": "prod"})
    Task(RemoveProjectTagOperator, tags=["prod", "old"], **where).run()
    assert "old" not in world.paperspace.tag_names("p1")


@ONE_OR_MANY
@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asynchronous"])
def test_a_notifier_is_refused_before_its_first_write(
    world: LocalPaperspaceServer, caplog: pytest.LogCaptureFixture, where: dict[str, Any], is_async: bool
) -> None:
    notifier = ProjectTagNotifier(**where, add="failed", remove=["old", "prod"])
    context: Any = {}
    if is_async:
        asyncio.run(notifier.async_notify(context))
    else:
        notifier.notify(context)
    for id_ in ids_of(where):
        message = f"Project '{id_}': could not remove tags: 'prod' is protected by connection 'paperspace_default'"
        assert message in caplog.text
    assert not writes(world)


@pytest.mark.parametrize(
    "call",
    [
        lambda hook: hook.remove_project_tags("p1", ["old", "prod"]),
        lambda hook: hook.set_project_tags("p1", "s:b", within="s:"),
        lambda hook: hook.set_project_tags("p1", "new"),
        lambda hook: hook.converge_project_tags("p1", policies.changing(add="new", remove="prod")),
        lambda hook: hook.run(converge_project_tags("p1", policies.removing("prod"))),
        lambda hook: hook.get_conn().remove_project_tags("p1", "prod"),
        lambda hook: asyncio.run(remove_asynchronously(hook)),
    ],
    ids=["remove", "set", "set all", "converge", "run", "client", "asynchronous client"],
)
def test_the_hook_is_refused_before_its_first_write(
    world: LocalPaperspaceServer, call: Callable[[PaperspaceHook], Any]
) -> None:
    with PaperspaceHook() as hook:
        with pytest.raises(ProtectedTagError, match="is protected by connection 'paperspace_default'"):
            call(hook)
        hook.add_project_tags("p1", "prod")
    assert not writes(world)


async def remove_asynchronously(hook: PaperspaceHook) -> None:
    async with await hook.get_async_conn() as client:
        await client.remove_project_tags("p1", "prod")


class TestCleanUp:
    SPARED = "protected by connection 'paperspace_default' ('prod')"

    def clean_up(self, **arguments: Any) -> Any:
        return json.loads(json.dumps(Task(CleanUpProjectTagsOperator, **arguments).run()))

    @pytest.mark.parametrize(
        "where", [{"project_ids": ["p1"]}, {"project_ids": ["p1", "p2"]}, {"all_projects": True}], ids=str
    )
    def test_it_spares_a_protected_tag_and_says_why(
        self, world: LocalPaperspaceServer, where: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        report = self.clean_up(names=["prod", "old"], **where)
        ids = where.get("project_ids", ["p2", "p1"])
        assert [(s["project_id"], s["tag"], s["why"]) for s in report["spared"]] == [
            (id_, "prod", self.SPARED) for id_ in ids
        ]
        assert {removal["tag"] for removal in report["planned"]} == {"old"}
        assert report["removed"] == report["planned"]
        assert world.paperspace.tag_names("p1") == ["prod", "s:live", "s:a", "demo@2026-12-01"]
        assert "Stale, but protected:" in caplog.text
        assert "Planned, but not removed" not in caplog.text

    def test_a_dry_run_shows_it(self, world: LocalPaperspaceServer) -> None:
        report = self.clean_up(project_ids=["p1"], names="*", dry_run=True)
        assert sorted(removal["tag"] for removal in report["planned"]) == ["old", "s:a"]
        assert sorted(spared["tag"] for spared in report["spared"]) == ["demo@2026-12-01", "prod", "s:live"]
        assert "#### 3 tags spared" in report["markdown"]
        assert "`prod` | protected by connection `'paperspace_default'` `('prod')` |" in report["markdown"]
        assert not writes(world)

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_a_plan_cannot_remove_it(
        self, world: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, dry_run: bool
    ) -> None:
        """The plan was made through a connection that protects nothing."""
        protect(monkeypatch, world, "")
        plan = self.clean_up(all_projects=True, names=["prod", "old"], dry_run=True)
        assert {removal["tag"] for removal in plan["planned"]} == {"prod", "old"}
        protect(monkeypatch, world, PROTECTED)
        report = self.clean_up(plan=plan, dry_run=dry_run)
        assert {(spared["tag"], spared["why"]) for spared in report["spared"]} == {("prod", self.SPARED)}
        assert {removal["tag"] for removal in report["planned"]} == {"old"}
        assert "prod" in world.paperspace.tag_names("p1")
        assert ("old" in world.paperspace.tag_names("p1")) == dry_run

    def test_a_plan_of_protected_tags_alone_sends_nothing(self, world: LocalPaperspaceServer) -> None:
        plan = self.clean_up(project_ids=["p1"], names="old", dry_run=True)
        plan["planned"][0]["tag"] = "prod"
        count = len(world.requests)
        report = self.clean_up(plan=plan)
        assert [spared["tag"] for spared in report["spared"]] == ["prod"]
        assert (report["planned"], report["removed"], len(world.requests) - count) == ([], [], 0)

    def test_it_does_not_count_as_a_removal(self, world: LocalPaperspaceServer) -> None:
        assert len(self.clean_up(project_ids=["p1"], names="*", max_removals=2)["removed"]) == 2
