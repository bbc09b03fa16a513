"""The budget of a blocking client: all its requests and pauses together end in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api.client import PaperspaceClient
from airflow_provider_paperspace.api.errors import StoppedError, TransportError
from airflow_provider_paperspace.api.models import TagChange
from airflow_provider_paperspace.api.policies import changing
from airflow_provider_paperspace.api.settings import ClientSettings
from tests.conversation import TagStore
from tests.silence import BASE_URL, SilentService

BUDGET_S = 20.0


def settings(*, timeout_s: float = 30.0, max_attempts: int = 5) -> ClientSettings:
    return ClientSettings(api_key="k", base_url=BASE_URL, timeout_s=timeout_s, max_attempts=max_attempts)


@given(answered=st.integers(0, 4), timeout_s=st.floats(0.1, 60), max_attempts=st.integers(1, 9))
def test_a_silent_service_cannot_exceed_the_budget(answered: int, timeout_s: float, max_attempts: int) -> None:
    service, change = SilentService(TagStore(["b"]), answered=answered), TagChange("p")
    with pytest.MonkeyPatch.context() as patch:
        service.serve_blocking(patch)
        started_s = service.clock.now_s
        client_settings = settings(timeout_s=timeout_s, max_attempts=max_attempts)
        with PaperspaceClient(client_settings, budget_s=BUDGET_S) as client:
            if answered < 3:
                with pytest.raises(TransportError):
                    client.converge_project_tags("p", changing(add="a", remove="b"), change)
            else:
                client.converge_project_tags("p", changing(add="a", remove="b"), change)
    assert service.clock.now_s - started_s <= BUDGET_S + 1e-6
    assert all(0 < timeout <= timeout_s for timeout in service.timeouts_s)
    assert change.unsettled == {1: ["a"], 2: ["b"]}.get(answered, [])


def test_the_last_attempt_gets_what_is_left_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 1.0)
    service = SilentService(TagStore(), answered=0)
    service.serve_blocking(monkeypatch)
    with PaperspaceClient(settings(timeout_s=12), budget_s=BUDGET_S) as client, pytest.raises(StoppedError) as caught:
        client.list_project_tags("p")
    assert service.timeouts_s == [12, 7]
    assert service.clock.slept == [1, 0]
    assert "could not list its tags: the time limit for all requests was exceeded" in str(caught.value)


def test_a_pause_ends_with_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_paperspace.api._retries.wait_s", lambda *_: 120.0)
    service = SilentService(TagStore(), answered=0)
    service.serve_blocking(monkeypatch)
    with PaperspaceClient(settings(timeout_s=5), budget_s=BUDGET_S) as client, pytest.raises(StoppedError):
        client.list_project_tags("p")
    assert (service.timeouts_s, service.clock.slept) == ([5], [15])


def test_a_client_without_a_budget_has_all_its_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    service = SilentService(TagStore(), answered=0)
    service.serve_blocking(monkeypatch)
    with PaperspaceClient(settings()) as client, pytest.raises(TransportError, match="timed out after 30 s") as caught:
        client.list_project_tags("p")
    assert service.timeouts_s == [30] * 5
    assert caught.value.attempts == 5


def test_a_budget_that_is_used_up_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    service = SilentService(TagStore(), answered=9)
    service.serve_blocking(monkeypatch)
    with PaperspaceClient(settings(), budget_s=0.0) as client, pytest.raises(StoppedError):
        client.add_project_tags("p", "a")
    assert service.sent == []
