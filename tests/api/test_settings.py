"""Settings: where the API key may be sent, and how patiently."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace import __version__
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.settings import USER_AGENT, ClientSettings, ca_variable


@pytest.mark.parametrize(
    ("base_url", "normalised"),
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
def test_a_base_url_gets_its_version(base_url: str, normalised: str) -> None:
    assert ClientSettings(api_key="k", base_url=base_url).base_url == normalised


@pytest.mark.parametrize(
    ("base_url", "complaint"),
    [
        ("http://api.paperspace.com/v1", "in clear text"),
        ("http://10.0.0.1/v1", "in clear text"),
        ("http://127.0.0.1.example.org/v1", "in clear text"),
        ("http://localhost.example.org/v1", "in clear text"),
        ("ftp://api.paperspace.com/v1", "must start with 'https://'"),
        ("api.paperspace.com/v1", "must start with 'https://'"),
        ("https://", "must start with 'https://'"),
        ("", "must start with 'https://'"),
        (None, "must be a string"),
        ("https://api.paperspace.com/v1?x=1", "query or a fragment"),
        ("https://api.paperspace.com/v1?", "query or a fragment"),
        ("https://api.paperspace.com/v1#x", "query or a fragment"),
        ("https://api.paperspace.com/v1/../v2", "'..' part"),
        ("https://api.paperspace.com//v1", "an empty, '.' or '..' part"),
        ("https://user:pw@api.paperspace.com/v1", "user name or password"),
        ("https://api.paperspace.com:port/v1", "malformed"),
        ("https://[::1/v1", "malformed"),
        ("https://api.paper space.com/v1", "must be a string such as"),
        ("https://api.paperspace.com/v1\nHost: x", "must be a string such as"),
    ],
)
def test_an_unsafe_base_url_is_refused(base_url: Any, complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        ClientSettings(api_key="k", base_url=base_url)


def test_a_password_in_the_base_url_is_not_quoted() -> None:
    with pytest.raises(InvalidArgumentError, match="user name") as caught:
        ClientSettings(api_key="k", base_url="https://:hunter2@api.paperspace.com/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("api_key", ["", "  \n", None, 7])
def test_an_empty_key_is_refused(api_key: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="Team settings > API keys"):
        ClientSettings(api_key=api_key)


@given(st.text(min_size=1).filter(lambda key: key.strip() and not (key.isascii() and key.isprintable())))
def test_an_unsendable_key_is_refused_and_not_quoted(api_key: str) -> None:
    try:
        settings = ClientSettings(api_key=api_key)
    except InvalidArgumentError as error:
        expected = "The API key contains a space, a line break or another character that is never part of a key."
        assert str(error) == f"{expected} Copy it again."  # noqa: PT017  # both ends are right
    else:
        assert settings.api_key == api_key.strip()  # blanks around a pasted key are not part of it


def test_a_key_with_a_blank_inside_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="contains a space"):
        ClientSettings(api_key="psk 1")


def test_a_pasted_key_is_stripped_and_not_shown() -> None:
    settings = ClientSettings(api_key=" psk-1\n")
    assert settings.authorization == "Bearer psk-1"
    assert "psk-1" not in repr(settings)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), "30", True, None])
def test_a_timeout_is_a_number_above_zero(timeout_s: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout"):
        ClientSettings(api_key="k", timeout_s=timeout_s)


@pytest.mark.parametrize("max_attempts", [0, -1, 1.5, "5", True, None])
def test_max_attempts_is_a_whole_number_from_one(max_attempts: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="max_attempts"):
        ClientSettings(api_key="k", max_attempts=max_attempts)


def test_only_this_machine_is_loopback() -> None:
    assert ClientSettings(api_key="k", base_url="http://127.8.9.1").is_loopback
    assert not ClientSettings(api_key="k").is_loopback


def test_the_first_ca_variable_that_is_set_wins() -> None:
    assert ca_variable({}) is None
    assert ca_variable({"REQUESTS_CA_BUNDLE": "", "SSL_CERT_DIR": "d"}) == "SSL_CERT_DIR"
    assert ca_variable({"SSL_CERT_FILE": "b.pem", "SSL_CERT_DIR": "d"}) == "SSL_CERT_FILE"
    assert ca_variable({"REQUESTS_CA_BUNDLE": "a.pem", "CURL_CA_BUNDLE": "c.pem"}) == "REQUESTS_CA_BUNDLE"


def test_the_user_agent_has_the_version() -> None:
    assert f"airflow-provider-paperspace/{__version__}" == USER_AGENT
