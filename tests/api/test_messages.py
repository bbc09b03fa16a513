"""Answers: read as the value that was asked for, or as the error that they stand for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api._messages import (
    MalformedAnswerError,
    Request,
    Response,
    encoded,
    error_of,
    json_field,
    load_json,
    optional_text,
    parse_answer,
)
from airflow_provider_paperspace.api.errors import (
    ApiError,
    NotFoundError,
    PaperspaceError,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)
from tests.conversation import answer, refusal

REQUEST = Request("GET", "/projects/p", "Project 'p'", "read it")


def parse_name(body: bytes) -> str:
    return json_field(load_json(body), "name", str, "a project")


def test_a_success_is_parsed() -> None:
    assert parse_answer(REQUEST, answer({"name": "n"}), parse_name) == "n"
    assert parse_answer(REQUEST, answer({"name": "n"}, 201), parse_name) == "n"


@pytest.mark.parametrize(
    ("response", "kind", "text"),
    [
        (refusal(404), NotFoundError, "could not read it: the service answered 404"),
        (refusal(500, attempts=5), ServerError, "5 attempts"),
        (refusal(418), ApiError, "418"),
        (answer({"id": 7}), UnexpectedResponseError, "API specification: 'name' of a project is missing"),
        (Response(200, {}, b"{"), UnexpectedResponseError, "it is not JSON"),
        (Response(200, {}, b"x" * 9, complete=False), UnexpectedResponseError, "larger than the limit of 9 bytes"),
        (
            Response(302, {"location": "https://evil.example/x?y"}, b""),
            UnexpectedResponseError,
            "302, a redirect to 'evil.example'; refusing to send the API key there.*Check the base URL",
        ),
        (
            Response(302, {"location": "http://[x/"}, b""),
            UnexpectedResponseError,
            "302, a redirect. Check the base URL",
        ),
        (
            Response(302, {"location": "/elsewhere"}, b""),
            UnexpectedResponseError,
            "302, a redirect. Check the base URL",
        ),
        (Response(304, {}, b""), UnexpectedResponseError, "304, a redirect. Check the base URL"),
        (refusal(429, retry_after_s=3600.0), RateLimitError, "asked the client to wait 3600 s, until 20.* UTC"),
    ],
)
def test_any_other_answer_raises_its_error(response: Response, kind: type[PaperspaceError], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        parse_answer(REQUEST, response, parse_name)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("Project 'p': could not read it: ")
    assert caught.value.__cause__ is None


def test_an_error_carries_what_the_answer_said() -> None:
    error = error_of(REQUEST, refusal(503, attempts=2, retry_after_s=9.0))
    assert isinstance(error, ServerError)
    assert (error.attempts, error.retry_after_s, error.code, error.message) == (2, 9.0, "CODE_503", "no")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"<html>", b"[" * 100_000])
def test_a_body_that_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedAnswerError, match="it is not JSON"):
        load_json(body)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({}, "'n' of a thing is missing"),
        ({"n": None}, "'n' of a thing is null"),
        ({"n": "7"}, "'n' of a thing is a string"),
        ({"n": True}, "'n' of a thing is a boolean"),
        ({"n": 7.5}, "'n' of a thing is not a whole number"),
        ({"n": [7]}, "'n' of a thing is a list"),
        ({"n": {}}, "'n' of a thing is an object"),
        ([], "a thing is a list, not an object"),
        ("n", "a thing is a string, not an object"),
        (None, "a thing is null, not an object"),
        (7, "a thing is a number, not an object"),
    ],
)
def test_a_wrong_field_is_named(value: object, complaint: str) -> None:
    with pytest.raises(MalformedAnswerError, match=complaint):
        json_field(value, "n", int, "a thing")


@pytest.mark.parametrize(("value", "text"), [({}, None), ({"n": None}, None), ({"n": ""}, ""), ({"n": "x"}, "x")])
def test_an_optional_text_may_be_missing_or_null(value: dict[str, Any], text: str | None) -> None:
    assert optional_text(value, "n", "a thing") == text


@pytest.mark.parametrize("value", [{"n": 7}, [], None])
def test_an_optional_text_must_be_text_in_an_object(value: object) -> None:
    with pytest.raises(MalformedAnswerError):
        optional_text(value, "n", "a thing")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_encoded_text_is_safe_in_a_url(text: str) -> None:
    assert encoded(text).isascii()
    assert not set("/?#&=+ ") & set(encoded(text))
