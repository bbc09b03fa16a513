"""Reading a connection: from its fields, a URI or JSON, and what a message says about a bad setting."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.hooks.connection import ConnectionSettings, read_connection
from airflow_provider_paperspace.rules.patterns import Pattern


def read(extra: Any = None, **fields: Any) -> ConnectionSettings:
    fields = {"conn_id": "c", "conn_type": "paperspace", "password": "psk-1", **fields}
    connection = Connection(**fields, extra=json.dumps(extra or {}))
    return read_connection(connection, connection.extra_dejson)


def test_a_key_alone_is_enough() -> None:
    settings = read()
    assert (settings.client.base_url, settings.console_url) == (
        "https://api.paperspace.com/v1",
        "https://console.paperspace.com",
    )
    assert (settings.client.timeout_s, settings.client.max_attempts, settings.client.name) == (30.0, 5, "c")
    assert settings.sources["base URL"] == settings.sources["timeout"] == settings.sources["team"] == "default"
    assert settings.team == ""
    assert settings.sources["API key"] == "Password"


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": "https://gateway.example.org/v1"}, "https://gateway.example.org/v1"),
        ({"host": "gateway.example.org"}, "https://gateway.example.org/v1"),
        ({"host": "gateway.example.org", "port": 8443}, "https://gateway.example.org:8443/v1"),
        ({"host": "https://gateway.example.org/v1", "port": 8443}, "https://gateway.example.org:8443/v1"),
        ({"host": "https://gateway.example.org:1/v1", "port": 8443}, "https://gateway.example.org:1/v1"),
        ({"host": "127.0.0.1", "port": 8787, "schema": "http"}, "http://127.0.0.1:8787/v1"),
        ({"host": "http://localhost:8787/v1"}, "http://localhost:8787/v1"),
        ({"host": " "}, "https://api.paperspace.com/v1"),
    ],
)
def test_the_base_url_is_put_together_from_the_fields(fields: dict[str, Any], base_url: str) -> None:
    assert read(**fields).client.base_url == base_url


EXTRA = {"timeout": 7, "max_attempts": 2, "team": "acme", "console_url": "https://console.example.org"}


@pytest.mark.parametrize(
    "uri",
    [
        "paperspace://:psk-1@?timeout=7&max_attempts=2&team=acme&console_url=https%3A%2F%2Fconsole.example.org%2F",
        json.dumps({"conn_type": "paperspace", "password": "psk-1", "extra": EXTRA}),
    ],
)
def test_a_uri_and_json_are_read_alike(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

    monkeypatch.setenv("AIRFLOW_CONN_WRITTEN", uri)
    settings = PaperspaceHook("written").settings
    assert (settings.client.timeout_s, settings.client.max_attempts) == (7.0, 2)
    assert (settings.client.api_key, settings.console_url) == ("psk-1", "https://console.example.org")
    assert settings.sources["timeout"] == "Extra 'timeout'"
    assert (settings.team, settings.sources["team"]) == ("acme", "Extra 'team'")


def test_an_empty_field_is_the_default() -> None:
    settings = read(
        {"timeout": "", "max_attempts": None, "team": "", "console_url": "", "max_atempts": 3, "proxy": ""}
        | {"protected_tags": ""}
    )
    assert (settings.client.timeout_s, settings.client.max_attempts, settings.team) == (30.0, 5, "")
    assert (settings.client.proxy, settings.client.protected_tags) == ("", ())
    assert {settings.sources["proxy"], settings.sources["protected tags"]} == {"default"}


@pytest.mark.parametrize(("team", "read_as"), [("acme", "acme"), (" acme\n", "acme"), ("t3xm9", "t3xm9"), (" ", "")])
def test_a_team_is_read_without_blanks_around_it(team: str, read_as: str) -> None:
    assert read({"team": team}).team == read_as


@pytest.mark.parametrize(
    ("value", "patterns"),
    [
        ("prod", ["prod"]),
        (" prod , release:*,prod", ["prod", "release:*"]),
        (["with, comma", " blank "], ["with, comma", " blank "]),
        ("x[[]1]", ["x[[]1]"]),
    ],
)
def test_protected_tags_are_read_as_patterns(value: Any, patterns: list[str]) -> None:
    settings = read({"protected_tags": value})
    assert settings.client.protected_tags == tuple(map(Pattern, patterns))
    assert settings.sources["protected tags"] == "Extra 'protected_tags'"


def test_a_proxy_is_read_without_being_shown() -> None:
    settings = read({"proxy": "http://ada:psk-2@proxy:3128"})
    assert (settings.client.proxy_address, settings.sources["proxy"]) == ("proxy:3128", "Extra 'proxy'")
    assert "psk" not in repr(settings)


def test_an_unknown_field_is_remembered() -> None:
    assert read({"max_atempts": 3, "timeout": 7}).unknown_extras == ("max_atempts",)


@pytest.mark.parametrize(
    ("fields", "extra", "complaint"),
    [
        (
            {"password": None},
            {},
            r"has no API key\. Create one in the Paperspace console .* as the connection.s API key \(its password\)\.$",
        ),
        ({"password": " "}, {}, "has no API key"),
        ({"password": None, "login": "psk-1"}, {}, "Its login is set: if that is the key, move it to the password"),
        ({"password": "psk 1"}, {}, "The API key contains a space"),
        ({"host": "http://example.org"}, {}, "would send the API key in clear text"),
        ({"host": "https://[::1", "port": 1}, {}, "malformed"),
        ({}, {"timeout": "soon"}, "Extra 'timeout' must be a number of seconds, such as 30"),
        ({}, {"timeout": 0}, "The timeout is 0.0; it must be a number of seconds above 0"),
        ({}, {"timeout": "psk-1"}, "Extra 'timeout'"),
        ({}, {"timeout": True}, "Extra 'timeout' must be a number of seconds"),
        ({}, {"max_attempts": 2.5}, "Extra 'max_attempts' must be a whole number"),
        ({}, {"max_attempts": [3]}, "must be a whole number"),
        ({}, {"max_attempts": 0}, "max_attempts is 0; it must be a whole number of at least 1"),
        ({}, {"console_url": 7}, "Extra 'console_url' must be a string"),
        ({}, {"team": 7}, "Extra 'team' must be a string"),
        (
            {},
            {"team": "my team"},
            "Extra 'team' must be the team's namespace, such as 'acme' in console.paperspace.com/acme",
        ),
        ({}, {"team": "https://console.paperspace.com/acme"}, "Extra 'team' must be the team's namespace"),
        ({}, {"team": "acme/projects"}, "Extra 'team' must be the team's namespace"),
        ({}, {"team": "acme?psk-1"}, "Extra 'team' must be the team's namespace"),
        ({}, {"team": "acme#x"}, "Extra 'team' must be the team's namespace"),
        ({}, {"team": "a\x1bb"}, "Extra 'team' must be the team's namespace"),
        ({}, {"console_url": "console"}, "Extra 'console_url' must be a URL such as"),
        ({}, {"console_url": "https://[::1"}, "Extra 'console_url' must be a URL"),
        ({}, {"console_url": "https://u:p@h"}, "Extra 'console_url' must be a URL"),
        ({}, {"proxy": 7}, "Extra 'proxy' must be a string"),
        ({}, {"proxy": "ada:psk-2@proxy:3128"}, "The proxy must be a URL such as 'http://proxy.example.org:3128'"),
        ({}, {"proxy": "https://ada:psk-2@proxy:3128"}, "a https:// proxy; only http:// proxies are supported"),
        ({}, {"proxy": "socks5://ada:psk-2@proxy:1080"}, "a socks5:// proxy; only http:// proxies are supported"),
        ({}, {"protected_tags": " "}, "Extra 'protected_tags' must be a comma-separated list .* without blank entries"),
        ({}, {"protected_tags": "psk-1,,x"}, "Extra 'protected_tags' must be a comma-separated list"),
        ({}, {"protected_tags": "psk-1,"}, "Extra 'protected_tags' must be a comma-separated list"),
        ({}, {"protected_tags": []}, "Extra 'protected_tags' must be a comma-separated list"),
        ({}, {"protected_tags": ["x", None]}, "Extra 'protected_tags' must be a comma-separated list"),
        ({}, {"protected_tags": {"psk-1": 1}}, "Extra 'protected_tags' must be a comma-separated list"),
        ({}, {"protected_tags": 7}, "Extra 'protected_tags' must be a comma-separated list"),
        ({}, {"protected_tags": "x, psk[1"}, r"Extra 'protected_tags' has a pattern whose '\[' is never closed"),
    ],
)
def test_a_bad_setting_is_reported_with_its_field(
    fields: dict[str, Any], extra: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint) as caught:
        read(extra, **fields)
    assert str(caught.value).startswith("Connection 'c'")
    assert "psk" not in str(caught.value)
    assert caught.value.__context__ is None or "psk" not in str(caught.value.__context__)
