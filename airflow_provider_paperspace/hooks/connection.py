"""Reads an Airflow connection as settings, and remembers where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.settings import DEFAULT_MAX_ATTEMPTS, DEFAULT_TIMEOUT_S, ClientSettings
from airflow_provider_paperspace.protocol import BASE_URL, CONSOLE_URL
from airflow_provider_paperspace.rules.patterns import Pattern, has_open_bracket

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Connection

EXTRAS: Final = ("timeout", "max_attempts", "team", "console_url", "proxy", "protected_tags")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The settings in a connection.

    :param client: the settings for the clients.
    :param team: the team's namespace in console URLs; empty if not set, in which case there are no links.
    :param console_url: address of the Paperspace console, without a trailing slash.
    :param sources: for each setting's name, the field that it was read from, or ``default``.
    :param unknown_extras: keys of Extra that the provider does not use.
    """

    client: ClientSettings
    team: str
    console_url: str
    sources: Mapping[str, str]
    unknown_extras: tuple[str, ...]


def read_connection(connection: Connection, extra: Mapping[str, Any]) -> ConnectionSettings:
    """Return the settings in a connection.

    :param extra: its Extra, parsed; a separate argument because reading it may need an event loop.
    :raises InvalidArgumentError: a setting is missing or cannot be used. The message names the connection and the
        field, and never contains the key.
    """
    subject = f"Connection {connection.conn_id!r}"
    if not (connection.password or "").strip():
        hint = " Its login is set: if that is the key, move it to the password." if connection.login else ""
        raise InvalidArgumentError(
            f"{subject} has no API key. Create one in the Paperspace console (Team settings > API keys), and enter it "
            f"as the connection's API key (its password).{hint}"
        )
    base_url = _base_url(connection)
    fields = _ExtraFields(extra, subject)
    timeout, max_attempts = fields.number("timeout"), fields.whole_number("max_attempts")
    console_url, team = fields.text("console_url"), fields.text("team")
    proxy, protected_tags = fields.text("proxy"), fields.patterns("protected_tags")
    try:
        client = ClientSettings(
            api_key=connection.password or "",
            base_url=base_url or BASE_URL,
            timeout_s=DEFAULT_TIMEOUT_S if timeout is None else timeout,
            max_attempts=DEFAULT_MAX_ATTEMPTS if max_attempts is None else max_attempts,
            proxy=proxy or "",
            protected_tags=protected_tags or (),
            name=connection.conn_id or "",
        )
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{subject}: {error}") from None
    return ConnectionSettings(
        client=client,
        team=_check_team(team or "", subject),
        console_url=_check_console_url(console_url or CONSOLE_URL, subject),
        sources={
            "API key": "Password",
            "base URL": "Host" if base_url else "default",
            "timeout": _source(timeout, "timeout"),
            "max attempts": _source(max_attempts, "max_attempts"),
            "team": _source(team, "team"),
            "console URL": _source(console_url, "console_url"),
            "proxy": _source(proxy, "proxy"),
            "protected tags": _source(protected_tags, "protected_tags"),
        },
        unknown_extras=tuple(sorted(set(map(str, extra)) - set(EXTRAS))),
    )


@dataclass(frozen=True, slots=True)
class _ExtraFields:
    """Reads values that may come from a form, a URI or JSON.

    A number may be a string, and an empty string means not set. No message quotes a value: it may be the key, in the
    wrong field.
    """

    extra: Mapping[str, Any]
    subject: str

    def text(self, name: str) -> str | None:
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise InvalidArgumentError(f"{self.subject}: Extra {name!r} must be a string.")
        return value

    def patterns(self, name: str) -> tuple[Pattern, ...] | None:
        value = self._value(name)
        if value is None:
            return None
        # A form has only text; JSON may have a list, for names that contain a comma.
        texts = [text.strip() for text in value.split(",")] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise InvalidArgumentError(
                f"{self.subject}: Extra {name!r} must be a comma-separated list of names or patterns, such as "
                "'prod, release:*', without blank entries."
            )
        if any(map(has_open_bracket, texts)):
            raise InvalidArgumentError(
                f"{self.subject}: Extra {name!r} has a pattern whose '[' is never closed. To match a literal '[', "
                "write '[[]'."
            )
        return tuple(map(Pattern, dict.fromkeys(texts)))

    def number(self, name: str) -> float | None:
        value = self._value(name)
        number = None if value is None else _parse_number(value)
        if value is not None and number is None:
            raise InvalidArgumentError(f"{self.subject}: Extra {name!r} must be a number of seconds, such as 30.")
        return number

    def whole_number(self, name: str) -> int | None:
        value = self._value(name)
        number = None if value is None else _parse_number(value)
        if value is not None and (number is None or not number.is_integer()):
            raise InvalidArgumentError(f"{self.subject}: Extra {name!r} must be a whole number, such as 5.")
        return None if number is None else int(number)

    def _value(self, name: str) -> Any:
        value = self.extra.get(name)
        return None if value == "" else value


def _parse_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _base_url(connection: Connection) -> str:
    """Return the base URL, taken from Host or assembled from the fields into which Airflow splits a URI."""
    host = (connection.host or "").strip()
    if not host:
        return ""
    if "://" not in host:
        scheme = connection.schema if connection.schema in ("http", "https") else "https"
        host = f"{scheme}://{host}"
    if connection.port and not _has_port(host):
        scheme, _, rest = host.partition("://")
        name, slash, path = rest.partition("/")
        host = f"{scheme}://{name}:{connection.port}{slash}{path}"
    return host


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return True  # malformed; refused later


def _check_team(team: str, subject: str) -> str:
    if any(not character.isprintable() or character.isspace() or character in "/?#" for character in team.strip()):
        raise InvalidArgumentError(
            f"{subject}: Extra 'team' must be the team's namespace, such as 'acme' in console.paperspace.com/acme."
        )
    return team.strip()


def _check_console_url(url: str, subject: str) -> str:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or parts.query:
        raise InvalidArgumentError(f"{subject}: Extra 'console_url' must be a URL such as {CONSOLE_URL!r}.")
    return url.strip().rstrip("/")


def _source(value: object, name: str) -> str:
    return "default" if value is None else f"Extra {name!r}"
