"""What both ends of the wire agree on: addresses, limits and words of the Paperspace API v1.

The local Paperspace imports this module and nothing else of the client. How an answer is *read* is therefore
written twice, on purpose: a field name misspelt in shared code would agree with itself.
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
"""Most items a page can hold, by the vendor's reference. The default size is not published, so we always ask."""

MAX_REQUEST_BODY_BYTES: Final = 100_000
"""About where the server family stops reading a request body and answers 413."""

STATUS_BY_CODE: Final = {
    "PARSE_ERROR": 400,
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_SUPPORTED": 405,
    "TIMEOUT": 408,
    "CONFLICT": 409,
    "PRECONDITION_FAILED": 412,
    "PAYLOAD_TOO_LARGE": 413,
    "UNPROCESSABLE_CONTENT": 422,
    "TOO_MANY_REQUESTS": 429,
    "CLIENT_CLOSED_REQUEST": 499,
    "INTERNAL_SERVER_ERROR": 500,
}
"""Known error codes. The set is open: decide by HTTP status, show the code."""
