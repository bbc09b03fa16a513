"""The local Paperspace over plain HTTP, as any client sees it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
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
    (issue,) = answer.json()["issues"]
    assert problem in f"{issue['path'][0]}: {issue['message']}"
    server.reset(seed={"projects": [{"id": "p1"}]}, switches={"error-extras": "details"})
    assert problem in http.get("/projects/p1/tags", params=query).json()["details"]["problems"][0]
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


NOT_FOUND = b'{"message":"Not found","code":"NOT_FOUND"}'
UNAUTHORIZED = b'{"message":"You must be logged in to access this method.","code":"UNAUTHORIZED"}'

SEEN_LIVE = [
    ("GET", "/teams", 404, NOT_FOUND),
    ("GET", "/", 404, NOT_FOUND),
    ("PUT", "/projects/p1/tags", 404, NOT_FOUND),
    ("PATCH", "/projects", 404, NOT_FOUND),
    ("POST", "/auth/session", 404, NOT_FOUND),
    ("GET", "/projects", 401, UNAUTHORIZED),
    ("GET", "/projects/p1", 401, UNAUTHORIZED),
    ("GET", "/projects/p1/tags", 401, UNAUTHORIZED),
    ("POST", "/projects/p1/tags", 401, UNAUTHORIZED),
    ("DELETE", "/projects/p1/tags?name=gpu", 401, UNAUTHORIZED),
    ("GET", "/auth/session", 200, b"null"),
]
"""Answers that were recorded from the live service on 2026-09-13, with a wrong key and without one."""


@pytest.mark.parametrize("key", ["", "Bearer wrong"])
@pytest.mark.parametrize(("method", "target", "status", "body"), SEEN_LIVE)
def test_an_answer_seen_live_is_the_same_byte_for_byte(
    http: httpx.Client, method: str, target: str, status: int, body: bytes, key: str
) -> None:
    answer = http.request(method, target, headers={"Authorization": key})
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["content-type"] == "application/json"
    assert "allow" not in answer.headers


def test_an_encoded_slash_stays_within_its_id(http: httpx.Client) -> None:
    assert http.get("/projects/a%2Fb/tags").json()["message"] == "Project not found"


def test_invalid_input_is_answered_with_its_issues(http: httpx.Client) -> None:
    issue = {"message": "Expected an integer between 1 and 120", "path": ["limit"]}
    body = {"message": "Input validation failed", "code": "BAD_REQUEST", "issues": [issue]}
    answer = http.get("/projects/p1/tags?limit=0")
    assert (answer.status_code, list(answer.json()), answer.json()) == (400, list(body), body)


def test_a_unique_constraint_is_answered_with_its_raw_text(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    server.reset(seed={"projects": [{"id": "p1", "tags": ["gpu"]}]}, switches={"add-existing": "500"})
    answer = add(http, "gpu")
    assert (answer.status_code, list(answer.json())) == (500, ["message", "code"])
    assert answer.json()["message"].startswith("duplicate key value violates unique constraint")


def test_rate_limit_headers_are_sent_if_switched_on(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    assert not [name for name in http.get("/projects").headers if "ratelimit" in name]
    server.reset(switches={"rate-limit-headers": "sent"})
    for path in ("/projects", "/projects/nope"):
        assert http.get(path).headers["x-ratelimit-limit"] == "600"


def test_a_deleted_project_is_listed_but_not_found_by_id(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("p2", dtDeleted="2026-01-01T00:00:00.000Z")
    server.paperspace.delete_project("p1")
    assert {p["id"] for p in http.get("/projects").json()["items"] if p["dtDeleted"]} == {"p1", "p2"}
    assert add(http, "x").status_code == 404
    with pytest.raises(KeyError):
        server.paperspace.delete_project("nope")


def test_a_project_that_was_created_deleted_is_listed_too(http: httpx.Client, server: LocalPaperspaceServer) -> None:
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


VALID_OPTIONS: dict[str, list[Any]] = {
    "at": [1, 7],
    "times": [0, 3],
    "method": [None, "GET", "POST", "DELETE"],
    "path": ["", "/tags"],
    "retry_after": [None, 0, 1, 1.5, "3", "Wed, 21 Oct 2026 07:28:00 GMT"],
    "seconds": [0, 1, 0.5],
    "applied": [True, False],
}
INVALID_OPTIONS: dict[str, list[Any]] = {
    "at": [0, -1, 1.5, "2", None, True],
    "times": [-1, 1.5, "2", None, False],
    "method": ["PUT", "get", "", 7],
    "path": [None, 7, b"/tags", ["/tags"]],
    "retry_after": [True, -1, float("nan"), float("inf"), [], "a\r\nb: c", "é"],
    "seconds": [None, "1", -1, float("nan"), True],
    "applied": [None, 1, "true"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in VALID_OPTIONS.items() for value in values]
)
def test_each_option_of_a_fault_takes_each_of_its_types(
    http: httpx.Client, server: LocalPaperspaceServer, option: str, value: Any
) -> None:
    server.fault("429", **{"path": "/projects", option: value})
    answers = [http.get("/projects/p1/tags") for _ in range(8)]
    expected = {"at": value, "method": 1 if value in (None, "GET") else 0}.get(option, 1)
    statuses = [answer.status_code for answer in answers]
    assert statuses.index(429) + 1 == expected if expected else 429 not in statuses
    assert set(statuses) <= {200, 429}
    if option == "retry_after":
        assert answers[0].headers.get("retry-after") == (None if value is None else str(value))


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in INVALID_OPTIONS.items() for value in values]
)
def test_an_option_of_a_fault_with_a_wrong_value_is_refused(
    server: LocalPaperspaceServer, option: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"^Fault '429': {option} is .*; it must be "):
        server.fault("429", **{option: value})


class FirstError(logging.Handler):
    """Waits for the first error: the server may log it after it has answered."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._logged = threading.Event()
        self._text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self._text = self._text or logging.Formatter().format(record)
        self._logged.set()

    def wait(self) -> str:
        assert self._logged.wait(60)
        return self._text


