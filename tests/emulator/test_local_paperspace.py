"""The local Paperspace over plain HTTP, as any client sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_paperspace.emulator import __main__ as command_line
from airflow_provider_paperspace.emulator.faults import KINDS, Fault, parse_fault
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.emulator.state import Paperspace
from airflow_provider_paperspace.emulator.switches import CHOICES, Switches, describe
from tests.secret_watch import API_KEY


@pytest.fixture
def http(server: LocalPaperspaceServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
        yield client


def add(http: httpx.Client, name: object, **more: Any) -> httpx.Response:
    return http.post("/projects/p1/tags", json={"name": name}, **more)


def test_tags_are_added_listed_and_removed_over_http(http: httpx.Client) -> None:
    added = add(http, "nightly")
    assert (added.status_code, added.json()["name"]) == (200, "nightly")
    assert [tag["name"] for tag in http.get("/projects/p1/tags").json()["items"]] == ["nightly", "gpu"]
    assert http.delete("/projects/p1/tags", params={"name": "nightly"}).json() == added.json()
    assert [tag["name"] for tag in http.get("/projects/p1/tags").json()["items"]] == ["gpu"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_cursors_lead_through_all_pages_once(http: httpx.Client, server: LocalPaperspaceServer, order: str) -> None:
    names = [f"tag-{i:03}" for i in range(250)]
    server.paperspace.add_project("many", tags=names)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 120, "order": order}
    while True:
        page = http.get("/projects/many/tags", params=query).json()
        seen += [tag["name"] for tag in page["items"]]
        if not page["hasMore"]:
            break
        query["after"] = page["nextPage"]
    assert seen == (names if order == "asc" else names[::-1])


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "121"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"orderBy": "name"}, "orderBy"),
        ({"order": "up"}, "order"),
        ({"after": "made-up"}, "after"),
        ({"sort": "asc"}, "sort: Unrecognized parameter"),
    ],
)
def test_a_wrong_query_is_refused_with_the_reason(
    http: httpx.Client, server: LocalPaperspaceServer, query: dict[str, str], problem: str
) -> None:
    answer = http.get("/projects/p1/tags", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert problem in answer.json()["details"]["problems"][0]
    server.reset(seed={"projects": [{"id": "p1"}]}, switches={"error-extras": "issues"})
    assert problem in http.get("/projects/p1/tags", params=query).json()["issues"][0]["message"]
    server.reset(seed={"projects": [{"id": "p1"}]}, switches={"error-extras": "none"})
    assert set(http.get("/projects/p1/tags", params=query).json()) == {"code", "message"}


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b'{"name": "a"}', "application/json; charset=utf-8", 400, "BAD_REQUEST"),
        (b'{"name": "a"}', "text/plain", 400, "BAD_REQUEST"),
        (b'{"name": ', "application/json", 400, "PARSE_ERROR"),
        (b"[]", "application/json", 400, "BAD_REQUEST"),
        (b"{}", "application/json", 400, "BAD_REQUEST"),
        (b'{"name": 7}', "application/json", 400, "BAD_REQUEST"),
        (b'{"name": "a", "colour": "red"}', "application/json", 400, "BAD_REQUEST"),
        (json.dumps({"name": "x" * 100_000}).encode(), "application/json", 413, "PAYLOAD_TOO_LARGE"),
    ],
)
def test_a_wrong_body_is_refused(http: httpx.Client, content: bytes, content_type: str, status: int, code: str) -> None:
    answer = http.post("/projects/p1/tags", content=content, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_removal_needs_its_name_in_the_query(http: httpx.Client) -> None:
    assert http.delete("/projects/p1/tags").status_code == 400


@pytest.mark.parametrize("path", ["/projects", "/projects/p1", "/projects/p1/tags"])
def test_a_wrong_key_is_refused_except_by_the_session(http: httpx.Client, path: str) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        assert http.get(path, headers=headers).json()["code"] == "UNAUTHORIZED"
        session = http.get("/auth/session", headers=headers)
        assert (session.status_code, session.json()) == (200, None)
    assert http.get("/auth/session").json()["team"]["namespace"] == "acme"


def test_unknown_paths_and_wrong_methods_are_refused(http: httpx.Client) -> None:
    assert http.get("/teams").headers["content-type"].startswith("text/html")
    assert http.get("/projects/a%2Fb/tags").json()["code"] == "NOT_FOUND"
    refused = http.put("/projects/p1/tags")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST, DELETE")


def test_a_deleted_project_is_listed_but_not_found_by_id(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("p2", dtDeleted="2026-01-01T00:00:00.000Z")
    assert {p["id"] for p in http.get("/projects").json()["items"] if p["dtDeleted"]} == {"p2"}
    assert http.get("/projects/p2").status_code == 404


@pytest.mark.parametrize(("identity", "same"), [("team", True), ("link", False)])
def test_a_tag_added_again_is_the_teams_or_a_new_one(
    http: httpx.Client, server: LocalPaperspaceServer, identity: str, same: bool
) -> None:
    server.reset(seed={"projects": [{"id": "p1"}]}, switches={"tag-identity": identity})
    first = add(http, "a").json()
    http.delete("/projects/p1/tags", params={"name": "a"})
    assert (add(http, "a").json() == first) is same


def test_requests_beyond_the_rate_limit_get_a_429(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    server.reset(rate_limit=3)
    answers = [http.get("/projects") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[3].headers["retry-after"] == "1"
    assert answers[3].json()["code"] == "TOO_MANY_REQUESTS"
    server.app._served_at_s[0] -= 1  # as if a second had passed since the first request
    assert [http.get("/projects").status_code for _ in range(2)] == [200, 429]


def test_latency_delays_every_answer(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    server.reset(latency_ms=80)
    assert http.get("/auth/session").elapsed.total_seconds() >= 0.08


def test_requests_are_counted_and_kept_without_the_key(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    add(http, "a")
    assert [(r.method, r.target, r.status) for r in server.requests] == [("POST", "/projects/p1/tags", 200)]
    assert "authorization" not in server.requests[0].headers
    assert httpx.get(server.url.removesuffix("/v1") + "/_local/requests", trust_env=False).json() == {"count": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_affects_only_the_chosen_requests(http: httpx.Client, server: LocalPaperspaceServer, kind: str) -> None:
    server.fault(kind, at=2, method="GET", path="/tags", seconds=0.05, retry_after="7")
    honest = http.get("/projects/p1/tags").json()
    add(http, "a")
    http.delete("/projects/p1/tags", params={"name": "a"})
    http.get("/projects/p1")
    try:
        faulty = http.get("/projects/p1/tags")
        is_faulty = faulty.status_code != 200 or faulty.content.strip() != json.dumps(honest).encode()
        assert is_faulty or kind == "slow"
        if kind in ("429", "503"):
            assert faulty.headers["retry-after"] == "7"
    except httpx.TransportError:
        assert kind in ("refused", "reset", "lost-answer")
    server.restore()
    assert http.get("/projects/p1/tags").json() == honest


def test_refused_connections_are_accepted_again_later(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    server.fault("refused", seconds=0.2)
    with pytest.raises(httpx.TransportError):
        http.get("/projects")
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), headers=http.headers) as patient:
        assert patient.get(f"{server.url}/projects").status_code == 200


def test_switches_are_set_by_name_and_described() -> None:
    switches = Switches().with_values({"add-existing": "409", "longest-name": "64/500", "default-page-size": "7"})
    assert (switches.add_existing, switches.name_limit(), switches.default_page_size) == ("409", (64, 500), 7)
    assert "add-existing=409" in describe(switches).splitlines()
    assert [line.split("=")[0] for line in describe(switches).splitlines()] == list(CHOICES)
    assert {name: choices[0] for name, choices in CHOICES.items()} == dict(
        line.split("=") for line in describe(Switches()).splitlines()
    )


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"colour": "red"}, "Unknown switch 'colour'. Known switches: last-page-cursor"),
        ({"case": "maybe"}, "Switch 'case': invalid value 'maybe'. Valid values: sensitive, insensitive"),
        ({"default-page-size": "121"}, "invalid value '121'"),
        ({"longest-name": "64/404"}, "invalid value '64/404'"),
    ],
)
def test_a_wrong_switch_is_refused_with_the_known_ones(values: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Switches().with_values(values)


def test_a_fault_is_parsed_from_the_command_line() -> None:
    assert parse_fault("429:at=2,times=0,retry_after=3,method=POST,path=/tags") == Fault(
        "429", at=2, times=0, retry_after="3", method="POST", path="/tags"
    )
    assert parse_fault("500:applied=true,seconds=0.5") == Fault("500", applied=True, seconds=0.5)
    assert parse_fault("reset") == Fault("reset")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("418", "Unknown fault '418'. Known faults: 401"),
        ("429:when=2", "unknown option 'when=2'. Known options: at"),
        ("429:at", "unknown option 'at'"),
        ("429:at=two", "invalid value 'two' for 'at'"),
        ("429:method=PUT", "invalid value 'PUT' for 'method'"),
        ("429:applied=maybe", "invalid value 'maybe' for 'applied'"),
    ],
)
def test_a_wrong_fault_is_refused_with_the_known_ones(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_fault(text)


@pytest.mark.parametrize(
    ("seed", "complaint"),
    [
        ({"projects": {}}, "'projects' is {}; it must be of type list"),
        ({"projects": [{"name": "x"}]}, "'id' is missing"),
        ({"projects": ["p1"]}, "'p1' must be an object with 'id'"),
        ({"projects": [{"id": 7}]}, "'id' is 7; it must be of type str"),
        ({"projects": [{"id": "p", "tags": [{}]}]}, "'name' is missing"),
    ],
)
def test_a_wrong_seed_is_refused_with_the_place(seed: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Paperspace(seed)


def test_a_seed_may_set_the_dates_of_tags() -> None:
    tag = {"name": "old", "dtCreated": "2020-01-01T00:00:00.000Z"}
    paperspace = Paperspace({"projects": [{"id": "p", "tags": [tag, "new"]}]})
    assert paperspace.tag_names("p") == ["old", "new"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--switch", "case"], "write NAME=VALUE"),
        (["--switch", "case=x"], "invalid value 'x'"),
        (["--fault", "x"], "Unknown fault 'x'"),
        (["--seed", "/nowhere.json"], "No such file"),
        (["--port", "99999999"], "cannot serve"),
    ],
)
def test_the_command_line_reports_bad_options(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(("text", "complaint"), [("{", "is not JSON"), ("[]", "must contain a JSON object")])
def test_a_seed_file_must_contain_an_object(
    text: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "seed.json").write_text(text)
    with pytest.raises(SystemExit):
        command_line.main(["--seed", str(tmp_path / "seed.json")])
    assert complaint in capsys.readouterr().err


def test_the_command_line_serves_until_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "seed.json").write_text('{"projects": [{"id": "p9", "tags": ["x"]}]}')
    command = [sys.executable, "-m", "airflow_provider_paperspace.emulator", "--port", "0", "--api-key", "its-own-key"]
    command += ["--seed", str(tmp_path / "seed.json"), "--switch", "case=insensitive", "--fault", "500:path=/session"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        url = lines[0].split()[3]
        assert "AIRFLOW_CONN_PAPERSPACE_DEFAULT='paperspace://:its-own-key@http%3A%2F%2F127.0.0.1" in lines[2]
        assert lines[2].endswith("?team=acme'\n")
        assert "choices, not facts" in lines[4]
        headers = {"Authorization": "Bearer its-own-key"}
        assert httpx.get(f"{url}/auth/session", headers=headers, trust_env=False).status_code == 500
        page = httpx.get(f"{url}/projects/p9/tags", headers=headers, trust_env=False).json()
        assert [tag["name"] for tag in page["items"]] == ["x"]
        os.kill(process.pid, signal.SIGINT)
        process.wait(10)


PLUGIN_TEST = """
import os, sys
import pytest

