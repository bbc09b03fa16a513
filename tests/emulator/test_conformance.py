"""The local Paperspace conforms to the API's description, for requests that schemathesis generates."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
    # Not unsupported_method: the service answers a wrong method with 404, where the check wants a 405.
)

from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY

pytestmark = pytest.mark.uncovered

schema = schemathesis.openapi.from_path(REPOSITORY / "tests" / "data" / "paperspace-tags.openapi.yaml")

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    missing_required_header,
]


answered: dict[str, set[int]] = defaultdict(set)


@schema.parametrize()
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_every_operation_conforms_to_the_description(case: Any, server: LocalPaperspaceServer) -> None:
    # A generated cursor is rightly refused; real cursors are tested with the pages.
    (case.query or {}).pop("after", None)
    if "Authorization" in (case.headers or {}):
        case.headers["Authorization"] = f"Bearer {API_KEY}"
    if case.query and len(case.query.get("name", "x")) % 2 == 0:
        case.query["name"] = "gpu"
    if "p1" not in case.path_parameters.values():
        # Half of the generated ids become the one that exists.
        case.path_parameters = {key: "p1" if len(value) % 2 else value for key, value in case.path_parameters.items()}
    answered[case.operation.label].add(
        case.call_and_validate(base_url=server.url, checks=CHECKS, timeout=10).status_code
    )


def test_generated_cases_reached_every_operation() -> None:
    assert len(answered) == 6
    assert all(200 in statuses for statuses in answered.values()), answered


@pytest.fixture(autouse=True)
def secret_watch() -> None:
    """Replace the watch: a failing case is printed as a curl command, key included."""
