"""What another task handed on is taken literally: a tag named ``*`` matches itself alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.project_tags import (
    ListProjectTagsOperator,
    RemoveProjectTagOperator,
    UndoProjectTagChangeOperator,
)
from airflow_provider_paperspace.operators.projects import ListProjectsOperator
from tests.operators.task import Task, rendered, writes

WILD = ["*", "exp[1]", "g?u", "[!x]*", "[open"]
"""Names that anybody can give to a tag or a project in the console."""

OTHERS = ["gpu", "exp1", "stage:a", "x"]


@pytest.fixture(autouse=True)
def world(connection: str, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> LocalPaperspaceServer:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 0.0)
    return server


def over_xcom(value: Any) -> Any:
    return json.loads(json.dumps(value))


def seed(world: LocalPaperspaceServer, wild: str) -> None:
    world.reset(seed={"projects": [{"id": "p1", "name": "one", "tags": [*OTHERS, wild]}]})


def listed(wild: str) -> Any:
    """Return the tag as a task that lists tags hands it on."""
    tags = over_xcom(Task(ListProjectTagsOperator, project_id="p1").run())
    return [tag for tag in tags if tag["name"] == wild]


@pytest.mark.parametrize("wild", WILD)
@pytest.mark.parametrize("as_item", [True, False])
def test_a_wild_name_handed_on_cleans_up_itself_alone(world: LocalPaperspaceServer, wild: str, as_item: bool) -> None:
    seed(world, wild)
    handed_on = listed(wild) if as_item else listed(wild)[0]
    task = rendered(CleanUpProjectTagsOperator, "names", handed_on, project_ids=["p1"])
    report = task.run()
    assert [removal["tag"] for removal in report["removed"]] == [wild]
    assert world.paperspace.tag_names("p1") == OTHERS


@pytest.mark.parametrize("wild", WILD)
def test_a_wild_name_handed_on_keeps_itself_alone(world: LocalPaperspaceServer, wild: str) -> None:
    seed(world, wild)
    rendered(CleanUpProjectTagsOperator, "keep", listed(wild), project_ids=["p1"], names="*").run()
    assert world.paperspace.tag_names("p1") == [wild]


@pytest.mark.parametrize("wild", WILD)
def test_a_plan_carries_literal_names_over_xcom(world: LocalPaperspaceServer, wild: str) -> None:
    seed(world, wild)
    plan = over_xcom(
        rendered(CleanUpProjectTagsOperator, "names", listed(wild), project_ids=["p1"], dry_run=True).run()
    )
    # A later task applies the rules of the plan again, here to removals that somebody added to it.
    plan["planned"] += [{**plan["planned"][0], "tag": name} for name in OTHERS]
    report = rendered(CleanUpProjectTagsOperator, "plan", plan).run()
    assert [removal["tag"] for removal in report["removed"]] == [wild]
    assert world.paperspace.tag_names("p1") == OTHERS


@pytest.mark.parametrize("wild", WILD)
def test_a_plan_carries_literal_exemptions_over_xcom(world: LocalPaperspaceServer, wild: str) -> None:
    seed(world, wild)
    planning = rendered(CleanUpProjectTagsOperator, "keep", listed(wild), project_ids=["p1"], names="*", dry_run=True)
    plan = over_xcom(planning.run())
    plan["planned"].append({**plan["planned"][0], "tag": wild})
    rendered(CleanUpProjectTagsOperator, "plan", plan).run()
    assert world.paperspace.tag_names("p1") == [wild]


def test_a_text_of_the_author_is_a_pattern_all_the_same(world: LocalPaperspaceServer) -> None:
    seed(world, "*")
    Task(CleanUpProjectTagsOperator, project_ids=["p1"], names=["exp[1]", "g?u"]).run()
    assert world.paperspace.tag_names("p1") == ["stage:a", "x", "*"]


@pytest.mark.parametrize("wild", WILD)
def test_a_wild_tag_handed_on_filters_projects_by_itself(world: LocalPaperspaceServer, wild: str) -> None:
    projects = [{"id": "p1", "tags": [*OTHERS, wild]}, {"id": "p2", "tags": OTHERS}]
    world.reset(seed={"projects": projects})
    for field, ids in (("tagged", ["p1"]), ("untagged", ["p2"])):
        found = rendered(ListProjectsOperator, field, listed(wild)).run()
        assert [project["id"] for project in found] == ids


@pytest.mark.parametrize("wild", WILD)
def test_a_wild_project_handed_on_is_found_by_its_name(world: LocalPaperspaceServer, wild: str) -> None:
    names = {"p1": wild, "p2": "exp1", "p3": "gpu"}
    world.reset(seed={"projects": [{"id": id_, "name": name} for id_, name in names.items()]})
    handed_on = over_xcom([project for project in Task(ListProjectsOperator).run() if project["name"] == wild])
    found = rendered(ListProjectsOperator, "name", handed_on).run()
    assert [project["id"] for project in found] == ["p1"]


NAMES = st.text(st.sampled_from("ab*?[]!-"), min_size=1, max_size=4)


@pytest.mark.uncovered
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(names=st.lists(NAMES, min_size=1, max_size=5, unique=True), data=st.data())
def test_exactly_the_tags_handed_on_are_cleaned_up(
    world: LocalPaperspaceServer, names: list[str], data: st.DataObject
) -> None:
    world.reset(seed={"projects": [{"id": "p1", "tags": names}]})
    stale = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    tags = over_xcom(Task(ListProjectTagsOperator, project_id="p1").run())
    handed_on = [tag for tag in tags if tag["name"] in stale]
    task = rendered(CleanUpProjectTagsOperator, "names", handed_on, project_ids=["p1"])
    task.run()
    assert world.paperspace.tag_names("p1") == [name for name in names if name not in stale]
    undo = rendered(UndoProjectTagChangeOperator, "change", over_xcom(task.pushed["change"]))
    undo.run()
    assert set(world.paperspace.tag_names("p1")) == set(names)
    rendered(RemoveProjectTagOperator, "tags", handed_on, project_id="p1").run()
    assert set(world.paperspace.tag_names("p1")) == set(names) - set(stale)


def test_a_name_handed_on_is_no_template_either(world: LocalPaperspaceServer) -> None:
    seed(world, "{{ 7 * 7 }}")
    with DAG("handed_on", schedule=None):
        CleanUpProjectTagsOperator(task_id="t", project_ids=["p1"], names=[{"name": "[open"}])
    assert not writes(world)
