"""A Paperspace client for any Python program. It does not import Airflow.

>>> from airflow_provider_paperspace.api import ClientSettings, PaperspaceClient
>>> client = PaperspaceClient(ClientSettings(api_key="..."))

Names are loaded on first use, so importing this package loads no HTTP library.
"""

# ruff: noqa: F401  # these imports are for type checkers; __getattr__ does the same at run time
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.api.client import PaperspaceClient
    from airflow_provider_paperspace.api.errors import (
        ApiError,
        AuthenticationError,
        ConcurrentWriteError,
        ConflictError,
        InvalidArgumentError,
        NotFoundError,
        PaperspaceError,
        PermissionDeniedError,
        ProjectNameError,
        ProtectedTagError,
        RateLimitError,
        ServerError,
        StoppedError,
        TagNotFoundError,
        TransportError,
        UnexpectedResponseError,
    )
    from airflow_provider_paperspace.api.models import (
        Project,
        ProjectJson,
        Session,
        Tag,
        TagChange,
        TagJson,
        TagPlan,
        TagTarget,
    )
    from airflow_provider_paperspace.api.policies import Policy, adding, changing, removing, setting
    from airflow_provider_paperspace.api.project_tags import (
        converge_project_tags,
        list_project_tags,
        plan_project_tags,
    )
    from airflow_provider_paperspace.api.projects import get_project, get_session, resolve_project_id
    from airflow_provider_paperspace.api.settings import ClientSettings

_NAMES_BY_MODULE = {
    "_messages": ["Flow"],
    "client": ["PaperspaceClient"],
    "async_client": ["AsyncPaperspaceClient"],
    "settings": ["ClientSettings"],
    "models": ["Project", "ProjectJson", "Session", "Tag", "TagChange", "TagJson", "TagPlan", "TagTarget"],
    "policies": ["Policy", "adding", "changing", "removing", "setting"],
    "project_tags": ["converge_project_tags", "list_project_tags", "plan_project_tags"],
    "projects": ["get_project", "get_session", "resolve_project_id"],
    "errors": [
        "ApiError",
        "AuthenticationError",
        "ConcurrentWriteError",
        "ConflictError",
        "InvalidArgumentError",
        "NotFoundError",
        "PaperspaceError",
        "PermissionDeniedError",
        "ProjectNameError",
        "ProtectedTagError",
        "RateLimitError",
        "ServerError",
        "StoppedError",
        "TagNotFoundError",
        "TransportError",
        "UnexpectedResponseError",
    ],
}
_MODULE_BY_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = [  # every name in the table above
    *_MODULE_BY_NAME
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(_MODULE_BY_NAME)