def test_the_plugin_imports_nothing_before_a_fixture_is_used():
    assert "airflow_provider_paperspace.emulator.pytest_plugin" in sys.modules
    assert not {"starlette", "uvicorn", "airflow", "requests", "aiohttp"} & set(sys.modules)

def test_the_server_keeps_its_tags(paperspace_server):
    paperspace_server.paperspace.add_project("mine", tags=["a"])
    assert paperspace_server.paperspace.tag_names("mine") == ["a"]

def test_the_next_test_starts_over(paperspace_server, paperspace_connection):
    assert "mine" not in paperspace_server.paperspace.projects
    assert paperspace_connection == "paperspace_default"
    assert paperspace_server.url in os.environ["AIRFLOW_CONN_PAPERSPACE_DEFAULT"]

def test_without_the_fixture_there_is_no_connection():
    assert "AIRFLOW_CONN_PAPERSPACE_DEFAULT" not in os.environ
"""


@pytest.mark.parametrize(
    ("team", "namespace"),
    [(None, "acme"), ({"id": "t", "namespace": "a&b c"}, "a&b c"), ({"id": "t"}, "")],
    ids=["default", "awkward", "without a namespace"],
)
def test_its_connection_has_the_team(
    server: LocalPaperspaceServer, team: dict[str, str] | None, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reset(seed=None if team is None else {"team": team})
    for value in (server.connection_uri(), server.connection_json()):
        monkeypatch.setenv("AIRFLOW_CONN_LOCAL", value)
        connection = BaseHook.get_connection("local")
        assert (connection.conn_type, connection.password) == ("paperspace", server.api_key)
        assert connection.extra_dejson.get("team", "") == namespace
    assert json.loads(server.connection_json(team="other", timeout=7))["extra"] == {"team": "other", "timeout": 7}


def test_the_fixtures_work_in_a_users_test_run(tmp_path: Path) -> None:
    (tmp_path / "test_users.py").write_text(PLUGIN_TEST)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = subprocess.run(  # noqa: S603
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            os.devnull,
            "-p",
            "airflow_provider_paperspace.emulator.pytest_plugin",
            str(tmp_path),
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed" in run.stdout, run.stdout + run.stderr


def test_the_plugin_is_registered_with_pytest() -> None:
    from importlib.metadata import entry_points

    (plugin,) = entry_points(group="pytest11", name="paperspace")
    assert plugin.value == "airflow_provider_paperspace.emulator.pytest_plugin"
