"""Both clients against the local Paperspace: the same operations, the same requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_paperspace.api import policies, project_tags, projects
from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.api.client import PaperspaceClient
from airflow_provider_paperspace.api.errors import (
    InvalidArgumentError,
    NotFoundError,
    PaperspaceError,
    ServerError,
    TransportError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.api.models import TagChange
from airflow_provider_paperspace.api.settings import USER_AGENT, ClientSettings
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.clients import AsyncClient, Client, SyncClient, names_of

MakeClient = Callable[[ClientSettings], Client]

AWKWARD = [
    "a/b?x",
    "50% & more",
    "#1",
    "a+b c",
    "ключ 🚀",
    "../teams",
    "%2F",
    " padded ",
    'quo"te\\',
    "line\nbreak",
    ".",
]


def test_tags_are_added_listed_and_removed(client: Client, server: LocalPaperspaceServer) -> None:
    assert client.add("p1", ["nightly", "gpu"]) == ["nightly", "gpu"]
    assert client.list("p1") == ["nightly", "gpu"]
    assert client.list("p1", order="asc") == ["gpu", "nightly"]
    assert client.iterate("p1", page_size=1) == ["nightly", "gpu"]
    assert client.remove("p1", ["nightly", "absent"]) == ["nightly"]
    assert server.paperspace.tag_names("p1") == ["gpu"]


def test_awkward_names_and_ids_are_sent_to_the_letter(client: Client, server: LocalPaperspaceServer) -> None:
    for project_id in ("a/b?x", "../teams", "%2e%2e", "ä ö"):
        server.paperspace.add_project(project_id)
        assert client.add(project_id, AWKWARD) == AWKWARD
        assert client.list(project_id, order="asc") == AWKWARD
        assert client.remove(project_id, AWKWARD) == AWKWARD
        assert server.paperspace.tag_names(project_id) == []
        assert client.project(project_id).name == project_id


def test_projects_and_the_session_are_read(client: Client, server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("p2", "two", dtDeleted="2026-01-01T00:00:00.000Z")
    assert {project.id: project.dt_deleted for project in client.projects(page_size=1)} == {
        "p1": None,
        "p2": "2026-01-01T00:00:00.000Z",
    }
    session = client.session()
    assert session is not None
    assert (session.team_namespace, session.user_email) == ("acme", "ada@example.org")
    assert client.project("p1").name == "one"
    assert client.resolve("one") == "p1"


def test_a_long_list_is_read_with_full_pages(client: Client, server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("many", tags=[f"tag-{i:04}" for i in range(1_000)])
    assert client.iterate("many", order="asc") == [f"tag-{i:04}" for i in range(1_000)]
    assert len(server.requests) == 9


def test_adding_costs_one_read_and_a_post_per_missing_tag(client: Client, server: LocalPaperspaceServer) -> None:
    client.add("p1", ["a", "gpu", "b"])
    assert [request.method for request in server.requests] == ["GET", "POST", "POST"]


def test_repeating_a_call_writes_nothing(client: Client, server: LocalPaperspaceServer) -> None:
    for _ in range(2):
        assert client.add("p1", "nightly") == ["nightly"]
    assert client.remove("p1", "nightly") == ["nightly"]
    assert client.remove("p1", "nightly") == []
    assert [request.method for request in server.requests] == ["GET", "POST", "GET", "GET", "DELETE", "GET"]


def test_both_clients_send_the_same_requests(settings: ClientSettings, server: LocalPaperspaceServer) -> None:
    seen: list[list[Any]] = []
    for make_client in (SyncClient, AsyncClient):
        server.reset(seed={"projects": [{"id": "p/1 ü", "tags": ["gpu"]}]}, switches={"default-page-size": "1"})
        server.fault("500", at=3)
        server.fault("429", at=6, retry_after="2")
        with make_client(settings) as client:
            client.add("p/1 ü", AWKWARD)
            client.iterate("p/1 ü", page_size=3)
            client.remove("p/1 ü", AWKWARD)
            client.projects(order="asc")
            client.session()
            with pytest.raises(NotFoundError):
                client.project("../teams")
        seen.append([(r.method, r.target, r.body, r.status) for r in server.requests])
    # Cursors contain the moment of creation, which differs between the two worlds.
    for one, other in zip(*seen, strict=True):
        assert (one[0], one[1].partition("after=")[0], *one[2:]) == (
            other[0],
            other[1].partition("after=")[0],
            *other[2:],
        )


@pytest.mark.parametrize("fault", ["reset", "lost-answer"])
@pytest.mark.parametrize("call", ["add", "remove"])
def test_no_library_resends_a_request_on_its_own(
    fault: str, call: str, client: Client, server: LocalPaperspaceServer
) -> None:
    client.list("p1")  # opens the connection: aiohttp resends on one that it used before
    server.fault(fault, at=2)
    if call == "add":
        assert client.add("p1", "new") == ["new"]
    else:
        assert client.remove("p1", "gpu") == ["gpu"]
    write = "POST" if call == "add" else "DELETE"
    resent = [write] if fault == "reset" else []
    assert [request.method for request in server.requests] == ["GET", "GET", write, "GET", *resent]


@pytest.mark.parametrize("fault", ["reset", "lost-answer"])
def test_a_lost_read_counts_as_an_attempt(
    fault: str, settings: ClientSettings, make_client: MakeClient, server: LocalPaperspaceServer
) -> None:
    with make_client(replace(settings, max_attempts=2)) as client:
        client.list("p1")
        server.fault(fault, times=0)
        with pytest.raises(TransportError, match="2 attempts"):
            client.list("p1")
    assert len(server.requests) == 3


def test_headers_are_what_the_server_family_needs(client: Client, server: LocalPaperspaceServer) -> None:
    client.add("p1", "nightly")
    client.remove("p1", "nightly")
    read, post, _, delete = server.requests
    assert post.headers["content-type"] == "application/json"
    assert post.body == b'{"name": "nightly"}'
    for request in server.requests:
        assert request.headers["user-agent"] == USER_AGENT
        assert request.headers["accept"] == "application/json"
    for request in (read, delete):
        assert "content-type" not in request.headers
        assert request.headers.get("content-length", "0") == "0"
        assert "transfer-encoding" not in request.headers
        assert request.body == b""


def test_changes_are_logged_at_info_and_requests_at_debug(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client.add("p1", ["nightly", "gpu"])
        client.add("p1", ["nightly", "gpu"])
    changes = [(r.levelname, r.getMessage()) for r in caplog.records if r.name.endswith("api.project_tags")]
    assert changes == [
        ("INFO", "Project 'p1': added 'nightly'; 'gpu' was already there"),
        ("DEBUG", "Project 'p1': 'nightly', 'gpu' were already there"),
    ]
    requests = [(r.levelname, r.getMessage()) for r in caplog.records if r.name.endswith("api._transport")]
    assert [(level, message.rpartition(" after ")[0]) for level, message in requests] == [
        ("DEBUG", "GET /projects/p1/tags?limit=120&orderBy=dtCreated&order=desc: 200"),
        ("DEBUG", "POST /projects/p1/tags: 200"),
        ("DEBUG", "GET /projects/p1/tags?limit=120&orderBy=dtCreated&order=desc: 200"),
    ]


def test_an_error_names_project_connection_and_attempts(client: Client, server: LocalPaperspaceServer) -> None:
    server.fault("503", times=0)
    with pytest.raises(ServerError, match=r"Project 'p1'.*503.*\(connection 'paperspace_default', 5 attempts\)"):
        client.list("p1")
    assert len(client.slept) == 4


def test_writes_are_limited_by_the_settings(
    settings: ClientSettings, make_client: MakeClient, server: LocalPaperspaceServer
) -> None:
    server.fault("503", method="POST", times=0)
    with make_client(replace(settings, max_attempts=2)) as client:
        with pytest.raises(ServerError, match="2 attempts"):
            client.add("p1", "new")
    assert [request.method for request in server.requests] == ["GET", "POST", "GET", "POST", "GET"]


def test_a_closed_port_is_reported_after_all_attempts(settings: ClientSettings, make_client: MakeClient) -> None:
    with make_client(replace(settings, base_url="http://127.0.0.1:1/v1")) as client:
        with pytest.raises(TransportError, match=r"(Connection refused|Connect call failed).*5 attempts"):
            client.list("p1")


def test_a_broken_page_ends_an_iteration_midway(settings: ClientSettings, server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("many", tags=["a", "b", "c"])
    server.fault("no-cursor", at=2)
    with PaperspaceClient(settings) as client:
        tags = client.iter_project_tags("many", order="asc", page_size=1)
        assert next(tags).name == "a"
        with pytest.raises(UnexpectedResponseError, match="no cursor"):
            next(tags)


def test_an_iterator_checks_its_arguments_at_once(settings: ClientSettings) -> None:
    with PaperspaceClient(settings) as client, pytest.raises(InvalidArgumentError, match="project id"):
        client.iter_project_tags("")

    async def call() -> None:
        async with AsyncPaperspaceClient(settings) as client:
            client.iter_project_tags("")

    with pytest.raises(InvalidArgumentError, match="project id"):
        asyncio.run(call())


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.list(""),
        lambda client: client.list(None),
        lambda client: client.list("p1", order="up"),
        lambda client: client.iterate("p1", page_size="5"),
        lambda client: client.add("p1", None),
        lambda client: client.add("p1", ["a", " "]),
        lambda client: client.remove("p1", [7]),
        lambda client: client.set("p1", "x", within=""),
        lambda client: client.set("p1", "x", within="s:"),
        lambda client: client.project(7),
        lambda client: client.projects(page_size=0),
        lambda client: client.resolve(" "),
    ],
)
def test_a_bad_argument_sends_nothing(call: Any, client: Client, server: LocalPaperspaceServer) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        call(client)
    assert isinstance(caught.value, PaperspaceError)
    assert isinstance(caught.value, ValueError)
    assert server.requests == []


def test_any_flow_can_be_run(client: Client, server: LocalPaperspaceServer) -> None:
    plan = client.run(project_tags.plan_project_tags("p1", policies.setting("new")))
    assert (plan.add, plan.remove) == (("new",), ("gpu",))
    assert server.paperspace.tag_names("p1") == ["gpu"]
    assert client.run(projects.get_project("p1")).name == "one"


def test_the_record_of_the_caller_outlives_an_error(client: Client, server: LocalPaperspaceServer) -> None:
    server.fault("403", at=3)
    change = TagChange("p1")
    with pytest.raises(PaperspaceError, match="Already added: 'a'[.]"):
        client.converge("p1", policies.adding(["a", "b"]), change)
    assert (names_of(change.added), change.before, change.after) == (["a"], ("gpu",), ("gpu", "a"))
    assert server.paperspace.tag_names("p1") == ["gpu", "a"]


def test_both_clients_have_the_same_public_names() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(PaperspaceClient) ^ names(AsyncPaperspaceClient) == {"close", "aclose", "stop"}
