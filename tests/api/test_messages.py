from __future__ import annotations

import json
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_paperspace.api import messages

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
project_ids = texts.filter(lambda text: text not in (".", ".."))


@given(project_ids, texts)
def test_whatever_the_project_id_and_tag_a_removal_addresses_that_project_and_tag_only(
    project_id: str, name: str
) -> None:
    request = messages.remove_tag(messages.check_project_id(project_id), *messages.check_tag_names(name))
    parts = urlsplit(request.target)
    head, projects, one, tags = parts.path.split("/")
    assert (head, projects, unquote(one), tags) == ("", "projects", project_id, "tags")
    assert parse_qs(parts.query, strict_parsing=True) == {"name": [name]}
    assert request.target.isascii()
    assert request.body is None


@given(project_ids, texts)
def test_an_addition_carries_the_name_in_its_body_as_ascii_json(project_id: str, name: str) -> None:
    request = messages.add_tag(project_id, name)
    assert request.body is not None
    assert request.body.isascii()
    assert json.loads(request.body) == {"name": name}
    assert "?" not in request.target


@pytest.mark.parametrize("project_id", ["../teams", "a/b?x", "a#b", "%2e%2e", "a b"])
def test_a_project_id_cannot_reach_another_path(project_id: str) -> None:
    target = messages.read_project(messages.check_project_id(project_id)).target
    assert target.count("/") == 2
    assert not set("?# ") & set(target)
    assert "/.." not in target.replace("/..%2F", "/")


@pytest.mark.parametrize("project_id", ["", "  ", "\n", ".", ".."])
def test_a_project_id_that_names_no_project_is_refused(project_id: str) -> None:
    with pytest.raises(ValueError, match="project id"):
        messages.check_project_id(project_id)


@pytest.mark.parametrize(("project_id", "kind"), [(None, "None"), (7, "a int"), (["p"], "a list")])
def test_a_project_id_that_is_no_text_is_refused_by_its_kind(project_id: object, kind: str) -> None:
    with pytest.raises(TypeError, match=f"not {kind}"):
        messages.check_project_id(project_id)


@pytest.mark.parametrize("names", ["", " ", ["gpu", ""], ["\t"]])
def test_a_blank_tag_name_is_refused(names: object) -> None:
    with pytest.raises(ValueError, match="blank"):
        messages.check_tag_names(names)


@pytest.mark.parametrize("names", [None, 7, b"gpu", {"gpu": 1}, [7], [None]])
def test_names_that_are_no_texts_are_refused(names: object) -> None:
    with pytest.raises(TypeError, match="text"):
        messages.check_tag_names(names)


def test_half_a_surrogate_pair_is_refused_before_it_reaches_a_codec() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        messages.check_tag_names("\ud800")
    with pytest.raises(ValueError, match="surrogate"):
        messages.check_project_id("\ud800")


def test_names_keep_their_order_and_spelling_and_are_given_once() -> None:
    assert messages.check_tag_names(["b", " a ", "b", "A", "a"]) == ("b", " a ", "A", "a")
    assert messages.check_tag_names("gpu") == ("gpu",)
    assert messages.check_tag_names(name for name in ("x", "y")) == ("x", "y")
    assert messages.check_tag_names([]) == ()


@pytest.mark.parametrize("page_size", [0, 121, -1])
def test_a_page_size_out_of_range_is_refused(page_size: int) -> None:
    with pytest.raises(ValueError, match="within 1 and 120"):
        messages.check_page_size(page_size)


@pytest.mark.parametrize("page_size", ["50", 1.5, True, None])
def test_a_page_size_that_is_no_whole_number_is_refused(page_size: object) -> None:
    with pytest.raises(TypeError, match="whole number"):
        messages.check_page_size(page_size)


def test_only_the_two_orders_are_accepted() -> None:
    assert [messages.check_order(order) for order in ("asc", "desc")] == ["asc", "desc"]
    with pytest.raises(ValueError, match="newest first"):
        messages.check_order("newest")


def test_a_list_always_asks_for_its_page_size_and_encodes_its_cursor() -> None:
    assert messages.list_tags("p", after=None, order="desc", page_size=120).target == (
        "/projects/p/tags?limit=120&orderBy=dtCreated&order=desc"
    )
    assert messages.list_projects(after="a+/=&", order="asc", page_size=5).target == (
        "/projects?limit=5&orderBy=dtCreated&order=asc&after=a%2B%2F%3D%26"
    )


def test_a_project_name_is_text_and_not_blank() -> None:
    assert messages.check_project_name(" vision ") == " vision "
    with pytest.raises(TypeError, match="not a int"):
        messages.check_project_name(7)
    with pytest.raises(ValueError, match="project name is empty"):
        messages.check_project_name(" ")
