"""Assets of Paperspace projects. DAGs can be scheduled on them, and tasks that change tags emit events for them.

Airflow loads this module as soon as any DAG has an asset with a URI, so Airflow's own classes are imported on use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, unquote, urlunsplit

from airflow_provider_paperspace._quoting import quoted
from airflow_provider_paperspace.api._checks import check_project_id
from airflow_provider_paperspace.api.errors import InvalidArgumentError

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Asset

URI_PREFIX: Final = "paperspace://projects/"


def project_asset(project_id: str, *, watchers: Iterable[Any] = ()) -> Asset:
    """Return the asset of a project: an update to it means that tags of the project have changed.

    Its URI is ``paperspace://projects/<project id>``. On Airflow 2.11 it is a ``Dataset``. In the ``schedule`` of a DAG
    it starts runs. In the ``outlets`` of a task that changes tags, it gets an event if the task changed the project;
    the ``extra`` of the event is the change record.

    :param project_id: the project id. Not templated, because Airflow reads assets when it parses the DAG.
    :param watchers: Airflow's ``AssetWatcher`` objects, with a ``ProjectTagEventTrigger``. Airflow 3.0 or later.
    :raises InvalidArgumentError: the id cannot be used.
    """
    from airflow_provider_paperspace._compat import Asset

    # Airflow 2's class has no such argument.
    options: dict[str, Any] = {"watchers": list(watchers)} if watchers else {}
    asset: Asset = Asset(uri=project_uri(project_id), **options)
    return asset


def project_uri(project_id: str) -> str:
    """Return the URI of a project's asset. Special characters in the id are percent-encoded.

    :raises InvalidArgumentError: the id cannot be used.
    """
    check_project_id(project_id)
    if "{{" in project_id or "{%" in project_id:
        raise InvalidArgumentError(
            f"The project id of an asset cannot be a template: {quoted(project_id)}. If it is known only when the task "
            "runs, use an AssetAlias as the outlet of the task."
        )
    return URI_PREFIX + quote(project_id, safe="")


def normalize_uri(uri: SplitResult) -> SplitResult:
    """Return the canonical form of a project's URI. Airflow calls this for each asset with the scheme ``paperspace``.

    :raises InvalidArgumentError: it is not the URI of a project.
    """
    encoded = uri.path.removeprefix("/")
    try:
        if uri.netloc.lower() != "projects" or uri.query or uri.fragment or "/" in encoded:
            raise InvalidArgumentError("It has missing or unexpected parts.")
        canonical = project_uri(unquote(encoded, errors="strict"))
    except ValueError as error:
        # User info, query and fragment are not repeated: they may contain a secret.
        shown = urlunsplit((uri.scheme, uri.netloc.rpartition("@")[2], uri.path, "", ""))
        reason = error if isinstance(error, InvalidArgumentError) else "It is not percent-encoded UTF-8."
        raise InvalidArgumentError(
            f"{quoted(shown)} is not the URI of a Paperspace project. {reason} Such a URI has the form "
            f"{URI_PREFIX}<project id>. Make the asset with project_asset(project_id)."
        ) from None
    return uri._replace(netloc="projects", path=canonical.removeprefix("paperspace://projects"))