def test_a_bug_of_the_server_is_logged_and_recorded(
    http: httpx.Client, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, error = logging.getLogger("uvicorn.error"), FirstError()
    log.addHandler(error)
    try:
        monkeypatch.setattr(server.paperspace, "list_tags", lambda *_: 1 / 0)
        assert http.get("/projects/p1/tags").status_code == 500
        assert "ZeroDivisionError" in error.wait()
    finally:
        log.removeHandler(error)
    assert [request.status for request in server.requests] == [500]


def page(server: LocalPaperspaceServer) -> httpx.Response:
    return httpx.get(server.url.removesuffix("/v1") + "/", trust_env=False)


def test_the_page_shows_projects_tags_and_requests(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    server.paperspace.add_project("p2", "two", ["<b>bold</b>"])
    server.paperspace.delete_project("p2")
    add(http, "<i>")
    shown = page(server)
    assert shown.headers["content-type"].startswith("text/html")
    assert "2 projects." in shown.text
    for text in (
        "p1",
        "one",
        "gpu",
        "two (deleted 20",
        "&lt;b&gt;bold&lt;/b&gt;",
        "POST /projects/p1/tags",
        "&lt;i&gt;",
    ):
        assert text in shown.text
    assert "<b>bold" not in shown.text
    assert API_KEY not in shown.text
    assert len(server.requests) == 1, "looking is not counted"


def test_the_page_shows_the_last_twenty_requests(http: httpx.Client, server: LocalPaperspaceServer) -> None:
    assert "none" in page(server).text
    assert "1 project." in page(server).text
    for number in range(30):
        http.get(f"/projects/number-{number}")
    shown = page(server).text
    assert [number for number in range(30) if f"number-{number}<" in shown] == list(range(10, 30))
    assert shown.index("number-29<") < shown.index("number-10<")


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
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    assert parse_fault(f"503:retry_after={date},times=2") == Fault("503", times=2, retry_after=date)
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
        ({"project": []}, "unknown key 'project' in the seed. Known keys: team, user, projects, foreignProjects"),
        ({"projects": [{"id": "p", "tag": []}]}, "unknown key 'tag' in a project. Known keys: id, name, tags"),
        ({"foreignProjects": [{"id": "p", "tag": []}]}, "unknown key 'tag' in a project"),
        ({"projects": [{"id": "p", "tags": [{"name": "a", "id": 1}]}]}, "unknown key 'id' in a tag. Known keys: name"),
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
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
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
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")


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
