"""Text from the service in messages and logs: whatever it sends, they stay small and on one line."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace import _quoting
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api._messages import Flow, Response
from airflow_provider_paperspace.api._pages import Pager
from airflow_provider_paperspace.api.errors import (
    ApiError,
    ConcurrentWriteError,
    PaperspaceError,
    ServerError,
    TagNotFoundError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.api.models import TagChange
from airflow_provider_paperspace.api.project_tags import converge_project_tags, list_project_tags, page_project_tags
from airflow_provider_paperspace.api.projects import get_session, page_projects, resolve_project_id
from airflow_provider_paperspace.api.settings import ClientSettings
from tests.clients import AsyncClient, Client, SyncClient
from tests.conversation import answer, converse, lost, page, refusal, tag
from tests.raw_server import http, raw_server
from tests.secret_watch import API_KEY

MEGABYTES = 3_000_000
FORGED = "x\n[2026-11-24 15:30:00] ERROR - forged\r\x1b[31m\x85\u2028\u2029\x00"
LONG = "x" * MEGABYTES
ESCAPED_AT_LENGTH = "\U000e0001" * MEGABYTES  # ten characters each, once escaped

TEXTS = {"forged line": FORGED, "3 MB": LONG, "3 MB to escape": ESCAPED_AT_LENGTH}
NAMES = {"forged line": FORGED, "30 KB": LONG[:30_000], "30 KB to escape": ESCAPED_AT_LENGTH[:30_000]}


def body(**fields: Any) -> bytes:
    return json.dumps({"code": "CODE", "message": "why", **fields}).encode()


BODIES = {
    **{f"code: {name}": body(code=text) for name, text in TEXTS.items()},
    **{f"message: {name}": body(message=text) for name, text in TEXTS.items()},
    **{f"details: {name}": body(details={"field": [text]}) for name, text in TEXTS.items()},
    **{f"key of details: {name}": body(details={text: 1}) for name, text in TEXTS.items()},
    "details: many": body(details=[{"field": number} for number in range(100_000)]),
    "details: deep": body(details=None).replace(b"null", b"[" * 700 + b"]" * 700),
    "issues: 3 MB": body(issues=[LONG]),
    "HTML: 3 MB": b"<html>\n<body>\n" + b"<p>Bad gateway</p>\n" * (MEGABYTES // 20),
    "HTML: one word": b"<html>" + b"x" * MEGABYTES,
    "HTML: control characters": f"<html>{FORGED}</html>".encode(),
    "bytes": bytes(range(256)) * 10_000,
}


def assert_is_one_short_line(text: str, max_chars: int = 5_000) -> None:
    assert text.isprintable(), text[:300]
    assert len(text) <= max_chars


def assert_is_harmless(error: PaperspaceError) -> None:
    for text in (str(error), repr(error), error.problem, *error.notes, str(error.args)):
        assert_is_one_short_line(text)
    if isinstance(error, ApiError):
        assert_is_one_short_line(error.code)
        assert_is_one_short_line(error.message)
        assert len(json.dumps(error.details)) <= 2_100


@pytest.mark.parametrize("status", [400, 404, 429, 503])
@pytest.mark.parametrize("name", BODIES)
def test_an_error_stays_small_and_on_one_line(name: str, status: int) -> None:
    error = ApiError.of(status, BODIES[name], subject="Project 'p'", action="read it")
    assert_is_harmless(error)
    pickled = pickle.dumps(error)
    assert len(pickled) < 20_000
    copy = pickle.loads(pickled)  # noqa: S301  # our own bytes
    assert (str(copy), vars(copy)) == (str(error), vars(error))
    error.redact(API_KEY)
    assert str(copy) == str(error)


@given(code=st.text(), message=st.text(), details=st.dictionaries(st.text(), st.text()))
def test_no_text_breaks_the_line(code: str, message: str, details: dict[str, str]) -> None:
    assert_is_harmless(ApiError.of(500, body(code=code, message=message, details=details)))


def test_the_beginning_of_a_long_text_is_kept() -> None:
    error = ApiError.of(400, body(code="C" * 300, message="m" * 300, details=["d" * 3_000]))
    assert error.code == "C" * 200 + "…"
    assert error.message == "m" * 200 + "…"
    assert isinstance(error.details, str)
    assert error.details.startswith('["ddd')
    assert "'" + "m" * 200 + "…'" in str(error)


@pytest.mark.parametrize("kind", [SyncClient, AsyncClient], ids=["sync", "async"])
@pytest.mark.parametrize("name", ["code: forged line", "message: 3 MB", "details: 3 MB", "HTML: 3 MB"])
def test_an_answer_leaves_a_small_log(kind: type[Client], name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with raw_server(http(BODIES[name], "503 Service Unavailable")) as server:
        settings = ClientSettings(api_key=API_KEY, base_url=f"{server.url}/v1", timeout_s=30, max_attempts=2)
        with kind(settings) as client, pytest.raises(ServerError) as caught:
            client.list("p")
    assert_is_harmless(caught.value)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider")]
    assert len(lines) >= 3, "two attempts and a retry"
    for line in lines:
        assert_is_one_short_line(line, 300)


@pytest.mark.parametrize("kind", [SyncClient, AsyncClient], ids=["sync", "async"])
def test_a_long_cursor_leaves_a_small_log(kind: type[Client], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with raw_server(http(page(next_page="x" * 4_000).body)) as server:
        settings = ClientSettings(api_key=API_KEY, base_url=f"{server.url}/v1", timeout_s=30)
        with kind(settings) as client, pytest.raises(UnexpectedResponseError, match="a second time"):
            client.list("p")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider")]
    assert len(lines) == 2, "both pages"
    for line in lines:
        assert_is_one_short_line(line, 300)


def set_to(*names: str, within: str | None = None) -> Flow[TagChange]:
    return converge_project_tags("p", policies.setting(names, within=within))


def second_page(pager: Pager[Any]) -> Flow[Any]:
    yield from pager.next_page()
    return (yield from pager.next_page())


def projects(*named: tuple[str, str]) -> Response:
    items = [{"id": id_, "name": name, "dtCreated": "d"} for id_, name in named]
    return answer({"hasMore": False, "items": items, "nextPage": None})


CONVERSATIONS: dict[str, Callable[[str], tuple[Flow[Any], list[Any]]]] = {
    "similar tags": lambda text: (
        converge_project_tags("p", policies.adding("x" + text)),
        [page(), refusal(409), page(f" x{text}")],
    ),
    "another tag in the answer": lambda text: (
        converge_project_tags("p", policies.adding("a")),
        [page(), answer(tag(text)), page()],
    ),
    "tags of another writer": lambda text: (
        set_to("stage:a", within="stage:"),
        [page(), answer(tag("stage:a")), page(f"stage:{text}")],
    ),
    "tags of another writer, without a prefix": lambda text: (set_to(), [page("a"), answer(tag("a")), page(text)]),
    "tags that were removed before": lambda text: (
        set_to(),
        [page(text, "b"), answer(tag(text)), refusal(403)],
    ),
    "a tag that cannot be removed": lambda text: (set_to(), [page(text), refusal(403)]),
    "a tag whose removal is unsettled": lambda text: (set_to(), [page(text), lost(), refusal(403)]),
    "missing tags": lambda text: (converge_project_tags("p", policies.removing(text, missing_ok=False)), [page()]),
    "similar projects": lambda text: (resolve_project_id("x" + text), [projects(("p", f" x{text}"))]),
    "ids of projects": lambda text: (resolve_project_id("n"), [projects((text, "n"), (f"{text}2", "n"))]),
    "an id of a project": lambda text: (list_project_tags(text), [refusal(404)]),
    "a cursor": lambda text: (
        second_page(page_project_tags("p")),
        [page("a", next_page=text), page("b", next_page=text)],
    ),
    "an address": lambda text: (get_session(), [Response(302, {"location": f"https://{text}/"}, b"")]),
    "a cursor of projects": lambda text: (
        second_page(page_projects()),
        [answer({"hasMore": True, "items": [], "nextPage": text})] * 2,
    ),
}


@pytest.mark.parametrize("text", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_a_name_in_an_error_is_quoted_and_cut(conversation: str, text: str) -> None:
    flow, answers = CONVERSATIONS[conversation](text)
    with pytest.raises(PaperspaceError) as caught:
        converse(flow, *answers)
    assert_is_harmless(caught.value)


@pytest.mark.parametrize("text", NAMES.values(), ids=NAMES)
def test_a_name_in_the_log_is_quoted_and_cut(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        converse(set_to(), page(text), answer(tag(text)), page())
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider")]
    assert line.startswith("Project 'p': removed '")
    assert_is_one_short_line(line)


def test_many_names_are_counted() -> None:
    names = [f"tag-{number}" for number in range(1_234)]
    for error in (
        TagNotFoundError(tuple(names)),
        _raised(set_to(), page("a"), answer(tag("a")), page(*names)),
        _raised(set_to(), page(*names), *[answer(tag(name)) for name in names[:-1]], refusal(403)),
        _raised(resolve_project_id("n"), projects(*[(name, "n") for name in names])),
    ):
        assert_is_one_short_line(str(error), 1_000)
        assert "'tag-0', 'tag-1'" in str(error)
        assert "'tag-19' and 1,21" in str(error)
    assert len(_raised(set_to(), page("a"), answer(tag("a")), page(*names)).names) == 1_234


def _raised(flow: Flow[Any], *answers: Any) -> Any:
    with pytest.raises(PaperspaceError) as caught:
        converse(flow, *answers)
    return caught.value


def test_a_concurrent_write_names_the_tags_in_full() -> None:
    error = _raised(set_to(), page("a"), answer(tag("a")), page(FORGED))
    assert isinstance(error, ConcurrentWriteError)
    assert error.names == (FORGED,)
    assert r"another writer added 'x\n[2026-11-24 15:30:00] ERROR - forged\r\x1b[31m" in str(error)


@given(st.text())
def test_a_short_text_is_quoted_as_it_is(text: str) -> None:
    assert _quoting.quoted(text[:200]) == repr(text[:200])
    assert _quoting.printable(text[:200]) == repr(f"'\"{text[:200]}")[4:-1].replace(r"\'", "'").replace(r"\\", "\\")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "'a'"),
        (["a", "b"], "'a', 'b'"),
        (["a"] * 20, ", ".join(["'a'"] * 20)),
        (["a"] * 21, ", ".join(["'a'"] * 20) + " and 1 more"),
    ],
)
def test_a_list_of_names_ends_after_twenty(names: list[str], text: str) -> None:
    assert _quoting.quoted_list(names) == text
    assert _quoting.quoted_list(iter(names)) == text
