"""The settings of a client: how to reach the service, and which tags it may not remove; checked once.

The rules for the base URL and the proxy, and so for where the API key may be sent, are here. No I/O.
"""

from __future__ import annotations

import base64
import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_provider_paperspace import __version__
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.protocol import API_PREFIX, BASE_URL

USER_AGENT: Final = f"airflow-provider-paperspace/{__version__}"

DEFAULT_TIMEOUT_S: Final = 30.0
DEFAULT_MAX_ATTEMPTS: Final = 5

MAX_ANSWER_BYTES: Final = 10_000_000
"""More than any page of 120 items needs; a longer response is cut off with an error."""

_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

_OTHER_PROXIES: Final = ("https", "socks4", "socks4a", "socks5", "socks5h")


@runtime_checkable
class NamePattern(Protocol):
    """A name or a pattern, such as :class:`airflow_provider_paperspace.rules.patterns.Pattern`.

    Messages show its ``str``.
    """

    def matches(self, name: str) -> bool:
        """Return whether the name matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What both clients need to know.

    :param api_key: a Paperspace API key. It is sent in the Authorization header to the base URL's host only, and
        appears in no repr.
    :param base_url: address of the API. Without a path, ``/v1`` is added. ``http://`` is for loopback hosts only.
    :param timeout_s: maximum seconds for one attempt, from connecting to the last byte. In the blocking client, a
        server that sends its response headers byte by byte restarts the timeout with each byte.
    :param max_attempts: maximum number of times one request is sent.
    :param proxy: the proxy for all requests, ``http://[user:password@]host:port``, instead of the one in the
        environment. A loopback host is always reached without a proxy. The proxy appears in no repr.
    :param protected_tags: names and patterns of tags that the client never removes.
    :param name: what messages call these settings; the hook sets it to the connection id.
    :raises InvalidArgumentError: one of them cannot be used. The message never quotes the key.
    """

    api_key: str = field(repr=False)
    base_url: str = BASE_URL
    timeout_s: float = DEFAULT_TIMEOUT_S
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    proxy: str = field(default="", repr=False)
    protected_tags: tuple[NamePattern, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_key", _check_key(self.api_key))
        object.__setattr__(self, "base_url", _check_base_url(self.base_url))
        object.__setattr__(self, "timeout_s", _check_timeout(self.timeout_s))
        object.__setattr__(self, "max_attempts", _check_max_attempts(self.max_attempts))
        object.__setattr__(self, "proxy", _check_proxy(self.proxy))
        _check_protected_tags(self.protected_tags)

    @property
    def authorization(self) -> str:
        """The value of the one header that contains the key."""
        return f"Bearer {self.api_key}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine. If so, no proxy is used: it would see the key in clear text."""
        return _is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def proxy_address(self) -> str:
        """Host and port of the proxy, for messages; empty if these settings have none, or do not use it."""
        return "" if self.is_loopback else _proxy_address(self.proxy)

    @property
    def proxy_secrets(self) -> tuple[str, ...]:
        """The proxy's password, in each form in which it is kept or sent; empty if there is none."""
        credentials, has_credentials, _ = self.proxy.removeprefix("http://").rpartition("@")
        if not has_credentials:
            return ()
        password = credentials.partition(":")[2]
        header = base64.b64encode(unquote(credentials).encode("latin-1")).decode()
        return tuple(dict.fromkeys(secret for secret in (unquote(password), password, header) if secret))

    def protected_by(self, name: str) -> str:
        """Return what protects a tag from removal, for messages; empty if it may be removed."""
        pattern = next((pattern for pattern in self.protected_tags if pattern.matches(name)), None)
        if pattern is None:
            return ""
        owner = f"connection {self.name!r}" if self.name else "the settings of the client"
        return f"protected by {owner} ({pattern})"


def ca_variable(environ: Mapping[str, str]) -> str | None:
    """Return the name of the environment variable that sets the user's own CA certificates, if any.

    ``requests`` reads the first two variables, OpenSSL the last two; both clients read all four, in this order.
    """
    return next((name for name in _CA_VARIABLES if environ.get(name)), None)


def _check_key(api_key: object) -> str:
    key = api_key.strip() if isinstance(api_key, str) else ""
    if not key:
        raise InvalidArgumentError(
            "The API key is empty. Create one in the Paperspace console (Team settings > API keys)."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        # An HTTP library would quote the whole header, key and all, when it refuses to send it.
        raise InvalidArgumentError(
            "The API key contains a space, a line break or another character that is never part of a key. "
            "Copy it again."
        )
    return key


def _check_base_url(base_url: object) -> str:
    if not isinstance(base_url, str) or any(c.isspace() or not c.isprintable() for c in base_url.strip()):
        raise InvalidArgumentError("The base URL must be a string such as 'https://api.paperspace.com/v1'.")
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidArgumentError("The base URL has a malformed host or port.") from None
    if "@" in parts.netloc:
        # Not quoted: it may be the key that was put there.
        raise InvalidArgumentError("The base URL contains a user name or password. Remove it, and set the API key.")
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidArgumentError(f"The base URL {base_url!r} must start with 'https://' and a host.")
    if parts.query or parts.fragment or "?" in base_url or "#" in base_url:
        raise InvalidArgumentError("The base URL has a query or a fragment. Remove everything after the path.")
    if parts.scheme == "http" and not _is_loopback(host):
        raise InvalidArgumentError(
            f"The base URL {base_url!r} is refused: http:// would send the API key in clear text. Use https://."
        )
    path = parts.path.removeprefix("/").removesuffix("/")
    if path and {"", ".", ".."} & set(path.split("/")):
        raise InvalidArgumentError(f"The base URL {base_url!r} has an empty, '.' or '..' part in its path.")
    return _normalised(parts)


def _normalised(parts: SplitResult) -> str:
    path = parts.path.rstrip("/") or API_PREFIX
    return f"{parts.scheme}://{parts.netloc}{path}"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_timeout(timeout_s: object) -> float:
    if not isinstance(timeout_s, (int, float)) or isinstance(timeout_s, bool) or not 0 < timeout_s < math.inf:
        raise InvalidArgumentError(f"The timeout is {timeout_s!r}; it must be a number of seconds above 0.")
    return float(timeout_s)


def _check_max_attempts(max_attempts: object) -> int:
    if not isinstance(max_attempts, int) or isinstance(max_attempts, bool) or max_attempts < 1:
        raise InvalidArgumentError(f"max_attempts is {max_attempts!r}; it must be a whole number of at least 1.")
    return max_attempts


def _check_proxy(proxy: object) -> str:
    """Return the proxy with its credentials percent-encoded. No message quotes it: it may contain a password."""
    text = proxy.strip() if isinstance(proxy, str) else None
    if text == "":
        return ""
    scheme = (text or "").partition("://")[0].lower()
    if scheme in _OTHER_PROXIES:
        raise InvalidArgumentError(f"The proxy is a {scheme}:// proxy; only http:// proxies are supported.")
    parts = _split_proxy(text or "")
    if parts is None:
        raise InvalidArgumentError(
            "The proxy must be a URL such as 'http://proxy.example.org:3128' or 'http://user:password@host:port'. In "
            "the user name and the password, percent-encode everything but letters and digits."
        )
    credentials, at, address = parts.netloc.rpartition("@")
    user, _, password = (quote(unquote(part), safe="") for part in credentials.partition(":"))
    return f"http://{user}:{password}@{address}" if at else f"http://{address}"


def _split_proxy(text: str) -> SplitResult | None:
    """Return the parts of an ``http://`` proxy that both HTTP libraries read in the same way, or None."""
    try:
        parts = urlsplit(text)
        is_address = parts.scheme == "http" and bool(parts.hostname) and bool(parts.port)
        unquote(parts.netloc, errors="strict").encode("latin-1")  # as both libraries send the password
    except ValueError:
        return None
    is_plain = (
        text.isascii()
        and text.isprintable()
        and " " not in text
        and text.lower()
        in (
            f"http://{parts.netloc.lower()}",
            f"http://{parts.netloc.lower()}/",
        )
    )
    has_both = "@" not in parts.netloc or bool(parts.username and parts.password)
    return parts if is_address and is_plain and has_both else None


def _proxy_address(proxy: str) -> str:
    return proxy.removeprefix("http://").rpartition("@")[2]


def _check_protected_tags(protected_tags: object) -> None:
    if not isinstance(protected_tags, tuple) or not all(isinstance(p, NamePattern) for p in protected_tags):
        raise InvalidArgumentError(
            "protected_tags must be a tuple of patterns, such as those of airflow_provider_paperspace.rules.patterns."
        )
