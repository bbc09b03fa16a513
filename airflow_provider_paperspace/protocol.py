"""Wire facts of the Paperspace API v1: addresses, limits and parameter values.

The client and the local Paperspace share this module and nothing else. Each has its own JSON code on purpose: if they
shared it, no test would notice a misspelt field name.
"""

from __future__ import annotations

from typing import Final, Literal

BASE_URL: Final = "https://api.paperspace.com/v1"
"""The only public host; there are no regional ones."""

API_PREFIX: Final = "/v1"

CONSOLE_URL: Final = "https://console.paperspace.com"
"""A project's page is ``{CONSOLE_URL}/{team namespace}/projects/{project id}``."""

Order = Literal["asc", "desc"]

MAX_PAGE_SIZE: Final = 120
"""Maximum number of items on a page. The default page size is not published, so the client always sends a limit."""
