from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace import __version__
from airflow_provider_paperspace.api.settings import USER_AGENT, ClientSettings, ca_bundle


@pytest.mark.parametrize(
    ("base_url", "meant"),
    [
        ("https://api.paperspace.com/v1", "https://api.paperspace.com/v1"),
        ("https://api.paperspace.com/v1/", "https://api.paperspace.com/v1"),
        ("https://api.paperspace.com", "https://api.paperspace.com/v1"),
        (" https://api.paperspace.com/ ", "https://api.paperspace.com/v1"),
        ("https://gateway.example.org:8443/paperspace/v1", "https://gateway.example.org:8443/paperspace/v1"),
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787/v1"),
        ("http://localhost:8787/v1", "http://localhost:8787/v1"),
        ("http://paperspace.localhost/v1", "http://paperspace.localhost/v1"),
        ("http://[::1]:8787/v1", "http://[::1]:8787/v1"),
    ],
)
def test_a_base_url_is_the_api_with_its_version(base_url: str, meant: str) -> None:
    assert ClientSettings(api_key="k", base_url=base_url).base_url == meant


@pytest.mark.parametrize(
    ("base_url", "complaint"),
    [
        ("http://api.paperspace.com/v1", "in clear"),
        ("http://10.0.0.1/v1", "in clear"),
        ("http://127.0.0.1.example.org/v1", "in clear"),
        ("http://localhost.example.org/v1", "in clear"),
        ("ftp://api.paperspace.com/v1", "must begin with 'https://'"),
        ("api.paperspace.com/v1", "must begin with 'https://'"),
        ("https://", "must begin with 'https://'"),
        ("", "must begin with 'https://'"),
        (None, "is text"),
        ("https://api.paperspace.com/v1?x=1", "query or a fragment"),
        ("https://api.paperspace.com/v1?", "query or a fragment"),
        ("https://api.paperspace.com/v1#x", "query or a fragment"),
        ("https://api.paperspace.com/v1/../v2", "'..' part"),
        ("https://api.paperspace.com//v1", "empty"),
        ("https://user:pw@api.paperspace.com/v1", "user name or password"),
        ("https://api.paperspace.com:port/v1", "malformed"),
        ("https://[::1/v1", "malformed"),
        ("https://api.paper space.com/v1", "without blanks"),
        ("https://api.paperspace.com/v1\nHost: x", "without blanks"),
    ],
)
def test_a_base_url_that_could_lead_the_key_astray_is_refused(base_url: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ClientSettings(api_key="k", base_url=base_url)


def test_a_password_in_the_base_url_is_not_quoted() -> None:
    with pytest.raises(ValueError, match="user name") as caught:
        ClientSettings(api_key="k", base_url="https://:hunter2@api.paperspace.com/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("api_key", ["", "  \n", None, 7])
def test_a_missing_key_is_refused_with_where_to_make_one(api_key: Any) -> None:
    with pytest.raises(ValueError, match="Team settings > API keys"):
        ClientSettings(api_key=api_key)


@given(st.text(min_size=1).filter(lambda key: key.strip() and not (key.isascii() and key.isprintable())))
def test_a_key_that_no_header_can_carry_is_refused_without_being_quoted(api_key: str) -> None:
    try:
        settings = ClientSettings(api_key=api_key)
    except ValueError as error:
        assert str(error).startswith("The API key holds a blank")  # noqa: PT017  # either end is right
    else:
        assert settings.api_key == api_key.strip()  # blanks around a pasted key are not part of it


def test_blanks_around_a_pasted_key_are_not_part_of_it_and_the_repr_shows_no_key() -> None:
    settings = ClientSettings(api_key=" psk-1\n")
    assert settings.authorization == "Bearer psk-1"
    assert "psk-1" not in repr(settings)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), "30", True, None])
def test_a_timeout_is_a_number_of_seconds_above_zero(timeout_s: Any) -> None:
    with pytest.raises(ValueError, match="timeout"):
        ClientSettings(api_key="k", timeout_s=timeout_s)


@pytest.mark.parametrize("max_attempts", [0, -1, 1.5, "5", True, None])
def test_the_attempts_are_a_whole_number_from_one_up(max_attempts: Any) -> None:
    with pytest.raises(ValueError, match="max_attempts"):
        ClientSettings(api_key="k", max_attempts=max_attempts)


def test_only_a_host_on_this_machine_is_loopback() -> None:
    assert ClientSettings(api_key="k", base_url="http://127.8.9.1").is_loopback
    assert not ClientSettings(api_key="k").is_loopback


def test_the_first_ca_variable_that_is_set_counts() -> None:
    assert ca_bundle({}) is None
    assert ca_bundle({"REQUESTS_CA_BUNDLE": "", "SSL_CERT_FILE": "b.pem", "SSL_CERT_DIR": "d"}) == "b.pem"
    assert ca_bundle({"REQUESTS_CA_BUNDLE": "a.pem", "CURL_CA_BUNDLE": "c.pem"}) == "a.pem"


def test_the_user_agent_names_the_provider_and_its_version() -> None:
    assert f"airflow-provider-paperspace/{__version__}" == USER_AGENT
