"""The error tree: classes, messages, what is permanent, redaction and pickling."""

from __future__ import annotations

import json
import pickle
import re
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_paperspace.api import errors
from airflow_provider_paperspace.api.errors import (
    ApiError,
    AuthenticationError,
    ConcurrentWriteError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PaperspaceError,
    PermissionDeniedError,
    ProjectNameError,
    RateLimitError,
    ServerError,
    StoppedError,
    TagNotFoundError,
    TransportError,
    UnexpectedResponseError,
    wait_text,
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
    error = ApiError.of(status, BODY)
    assert type(error) is kind
    assert (error.status, error.code, error.message, error.details) == (status, "CODE", "why", {"a": 1})
    assert error.advice


@pytest.mark.parametrize(
    ("status", "is_permanent"),
    [
        *[(status, True) for status in (400, 401, 403, 404, 405, 412, 413, 422)],
        *[(status, False) for status in (408, 409, 425, 429, 499, 500, 501, 502, 503, 504, 599)],
    ],
)
def test_the_status_decides_what_is_permanent(status: int, is_permanent: bool) -> None:
    assert ApiError.of(status, BODY).is_permanent is is_permanent


@pytest.mark.parametrize(
    ("error", "is_permanent"),
    [
        (InvalidArgumentError("The project id is empty."), True),
        (TagNotFoundError(("a",)), True),
        (ConcurrentWriteError("another writer added 'b' at the same time", ("b",)), False),
        (ProjectNameError("no project has this name"), True),
        (TransportError("reset"), False),
        (StoppedError("stopped"), False),
        (UnexpectedResponseError("odd"), False),
        (PaperspaceError("odd"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_some_other_errors_are_permanent(error: PaperspaceError, is_permanent: bool) -> None:
    assert error.is_permanent is is_permanent


def test_a_message_has_a_subject_a_cause_and_advice() -> None:
    error = ApiError.of(403, BODY, subject="Project 'p'", action="add tag 'gpu'", attempts=3)
    error.connection = "paperspace_default"
    error.notes.append("Already added: 'a'.")
    assert str(error) == (
        "Project 'p': could not add tag 'gpu': the service answered 403 CODE, 'why', details {\"a\": 1} "
        "(connection 'paperspace_default', 3 attempts). Already added: 'a'. "
        "The key's user is not allowed to do this. Team members may have no access to projects that they did not "
        "create: "
        "use the API key of the project's owner or of a team admin."
    )
    assert repr(error) == f"PermissionDeniedError({str(error)!r})"


def test_a_bad_argument_has_a_message_of_its_own() -> None:
    error = InvalidArgumentError("The project id is empty.")
    error.connection = "paperspace_default"
    assert str(error) == "The project id is empty."
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("seconds", "note"),
    [
        (None, r""),
        (7.0, r"The service asked the client to wait 7 s, until 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\."),
        (3600.0, r"The service asked the client to wait 3600 s, until 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\."),
    ],
)
def test_an_error_tells_how_long_to_wait(seconds: float | None, note: str) -> None:
    error = ApiError.of(429, BODY, retry_after_s=seconds)
    assert error.retry_after_s == seconds
    assert re.fullmatch(note, "".join(error.notes))
    assert "".join(error.notes) in str(error)


def test_a_wait_is_told_in_seconds_and_as_an_instant_in_utc() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    seconds, _, instant = wait_text(3600).removesuffix(" UTC").partition(" s, until ")
    told = datetime.fromisoformat(f"{instant}+00:00")
    assert (seconds, before + timedelta(hours=1) <= told <= datetime.now(UTC) + timedelta(hours=1)) == ("3600", True)


@pytest.mark.parametrize(
    ("status", "seconds", "is_for_later"),
    [
        (429, None, False),
        (429, 0.0, False),
        (429, 120.0, False),
        (429, 120.5, True),
        (503, 3600.0, True),
        (404, 3600.0, False),
    ],
)
def test_a_wait_of_more_than_two_minutes_is_for_later(status: int, seconds: float | None, is_for_later: bool) -> None:
    error = ApiError.of(status, BODY, retry_after_s=seconds)
    assert error.is_for_later is is_for_later
    assert (
        str(error).endswith("Try again then; before that, the service would refuse the request again.") is is_for_later
    )


def test_only_an_error_of_the_service_asks_for_a_wait() -> None:
    error = TransportError("reset")
    assert (error.retry_after_s, error.is_for_later) == (None, False)


def test_the_issues_of_older_servers_become_details() -> None:
    error = ApiError.of(400, b'{"code": "BAD_REQUEST", "message": "m", "issues": [{"message": "limit"}]}')
    assert error.details == [{"message": "limit"}]
    assert "limit" in str(error)


@pytest.mark.parametrize("body", [b"<html>\n <title>Bad  Gateway</title>", b"", b"null", b'"text"', b"[" * 100_000])
def test_a_body_that_is_not_an_object_is_quoted_in_part(body: bytes) -> None:
    error = ApiError.of(502, body)
    assert (error.code, error.details) == ("", None)
    assert len(error.message) <= 201
    assert str(error).startswith("the service answered 502")


def test_long_details_are_shortened() -> None:
    error = ApiError.of(400, json.dumps({"code": "C", "message": "m", "details": ["x" * 1_000]}).encode())
    assert "x" * 190 in str(error)
    assert "x" * 200 not in str(error)


def test_error_fields_of_other_types_are_ignored() -> None:
    error = ApiError.of(500, b'{"code": 7, "message": ["x"]}')
    assert (error.code, error.message) == ("", "")


def test_redact_replaces_the_secret_everywhere() -> None:
    error = ApiError.of(400, b'{"code": "C", "message": "Bearer KEY", "details": {"KEY": ["KEY", 7, null]}}')
    error.notes.append("KEY")
    error.redact("KEY")
    assert "KEY" not in f"{error} {error!r} {vars(error)} {error.args}"
    assert error.details == {"***": ["***", 7, None]}


@pytest.mark.parametrize(
    "error",
    [
        TransportError("no answer", subject="Project 'p'", action="list its tags", at_s=7.0, max_attempts=5),
        UnexpectedResponseError("odd"),
        InvalidArgumentError("The project id is empty."),
        TagNotFoundError(("a", "b"), subject="Project 'p'", action="remove tags"),
        ConcurrentWriteError(
            "another writer added 'b' at the same time", ("b",), subject="Project 'p'", action="set its tags"
        ),
        ProjectNameError("2 projects have this name", ("p", "q"), subject="Project named 'n'", action="find it"),
        ApiError.of(429, BODY, retry_after_s=3.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling(error: PaperspaceError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copy) is type(error)
    assert (str(copy), vars(copy), copy.args) == (str(error), vars(error), error.args)
    assert copy.is_permanent is error.is_permanent


def test_an_unknown_outcome_survives_pickling() -> None:
    error = TransportError("reset")
    assert not error.is_outcome_unknown
    error.is_outcome_unknown = True
    assert pickle.loads(pickle.dumps(error)).is_outcome_unknown  # noqa: S301  # our own bytes


def test_the_docstring_draws_the_real_tree() -> None:
    drawn = {
        line.split()[-1] if "──" not in line else line.split("── ")[1].split()[0]
        for line in (errors.__doc__ or "").split("::\n")[1].split("A message")[0].splitlines()
        if line.strip()
    }
    real = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PaperspaceError)}
    assert drawn == real
