"""When the service asks for a long wait: nobody sits it out, and the error says when to come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import ApiError, RateLimitError, ServerError
from airflow_provider_paperspace.api.models import TagChange
from airflow_provider_paperspace.api.project_tags import converge_project_tags
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.clients import Client
from tests.conversation import answer, converse, page, refusal, tag

HOUR_S = 3600.0

CALLS: dict[str, Callable[[Client], Any]] = {
    "list": lambda client: client.list("p1"),
    "add": lambda client: client.add("p1", "new"),
    "remove": lambda client: client.remove("p1", "gpu"),
    "set": lambda client: client.set("p1", "new", within=None),
    "resolve": lambda client: client.resolve("one"),
    "session": lambda client: client.session(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("kind", "error"), [("429", RateLimitError), ("503", ServerError)])
def test_a_long_wait_is_raised_after_one_request(
    kind: str, error: type[ApiError], call: str, client: Client, server: LocalPaperspaceServer
) -> None:
    server.fault(kind, times=0, retry_after=HOUR_S)
    with pytest.raises(error, match=r"asked the client to wait 3600 s, until 20.* UTC\. Try again then") as caught:
        CALLS[call](client)
    assert (caught.value.retry_after_s, caught.value.is_for_later, caught.value.attempts) == (HOUR_S, True, 1)
    assert (client.slept, len(server.requests)) == ([], 1)


def test_a_wait_that_a_task_can_sit_out_is_slept(client: Client, server: LocalPaperspaceServer) -> None:
    server.fault("429", retry_after=120)
    assert client.list("p1") == ["gpu"]
    assert sum(client.slept) == pytest.approx(120)


def test_a_long_wait_after_a_short_one_is_raised(client: Client, server: LocalPaperspaceServer) -> None:
    server.fault("429", retry_after=2)
    server.fault("429", at=2, retry_after=HOUR_S)
    with pytest.raises(RateLimitError, match="2 attempts") as caught:
        client.list("p1")
    assert caught.value.retry_after_s == HOUR_S
    assert sum(client.slept) == pytest.approx(2)


def test_a_long_wait_to_one_request_holds_no_other(client: Client, server: LocalPaperspaceServer) -> None:
    server.fault("429", retry_after=HOUR_S)
    with pytest.raises(RateLimitError):
        client.list("p1")
    assert client.list("p1") == ["gpu"]
    assert client.slept == []


@pytest.mark.parametrize("kind", ["429", "503"])
def test_what_was_written_before_a_long_wait_is_in_the_record(
    kind: str, client: Client, server: LocalPaperspaceServer
) -> None:
    server.fault(kind, method="POST", at=2, retry_after=HOUR_S)
    change = TagChange("p1")
    with pytest.raises(ApiError, match=r"Already added: 'x'\. Try again then") as caught:
        client.converge("p1", policies.adding(["x", "y"]), change)
    assert caught.value.retry_after_s == HOUR_S
    assert ([added.name for added in change.added], change.unsettled) == (["x"], [])
    assert client.slept == []


LATER = refusal(503, retry_after_s=HOUR_S)


class TestWriting:
    """A write that was answered with a long wait is read once, and not sent again."""

    def test_a_refused_write_is_not_resent(self) -> None:
        with pytest.raises(ServerError, match="asked the client to wait 3600 s") as caught:
            converse(converge_project_tags("p", policies.adding("a")), page(), LATER, page())
        assert caught.value.is_for_later

    def test_a_write_that_took_effect_is_ours(self) -> None:
        change, requests = converse(converge_project_tags("p", policies.adding("a")), page(), LATER, page("a"))
        assert ([added.name for added in change.added], len(requests)) == (["a"], 3)

    def test_a_write_whose_outcome_cannot_be_read_is_unsettled(self) -> None:
        change = TagChange("p")
        with pytest.raises(ServerError, match="Unknown whether the attempt to add tag 'a' took effect") as caught:
            converse(converge_project_tags("p", policies.adding("a"), change), page(), LATER, LATER)
        assert (change.unsettled, caught.value.is_for_later) == (["a"], True)

    def test_a_short_wait_is_left_to_the_client(self) -> None:
        answers = [page(), refusal(503, retry_after_s=120.0), page(), answer(tag("a"))]
        _, requests = converse(converge_project_tags("p", policies.adding("a")), *answers)
        assert (requests[-1].attempt, requests[-1].retry_after_s) == (2, 120.0)
