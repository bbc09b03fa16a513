from __future__ import annotations

import json
import pickle

import pytest

from airflow_provider_paperspace.api import errors
from airflow_provider_paperspace.api.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    NotFoundError,
    PaperspaceError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TagNotFoundError,
    TransportError,
    UnexpectedResponseError,
    api_error,
)

BODY = json.dumps({"code": "CODE", "message": "why", "details": {"a": 1}}).encode()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ApiError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (408, ApiError),
        (409, ConflictError),
        (413, ApiError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (599, ServerError),
    ],
)
def test_the_status_decides_the_class(status: int, kind: type[ApiError]) -> None:
    error = api_error(status, BODY)
    assert type(error) is kind
    assert (error.status, error.code, error.message, error.details) == (status, "CODE", "why", {"a": 1})
    assert error.advice


def test_a_message_says_what_happened_to_what_through_what_and_what_to_do() -> None:
    error = api_error(403, BODY, subject="Project 'p'", action="add tag 'gpu'", attempts=3)
    error.connection = "paperspace_default"
    error.notes.append("Before that, 'a' added well.")
    assert str(error) == (
        "Project 'p': could not add tag 'gpu': the service answered 403 CODE, 'why', details {\"a\": 1} "
        "(connection 'paperspace_default', 3 attempts). Before that, 'a' added well. "
        "The key's user may not do this. Team members can be refused on projects that they did not make: "
        "use the key of the project's owner or of a team admin."
    )
    assert repr(error) == f"PermissionDeniedError({str(error)!r})"


def test_the_issues_of_older_servers_stand_in_for_details() -> None:
    error = api_error(400, b'{"code": "BAD_REQUEST", "message": "m", "issues": [{"message": "limit"}]}')
    assert error.details == [{"message": "limit"}]
    assert "limit" in str(error)


@pytest.mark.parametrize("body", [b"<html>\n <title>Bad  Gateway</title>", b"", b"null", b'"text"', b"[" * 100_000])
def test_an_error_body_that_is_no_object_is_shown_by_its_beginning(body: bytes) -> None:
    error = api_error(502, body)
    assert (error.code, error.details) == ("", None)
    assert len(error.message) <= 201
    assert str(error).startswith("the service answered 502")


def test_fields_of_other_types_are_passed_over() -> None:
    error = api_error(500, b'{"code": 7, "message": ["x"]}')
    assert (error.code, error.message) == ("", "")


def test_a_secret_is_blanked_wherever_it_was_echoed() -> None:
    error = api_error(400, b'{"code": "C", "message": "Bearer KEY", "details": {"KEY": ["KEY", 7, null]}}')
    error.notes.append("KEY")
    error.without("KEY")
    assert "KEY" not in f"{error} {error!r} {vars(error)} {error.args}"
    assert error.details == {"***": ["***", 7, None]}


@pytest.mark.parametrize(
    "error",
    [
        TransportError("no answer", subject="Project 'p'", action="list its tags", at_s=7.0),
        UnexpectedResponseError("odd"),
        TagNotFoundError(("a", "b"), subject="Project 'p'", action="remove tags"),
        api_error(429, BODY, retry_after_s=3.0),
    ],
)
def test_an_error_survives_a_pickle_as_executors_need_it(error: PaperspaceError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copy) is type(error)
    assert (str(copy), vars(copy), copy.args) == (str(error), vars(error), error.args)


def test_the_tree_is_as_drawn() -> None:
    drawn = {
        line.split()[-1] if "──" not in line else line.split("── ")[1].split()[0]
        for line in (errors.__doc__ or "").split("::\n")[1].split("A message")[0].splitlines()
        if line.strip()
    }
    real = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PaperspaceError)}
    assert drawn == real
