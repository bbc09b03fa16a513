"""A wait on many projects: over once all of them meet the condition at the same time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider_paperspace.api.errors import ApiError, InvalidArgumentError
from airflow_provider_paperspace.api.models import Tag
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger
from tests.triggers import virtual_time
from tests.triggers.polls import events_of

IDS = ["p1", "p2", "p3"]


class Service(virtual_time.Service):
    """Each project has the tag ``ready`` at some times.

    :param ready: by project id, the seconds between which it has the tag.
    """

    def __init__(self, **ready: tuple[float, float]) -> None:
        super().__init__()
        self.ready = ready
        self.errors: dict[str, Exception] = {}
        self.polled: list[str] = []

    async def list_tags(self, project_id: str) -> tuple[Tag, ...]:
        now_s = asyncio.get_running_loop().time()
        self.polled.append(project_id)
        if project_id in self.errors:
            raise self.errors[project_id]
        start_s, end_s = self.ready.get(project_id, (0, 0))
        return (Tag(1, "ready", "2026-03-02T09:15:00.000Z"),) if start_s <= now_s < end_s else ()


FOREVER = float("inf")


def wait(service: Service, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> tuple[Any, float]:
    """Return the payload of a wait, and after how many seconds it came."""
    monkeypatch.setattr("airflow_provider_paperspace.triggers._polling._SharedConnection", service.connection)
    monkeypatch.setattr("airflow_provider_paperspace.triggers.project_tags.datetime", virtual_time.VirtualDatetime)
    arguments = {"project_ids": IDS, "tags": "ready", "poke_interval": 10, **arguments}

    async def run() -> tuple[Any, float]:
        (payload,) = await events_of(ProjectTagTrigger(**arguments).run())
        return payload, asyncio.get_running_loop().time()

    payload, ended_s = virtual_time.run(run())
    assert json.loads(json.dumps(payload)) == payload
    return payload, ended_s


def test_a_wait_ends_once_the_last_project_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(p1=(0, FOREVER), p2=(200, FOREVER), p3=(70, FOREVER))
    payload, ended_s = wait(service, monkeypatch)
    assert (payload["status"], list(payload["tags"])) == ("met", IDS)
    assert payload["tags"]["p2"][0]["name"] == "ready"
    assert 200 <= ended_s < 215


def test_projects_that_were_ready_one_after_the_other_do_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(p1=(0, 100), p2=(150, FOREVER), p3=(0, FOREVER))
    payload, _ = wait(service, monkeypatch, deadline=virtual_time.instant(400).isoformat())
    assert payload["status"] == "timeout"
    assert payload["message"].startswith("Project 'p1': its tags did not meet the condition (all of 'ready') by ")
    service.ready["p1"] = (300, FOREVER)
    payload, ended_s = wait(service, monkeypatch)
    assert (payload["status"], ended_s >= 300) == ("met", True)


def test_the_last_polls_at_the_deadline_decide_together(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(p1=(99, FOREVER), p2=(99, FOREVER), p3=(99, FOREVER))
    deadline = virtual_time.instant(100).isoformat()
    payload, ended_s = wait(service, monkeypatch, poke_interval=600, deadline=deadline)
    assert (payload["status"], ended_s) == ("met", pytest.approx(100, abs=1e-5)), "a datetime knows no nanoseconds"
    payload, _ = wait(Service(), monkeypatch, poke_interval=600, deadline=deadline)
    assert payload["message"].endswith(f"by {deadline}, nor did those of 2 other projects.")
    payload, _ = wait(Service(p1=(99, FOREVER)), monkeypatch, poke_interval=600, deadline=deadline)
    assert payload["message"].endswith(f"by {deadline}, nor did those of 1 other project.")


def test_no_project_may_have_the_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(p1=(0, 50), p2=(0, 90))
    payload, ended_s = wait(service, monkeypatch, mode_of_match="none")
    assert payload == {"status": "met", "tags": {"p1": [], "p2": [], "p3": []}}
    assert 90 <= ended_s < 105


def test_a_permanent_error_of_one_project_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(p1=(0, FOREVER))
    service.errors["p3"] = ApiError.of(404, b"", subject="Project 'p3'")
    payload, ended_s = wait(service, monkeypatch)
    assert (payload["status"], payload["permanent"], "Project 'p3'" in payload["message"]) == ("error", True, True)
    assert ended_s < 15, "the others are not waited for"


def test_transient_errors_of_one_project_are_tolerated_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(p1=(0, FOREVER), p2=(0, FOREVER))
    service.errors["p3"] = ApiError.of(500, b"")
    payload, _ = wait(service, monkeypatch, max_failures=3)
    assert (payload["status"], payload["permanent"]) == ("error", False)
    assert payload["message"].startswith("4 polls in a row failed")


@pytest.mark.parametrize("arguments", [{}, {"project_id": "p1", "project_ids": ["p2"]}])
def test_a_trigger_has_one_project_or_many(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="set exactly one of project_id and project_ids"):
        ProjectTagTrigger(tags="x", **arguments)


def test_a_trigger_of_many_projects_is_stored_as_json() -> None:
    _, arguments = ProjectTagTrigger(project_ids=("p1", "p2"), tags="x").serialize()
    assert json.loads(json.dumps(arguments)) == arguments
    assert ProjectTagTrigger(**arguments).serialize()[1] == arguments
