"""The tab *Rendered Templates* shows lists and objects as JSON, and text as text."""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

import airflow
import pytest

from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from tests.operators.test_all_operators import ARGUMENTS, STORED_AS

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")
KINDS = {**ARGUMENTS, ProjectTagSensor: {"project_id": "p", "tags": "t"}}
TAGS = [{"id": 7, "name": "nightly", "dtCreated": "2026-03-02T09:15:00.000Z"}]


@pytest.mark.parametrize("kind", KINDS)
def test_what_may_be_a_list_or_an_object_is_shown_as_json(kind: type[Any]) -> None:
    parameters = inspect.signature(inspect.unwrap(vars(kind)["__init__"])).parameters
    annotations = {STORED_AS.get(name, name): parameter.annotation for name, parameter in parameters.items()}
    own = [field for field in kind.template_fields if field in annotations]
    structured = {field for field in own if is_structured(resolved(annotations[field], kind))}
    assert {field for field in own if kind.template_fields_renderers.get(field) == "json"} == structured
    assert set(kind.template_fields_renderers.values()) == {"json"}
    assert structured


def resolved(annotation: str, kind: type[Any]) -> Any:
    return eval(annotation, vars(sys.modules[kind.__module__]) | {"Any": Any})  # noqa: S307  # our own annotations


def is_structured(annotation: Any) -> bool:
    """Return whether a value of this type may be a list or an object."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(map(is_structured, get_args(annotation)))
    kind = get_origin(annotation) or annotation
    return kind is Any or (kind is not str and issubclass(kind, (Mapping, Sequence)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [TAGS, TAGS[0], "nightly"])
def test_airflow_shows_each_value(kind: type[Any], value: Any) -> None:
    operator = kind(task_id="t", **KINDS[kind])
    for field in set(kind.template_fields) & set(kind.template_fields_renderers):
        setattr(operator, field, value)
        shown = text_of(rendered_fields(operator)[field], kind.template_fields_renderers[field])
        assert "nightly" in shown
        assert value == "nightly" or shown.startswith(("[", "{"))


def rendered_fields(operator: Any) -> dict[str, Any]:
    """Return the values that Airflow stores for the tab."""
    if ON_AIRFLOW_2:
        from airflow.serialization.helpers import serialize_template_field

        return {field: serialize_template_field(getattr(operator, field), field) for field in operator.template_fields}
    from airflow.models.renderedtifields import get_serialized_template_fields

    fields: dict[str, Any] = get_serialized_template_fields(operator)
    return fields


def text_of(value: Any, renderer: str) -> str:
    """Return what the tab shows of a value, without markup."""
    if not ON_AIRFLOW_2:
        # Its UI shows text as it is and everything else as JSON, whatever the renderer.
        return value if isinstance(value, str) else json.dumps(value)
    from airflow.www.utils import get_attr_renderer

    html: str = get_attr_renderer()[renderer](value)
    without_line_numbers = html.partition('class="code">')[2]
    return re.sub("<[^>]*>", "", without_line_numbers).strip()
