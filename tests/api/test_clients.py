"""Both clients against the local Paperspace: the same operations, the same requests."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
from airflow_provider_paperspace.api.errors import NotFoundError, TransportError, UnexpectedResponseError
from airflow_provider_paperspace.api.settings import USER_AGENT, ClientSettings
from airflow_provider_paperspace.api.sync_client import PaperspaceClient
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.clients import AsyncClient, Client, SyncClient

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


def test_awkward_names_and_project_ids_arrive_to_the_letter(client: Client, server: LocalPaperspaceServer) -> None:
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


def test_a_list_of_many_pages_is_read_with_full_pages(client: Client, server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("many", tags=[f"tag-{i:04}" for i in range(1_000)])
    assert client.iterate("many", order="asc") == [f"tag-{i:04}" for i in range(1_000)]
    assert len(server.requests) == 9


def test_adding_costs_one_read_and_a_post_for_each_missing_tag(client: Client, server: LocalPaperspaceServer) -> None:
    client.add("p1", ["a", "gpu", "b"])
    assert [request.method for request in server.requests] == ["GET", "POST", "POST"]


def test_doing_it_again_writes_nothing(client: Client, server: LocalPaperspaceServer) -> None:
    for _ in range(2):
        assert client.add("p1", "nightly") == ["nightly"]
    assert client.remove("p1", "nightly") == ["nightly"]
    assert client.remove("p1", "nightly") == []
    assert [request.method for request in server.requests] == ["GET", "POST", "GET", "GET", "DELETE", "GET"]


def test_both_clients_send_the_same_requests_to_the_letter(
    settings: ClientSettings, server: LocalPaperspaceServer
) -> None:
    seen: list[list[Any]] = []
    for kind in (SyncClient, AsyncClient):
        server.reset(seed={"projects": [{"id": "p/1 ü", "tags": ["gpu"]}]}, switches={"default-page-size": "1"})
        server.fault("500", at=3)
        server.fault("429", at=6, retry_after="2")
        with kind(settings) as client:
            client.add("p/1 ü", AWKWARD)
            client.iterate("p/1 ü", page_size=3)
            client.remove("p/1 ü", AWKWARD)
            client.projects(order="asc")
            client.session()
            with pytest.raises(NotFoundError):
                client.project("../teams")
        seen.append([(r.method, r.target, r.body, r.status) for r in server.requests])
    # Cursors hold the moment of creation, which differs between the two worlds.
    for one, other in zip(*seen, strict=True):
        assert (one[0], one[1].partition("after=")[0], *one[2:]) == (
            other[0],
            other[1].partition("after=")[0],
            *other[2:],
        )


def test_headers_are_what_the_server_family_needs(client: Client, server: LocalPaperspaceServer) -> None:
    client.add("p1", "nightly")
    client.remove("p1", "nightly")
    read, post, _, delete = server.requests
    assert post.headers["content-type"] == "application/json"
    assert all(request.headers["user-agent"] == USER_AGENT for request in server.requests)
    for request in (read, delete):
        assert "content-type" not in request.headers
        assert request.body == b""


def test_a_change_is_logged_at_info_and_each_request_at_debug_without_headers(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client.add("p1", ["nightly", "gpu"])
    assert "Project 'p1': added 'nightly'; 'gpu' was there already" in caplog.messages
    ours = [r.getMessage() for r in caplog.records if r.name.endswith("api.exchange")]
    assert [message.rpartition(" after ")[0] for message in ours] == [
        "GET /projects/p1/tags?limit=120&orderBy=dtCreated&order=desc: 200",
        "POST /projects/p1/tags: 200",
    ]


def test_an_error_names_project_connection_and_attempts(client: Client, server: LocalPaperspaceServer) -> None:
    server.fault("503", times=0)
    with pytest.raises(Exception, match=r"Project 'p1'.*503.*\(connection 'paperspace_default', 5 attempts\)"):
        client.list("p1")
    assert len(client.slept) == 4


def test_a_closed_port_is_no_answer_after_all_attempts(settings: ClientSettings) -> None:
    from dataclasses import replace

    with SyncClient(replace(settings, base_url="http://127.0.0.1:1/v1")) as client:
        with pytest.raises(TransportError, match=r"Connection refused.*5 attempts"):
            client.list("p1")
    with AsyncClient(replace(settings, base_url="http://127.0.0.1:1/v1")) as other:
        with pytest.raises(TransportError, match=r"Connect call failed.*5 attempts"):
            other.list("p1")


def test_iterating_stops_where_a_page_is_broken_and_gives_what_came_before(
    settings: ClientSettings, server: LocalPaperspaceServer
) -> None:
    server.paperspace.add_project("many", tags=["a", "b", "c"])
    server.fault("no-cursor", at=2)
    with PaperspaceClient(settings) as client:
        tags = client.iter_project_tags("many", order="asc", page_size=1)
        assert next(tags).name == "a"
        with pytest.raises(UnexpectedResponseError, match="no cursor"):
            next(tags)


def test_arguments_are_refused_when_the_call_is_made_not_when_its_result_is_used(settings: ClientSettings) -> None:
    with PaperspaceClient(settings) as client, pytest.raises(ValueError, match="project id"):
        client.iter_project_tags("")

    async def call() -> None:
        async with AsyncPaperspaceClient(settings) as client:
            client.iter_project_tags("")

    with pytest.raises(ValueError, match="project id"):
        asyncio.run(call())


def test_the_two_clients_have_the_same_public_names() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(PaperspaceClient) ^ names(AsyncPaperspaceClient) == {"close", "aclose", "stop"}
