"""The asset of a project: one spelling of its URI, the same in Airflow's eyes, and an error for every other."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import airflow
import pytest
from airflow.providers.common.compat.sdk import Asset
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_paperspace.assets import URI_PREFIX, normalize_uri, project_asset
from tests.secret_watch import API_KEY

ON_AIRFLOW_2 = airflow.__version__.startswith("2.")


@pytest.mark.parametrize(
    ("project_id", "uri"),
    [
        ("prmximcci", "paperspace://projects/prmximcci"),
        ("PrMix", "paperspace://projects/PrMix"),
        ("a b/c", "paperspace://projects/a%20b%2Fc"),
        ("100%", "paperspace://projects/100%25"),
        ("a?b#c", "paperspace://projects/a%3Fb%23c"),
        ("user@host:1", "paperspace://projects/user%40host%3A1"),
        ("größe", "paperspace://projects/gr%C3%B6%C3%9Fe"),
        ("...", "paperspace://projects/..."),
    ],
)
def test_an_id_has_one_uri(project_id: str, uri: str) -> None:
    assert project_asset(project_id).uri == uri
    assert Asset(uri=uri).uri == uri, "stored as it was given"
    assert Asset(uri=uri) == project_asset(project_id)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_every_id_survives_the_round_trip(project_id: str) -> None:
    assume(project_id.strip() and project_id not in (".", "..") and "{{" not in project_id and "{%" not in project_id)
    uri = project_asset(project_id).uri
    assert unquote(uri.removeprefix(URI_PREFIX)) == project_id
    assert normalize_uri(urlsplit(uri)) == urlsplit(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "PAPERSPACE://Projects/prmximcci",
        "paperspace://projects/prmximcci/",
        "paperspace://projects/%70rmximcci",
        "paperspace://projects/prmximcci#tags",
    ],
)
def test_other_spellings_become_the_one(uri: str) -> None:
    assert Asset(uri=uri).uri == "paperspace://projects/prmximcci"


WRONG_URIS = {
    "paperspace://projects": "empty",
    "paperspace://projects/": "empty",
    "paperspace://projects/%20": "empty",
    "paperspace://prmximcci": "missing or unexpected parts",
    "paperspace://teams/acme": "missing or unexpected parts",
    "paperspace://projects/p1/tags": "missing or unexpected parts",
    "paperspace://projects/p1?tag=gpu": "missing or unexpected parts",
    "paperspace:///projects/p1": "missing or unexpected parts",
    "paperspace:projects/p1": "missing or unexpected parts",
    "paperspace://projects/%FF": "UTF-8",
    "paperspace://projects/%2E%2E": "another path",
    "paperspace://projects/%7B%7B%20x%20%7D%7D": "template",
}


@pytest.mark.parametrize(("uri", "reason"), WRONG_URIS.items())
def test_any_other_uri_is_refused(uri: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        normalize_uri(urlsplit(uri))
    assert "paperspace://projects/<project id>" in str(caught.value)
    # Unless [core] strict_dataset_uri_validation is set, Airflow 2 only warns.
    with pytest.raises(UserWarning if ON_AIRFLOW_2 else ValueError, match="is not the URI of a Paperspace project"):
        Asset(uri=uri)


@pytest.mark.parametrize(
    "uri", [f"paperspace://{API_KEY}@projects/a/b", f"paperspace://projects/p1?key={API_KEY}", "paperspace://x/\n/y"]
)
def test_a_refusal_repeats_no_secret_and_stays_on_one_line(uri: str) -> None:
    with pytest.raises(ValueError, match="is not the URI") as caught:
        normalize_uri(urlsplit(uri))
    assert API_KEY not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("project_id", ["", " ", ".", "..", None, 7, "{{ params.project_id }}", "{% if x %}", "\ud800"])
def test_an_id_that_cannot_be_used_is_refused(project_id: object) -> None:
    with pytest.raises(ValueError, match="project id"):
        project_asset(project_id)  # type: ignore[arg-type]


@pytest.mark.skipif(ON_AIRFLOW_2, reason="watchers begin with Airflow 3")
def test_an_asset_has_its_watchers() -> None:
    from airflow.sdk import AssetWatcher

    from airflow_provider_paperspace.triggers.project_tag_events import ProjectTagEventTrigger

    watcher = AssetWatcher(name="ready", trigger=ProjectTagEventTrigger(project_id="p1", tags="ready"))
    assert project_asset("p1", watchers=[watcher]).watchers == [watcher]
    assert project_asset("p1").watchers == []
