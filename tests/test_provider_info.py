"""The provider's description, and what Airflow reads from it."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

import airflow_provider_paperspace
from airflow_provider_paperspace import provider_info
from airflow_provider_paperspace.hooks.connection import EXTRAS
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook
from airflow_provider_paperspace.provider_info import get_provider_info

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")
INFO: dict[str, Any] = get_provider_info()
(CONNECTION_TYPE,) = INFO["connection-types"]


def cli(*arguments: str) -> str:
    command = [sys.executable, "-m", "airflow", *arguments]
    quiet = {**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)  # noqa: S603
    return run.stdout


def test_the_description_fits_the_schema_of_airflow() -> None:
    schema = Path(airflow.__file__).parent / "provider_info.schema.json"
    jsonschema.validate(INFO, json.loads(schema.read_text()))


def test_the_entry_point_leads_to_the_description() -> None:
    (found,) = [e for e in entry_points(group="apache_airflow_provider") if "paperspace" in e.value]
    assert found.load() is get_provider_info
    assert INFO["package-name"] == distribution("airflow-provider-paperspace").name


def test_the_version_is_that_of_the_package() -> None:
    assert INFO["versions"] == [airflow_provider_paperspace.__version__]
    assert distribution("airflow-provider-paperspace").version == airflow_provider_paperspace.__version__


def test_the_description_is_literals_only() -> None:
    tree = ast.parse(Path(provider_info.__file__).read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom, ast.Call))]


def test_every_named_module_and_class_exists() -> None:
    for section in ("hooks", "operators", "sensors", "triggers"):
        for entry in INFO[section]:
            assert entry["python-modules"]
            for module in entry["python-modules"]:
                is_optional = ON_AIRFLOW_2 and module.endswith(".project_tag_events")
                with pytest.raises(AirflowOptionalProviderFeatureException) if is_optional else nullcontext():
                    importlib.import_module(module)
    handlers = [entry["handler"] for section in ("asset-uris", "dataset-uris") for entry in INFO[section]]
    for path in (*INFO["notifications"], *INFO["extra-links"], *handlers):
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
    module, _, name = CONNECTION_TYPE["hook-class-name"].rpartition(".")
    hook = getattr(importlib.import_module(module), name)
    assert (hook.conn_type, hook.hook_name) == (CONNECTION_TYPE["connection-type"], CONNECTION_TYPE["hook-name"])
    assert tuple(CONNECTION_TYPE["conn-fields"]) == EXTRAS


def test_the_commands_of_airflow_show_the_provider() -> None:
    assert "airflow-provider-paperspace" in cli("providers", "list", "-o", "json")
    hooks = {hook["connection_type"]: hook for hook in json.loads(cli("providers", "hooks", "-o", "json"))}
    assert hooks["paperspace"]["class"] == "airflow_provider_paperspace.hooks.paperspace.PaperspaceHook"
    assert "Paperspace" in cli("providers", "get", "airflow-provider-paperspace", "--full")
    assert "ProjectTagNotifier" in cli("providers", "notifications", "-o", "json")
    assert "PaperspaceProjectLink" in cli("providers", "links", "-o", "json")
    assert "airflow_provider_paperspace.triggers.project_tags" in cli("providers", "triggers", "-o", "json")


@pytest.mark.skipif(not ON_AIRFLOW_2, reason="Airflow 3.3 reads the form from the metadata")
def test_airflow_2_reads_the_form_from_the_hook() -> None:
    widgets = PaperspaceHook.get_connection_form_widgets()
    assert {name: field.args[0] for name, field in widgets.items()} == {
        name: field["label"] for name, field in CONNECTION_TYPE["conn-fields"].items()
    }
    from airflow.providers_manager import ProvidersManager

    behaviour = ProvidersManager().field_behaviours["paperspace"]
    assert behaviour["relabeling"] == {"password": "API key", "host": "Base URL"}
    assert behaviour["hidden_fields"] == ["schema", "login", "port", "extra"]
    assert behaviour["placeholders"]["host"] == "https://api.paperspace.com/v1"


@pytest.mark.skipif(ON_AIRFLOW_2, reason="Airflow 2 reads the form from the hook's methods")
def test_airflow_3_reads_the_form_from_the_metadata() -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (form,) = [meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "paperspace"]
    assert form.hook_name == "Paperspace"
    assert form.standard_fields is not None
    assert form.standard_fields.password is not None
    assert form.standard_fields.password.title == "API key"
    assert form.standard_fields.login is not None
    assert form.standard_fields.login.hidden
    assert set(form.extra_fields or {}) == set(EXTRAS)


def test_the_form_has_a_field_for_the_team() -> None:
    team = CONNECTION_TYPE["conn-fields"]["team"]
    assert (team["label"], team["schema"]["type"]) == ("Team", ["string", "null"])
    assert "acme" in CONNECTION_TYPE["ui-field-behaviour"]["placeholders"]["team"]


def test_every_field_of_the_form_has_a_placeholder() -> None:
    behaviour = CONNECTION_TYPE["ui-field-behaviour"]
    # Not `description`: Airflow takes it for a field of ours, which Airflow 2.11's form then does not find.
    shown = {"host", "password", *EXTRAS}
    assert set(behaviour["placeholders"]) == shown
    assert not shown & set(behaviour["hidden-fields"])


@pytest.mark.skipif(not ON_AIRFLOW_2, reason="Airflow 3.3 reads the form from the metadata")
def test_airflow_2_shows_a_help_and_a_placeholder_for_each_field() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    prefix = "extra__paperspace__"
    for name in EXTRAS:
        help_text = manager.connection_form_widgets[f"{prefix}{name}"].field.kwargs["description"]
        assert help_text == CONNECTION_TYPE["conn-fields"][name]["description"]
    placeholders = manager.field_behaviours["paperspace"]["placeholders"]
    assert set(placeholders) == {"host", "password", *(f"{prefix}{name}" for name in EXTRAS)}


@pytest.mark.skipif(ON_AIRFLOW_2, reason="Airflow 2 reads the form from the hook's methods")
def test_airflow_3_shows_a_help_for_each_field_of_ours_and_placeholders_for_its_own() -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (form,) = [meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "paperspace"]
    fields: Any = form.extra_fields
    assert {name: field["description"] for name, field in fields.items()} == {
        name: CONNECTION_TYPE["conn-fields"][name]["description"] for name in EXTRAS
    }
    assert fields["proxy"]["schema"]["format"] == "password"
    placeholders = CONNECTION_TYPE["ui-field-behaviour"]["placeholders"]
    for name in ("host", "password"):
        assert getattr(form.standard_fields, name).placeholder == placeholders[name]


def test_both_forms_behave_alike() -> None:
    behaviour = PaperspaceHook.get_ui_field_behaviour()
    assert behaviour == {key.replace("-", "_"): value for key, value in CONNECTION_TYPE["ui-field-behaviour"].items()}
