"""Reads an Airflow connection as settings, and says where each comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from airflow_provider_paperspace.api.protocol import BASE_URL, CONSOLE_URL
from airflow_provider_paperspace.api.settings import DEFAULT_MAX_ATTEMPTS, DEFAULT_TIMEOUT_S, ClientSettings

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Connection

T = TypeVar("T")

EXTRAS: Final = ("timeout", "max_attempts", "console_url")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What a connection says.

    :param client: what the clients need.
    :param console_url: where links to the console lead, without a slash at the end.
    :param sources: for each setting's name, the field that it was read from, or ``default``.
    :param unknown_extras: keys of the extra that mean nothing to us.
    """

    client: ClientSettings
    console_url: str
    sources: Mapping[str, str]
    unknown_extras: tuple[str, ...]


def read_connection(connection: Connection, extra: Mapping[str, Any]) -> ConnectionSettings:
    """Read a connection.

    :param extra: its extra, parsed; given apart because reading it may need an event loop.
    :raises ValueError: a setting is missing or makes no sense. The message names connection and field, never the key.
    """
    subject = f"Connection {connection.conn_id!r}"
    if not (connection.password or "").strip():
        hint = " The Login field holds something: the key belongs into Password." if connection.login else ""
        raise ValueError(
            f"{subject} has no API key.{hint} Put it in the Password field (console: Team settings > API keys) "
            f"or set AIRFLOW_CONN_{(connection.conn_id or '').upper()}."
        )
    base_url = _base_url(connection)
    timeout = _extra(extra, "timeout", float, subject)
    attempts = _extra(extra, "max_attempts", _whole, subject)
    console_url = _extra(extra, "console_url", str, subject)
    try:
        client = ClientSettings(
            api_key=connection.password or "",
            base_url=base_url or BASE_URL,
            timeout_s=DEFAULT_TIMEOUT_S if timeout is None else timeout,
            max_attempts=DEFAULT_MAX_ATTEMPTS if attempts is None else attempts,
            name=connection.conn_id or "",
        )
    except ValueError as error:
        raise ValueError(f"{subject}: {error}") from None
    return ConnectionSettings(
        client=client,
        console_url=_checked_console_url(console_url or CONSOLE_URL, subject),
        sources={
            "API key": "Password",
            "base URL": "Host" if base_url else "default",
            "timeout": _source(timeout, "timeout"),
            "max attempts": _source(attempts, "max_attempts"),
            "console URL": _source(console_url, "console_url"),
        },
        unknown_extras=tuple(sorted(set(map(str, extra)) - set(EXTRAS))),
    )


def _base_url(connection: Connection) -> str:
    """Join the base URL from where it may stand: whole in Host, or in the parts that a URI leaves in their fields."""
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
        return True  # malformed, and refused as that later


def _extra(extra: Mapping[str, Any], name: str, read: Callable[[Any], T], subject: str) -> T | None:
    """Read a value from a form, a URI or JSON: a number may be text, and an empty text is none."""
    value = extra.get(name)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, (bool, list, dict)):
            raise TypeError
        return read(value)
    except (TypeError, ValueError):
        kind = {"float": "a number of seconds", "_whole": "a whole number", "str": "a URL"}[read.__name__]
    # The value is not quoted, nor the error that quotes it: it may be the key, in the wrong field.
    raise ValueError(f"{subject}: Extra {name!r} must be {kind}, and its value is none.")


def _whole(value: Any) -> int:
    number = float(value)
    if not number.is_integer():
        raise ValueError
    return int(number)


def _checked_console_url(url: str, subject: str) -> str:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or parts.query:
        raise ValueError(f"{subject}: Extra 'console_url' must be a URL such as {CONSOLE_URL!r}.")
    return url.strip().rstrip("/")


def _source(value: object, name: str) -> str:
    return "default" if value is None else f"Extra {name!r}"
