"""Arguments: what is returned as it came, and what is refused before any request."""

from __future__ import annotations

import pytest

from airflow_provider_paperspace.api._checks import (
    check_order,
    check_page_size,
    check_project_id,
    check_project_name,
    check_tag_name,
    check_tag_names,
    is_sendable,
    type_name,
)
from airflow_provider_paperspace.api.errors import InvalidArgumentError


@pytest.mark.parametrize("project_id", ["prmximcci", " p ", "a/b?x", "../teams", "...", "ä ö"])
def test_a_project_id_is_opaque(project_id: str) -> None:
    assert check_project_id(project_id) == project_id


@pytest.mark.parametrize("project_id", ["", "  ", "\n", ".", ".."])
def test_an_empty_or_dotted_project_id_is_refused(project_id: str) -> None:
    with pytest.raises(InvalidArgumentError, match="project id"):
        check_project_id(project_id)


@pytest.mark.parametrize(("project_id", "kind"), [(None, "None"), (7, "an int"), (["p"], "a list")])
def test_a_project_id_must_be_a_string(project_id: object, kind: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"project id must be a string .*, not {kind}"):
        check_project_id(project_id)


def test_a_project_name_must_be_a_string_with_text() -> None:
    assert check_project_name(" vision ") == " vision "
    with pytest.raises(InvalidArgumentError, match="project name must be a string .*, not an int"):
        check_project_name(7)
    with pytest.raises(InvalidArgumentError, match="project name is empty"):
        check_project_name(" ")


@pytest.mark.parametrize("names", ["", " ", ["gpu", ""], ["\t"]])
def test_a_blank_tag_name_is_refused(names: object) -> None:
    with pytest.raises(InvalidArgumentError, match="blank"):
        check_tag_names(names)


@pytest.mark.parametrize("names", [None, 7, b"gpu", {"gpu": 1}, [7], [None]])
def test_tag_names_must_be_strings(names: object) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a string"):
        check_tag_names(names)


def test_half_a_surrogate_pair_is_refused() -> None:
    assert not is_sendable("\ud800")
    with pytest.raises(InvalidArgumentError, match="tag name .* half of a surrogate pair"):
        check_tag_names("\ud800")
    with pytest.raises(InvalidArgumentError, match="project id .* half of a surrogate pair"):
        check_project_id("\ud800")


def test_tag_names_keep_order_and_spelling_without_duplicates() -> None:
    assert check_tag_names(["b", " a ", "b", "A", "a"]) == ("b", " a ", "A", "a")
    assert check_tag_names("gpu") == ("gpu",)
    assert check_tag_names(name for name in ("x", "y")) == ("x", "y")
    assert check_tag_names([]) == ()
    assert check_tag_name(" a ") == " a "


@pytest.mark.parametrize("page_size", [1, 50, 120])
def test_a_page_size_within_range_is_returned(page_size: int) -> None:
    assert check_page_size(page_size) == page_size


@pytest.mark.parametrize("page_size", [0, 121, -1])
def test_a_page_size_out_of_range_is_refused(page_size: int) -> None:
    with pytest.raises(InvalidArgumentError, match="between 1 and 120"):
        check_page_size(page_size)


@pytest.mark.parametrize("page_size", ["50", 1.5, True, None])
def test_a_page_size_must_be_a_whole_number(page_size: object) -> None:
    with pytest.raises(InvalidArgumentError, match="whole number"):
        check_page_size(page_size)


def test_only_two_orders_are_accepted() -> None:
    assert [check_order(order) for order in ("asc", "desc")] == ["asc", "desc"]
    with pytest.raises(InvalidArgumentError, match="newest first"):
        check_order("newest")


@pytest.mark.parametrize(
    ("value", "name"), [(None, "None"), (7, "an int"), ([], "a list"), (1.5, "a float"), ({}, "a dict"), ("", "a str")]
)
def test_a_type_name_has_its_article(value: object, name: str) -> None:
    assert type_name(value) == name
