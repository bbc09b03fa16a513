"""How to reach the service and how patiently: checked once, before any request.

Owns every rule about where the API key may travel. Does no I/O.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

from airflow_provider_paperspace import __version__
from airflow_provider_paperspace.api import protocol

USER_AGENT: Final = f"airflow-provider-paperspace/{__version__}"

DEFAULT_TIMEOUT_S: Final = 30.0
DEFAULT_MAX_ATTEMPTS: Final = 5

MAX_ANSWER_BYTES: Final = 10_000_000
"""More than any page of 120 items can need; what is longer is cut off with an error."""

_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What both clients need to know.

    :param api_key: a Paperspace API key. It leaves in the Authorization header, to the base URL's host, and shows
        in no repr.
    :param base_url: where the API is. Without a path, ``/v1`` is meant. ``http://`` is for loopback hosts only.
    :param timeout_s: seconds that one attempt may take, from the connect to the last byte. The blocking client
        counts anew while a server sends the head of its answer byte by byte; the asynchronous one does not.
    :param max_attempts: how often one request is sent at most.
    :param name: what messages call these settings; the hook puts the connection id here.
    :raises ValueError: one of them does not make sense. The message never quotes the key.
    """

    api_key: str = field(repr=False)
    base_url: str = protocol.BASE_URL
    timeout_s: float = DEFAULT_TIMEOUT_S
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_key", _checked_key(self.api_key))
        object.__setattr__(self, "base_url", _checked_base_url(self.base_url))
        object.__setattr__(self, "timeout_s", _checked_timeout(self.timeout_s))
        object.__setattr__(self, "max_attempts", _checked_attempts(self.max_attempts))

    @property
    def authorization(self) -> str:
        """The value of the one header that holds the key."""
        return f"Bearer {self.api_key}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine. Then no proxy is asked: it would see the key in clear."""
        return _is_loopback(urlsplit(self.base_url).hostname or "")


def ca_variable(environ: Mapping[str, str]) -> str | None:
    """Find the variable that names the user's own CA certificates.

    ``requests`` reads the first two variables and ``httpx`` the last two; both clients heed all four, in this order.
    """
    return next((name for name in _CA_VARIABLES if environ.get(name)), None)


def ca_bundle(environ: Mapping[str, str]) -> str | None:
    """Find the user's own CA certificates: a file, a folder, or None for the library's."""
    name = ca_variable(environ)
    return None if name is None else environ[name]


def _checked_key(api_key: object) -> str:
    key = api_key.strip() if isinstance(api_key, str) else ""
    if not key:
        raise ValueError("There is no API key. Make one in the Paperspace console: Team settings > API keys.")
    if not (key.isascii() and key.isprintable()) or " " in key:
        # An HTTP library would quote the whole header, key and all, when it refuses to send it.
        raise ValueError("The API key holds a blank, a line break or another character that no key has. Copy it again.")
    return key


def _checked_base_url(base_url: object) -> str:
    if not isinstance(base_url, str) or any(c.isspace() or not c.isprintable() for c in base_url.strip()):
        raise ValueError("The base URL is text such as 'https://api.paperspace.com/v1', without blanks.")
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("The base URL's host or port is malformed.") from None
    if "@" in parts.netloc:
        # Not quoted: whoever wrote it there may have put the key there.
        raise ValueError("The base URL holds a user name or password. Take it out: the key goes into the password.")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"The base URL is {base_url!r}, and must begin with 'https://' and a host.")
    if parts.query or parts.fragment or "?" in base_url or "#" in base_url:
        raise ValueError("The base URL ends with a query or a fragment. Leave out what follows the path.")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError(
            f"The base URL {base_url!r} is refused: over http:// the key would travel in clear. Use https://."
        )
    path = parts.path.removeprefix("/").removesuffix("/")
    if path and {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"The base URL {base_url!r} has an empty, '.' or '..' part in its path.")
    return _normalised(parts)


def _normalised(parts: SplitResult) -> str:
    path = parts.path.rstrip("/") or protocol.API_PREFIX
    return f"{parts.scheme}://{parts.netloc}{path}"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_timeout(timeout_s: object) -> float:
    if not isinstance(timeout_s, (int, float)) or isinstance(timeout_s, bool) or not 0 < timeout_s < math.inf:
        raise ValueError(f"The timeout is {timeout_s!r}, and must be a number of seconds above 0.")
    return float(timeout_s)


def _checked_attempts(max_attempts: object) -> int:
    if not isinstance(max_attempts, int) or isinstance(max_attempts, bool) or max_attempts < 1:
        raise ValueError(f"max_attempts is {max_attempts!r}, and must be a whole number from 1 up.")
    return max_attempts
