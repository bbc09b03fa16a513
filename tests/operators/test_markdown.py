"""The report of a clean-up as Markdown: what it says, and that no name gets out of its cell."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from airflow_provider_paperspace.operators._markdown import MAX_ROWS, report_as_markdown
from airflow_provider_paperspace.operators.clean_up import Exemption, Removal, Report
from tests.conftest import REPOSITORY

CONSOLE = "https://console.paperspace.com/acme/projects"
RULES: Any = {}


def removal(project_id: str = "p1", project: str = "one", tag: str = "stale:a", reason: str = "because") -> Removal:
    return {"project_id": project_id, "project": project, "tag": tag, "reason": reason}


def report(*planned: Removal, unreadable: list[Exemption] | None = None, **more: Any) -> Report:
    filled: Any = {
        "dry_run": True,
        "projects": 120,
        "rules": RULES,
        "planned": list(planned),
        "removed": [],
        "spared": [],
        "unreadable": unreadable or [],
        "failed": {},
        "markdown": "",
    }
    return filled | more  # type: ignore[no-any-return]


def test_a_plan_is_a_heading_and_a_table() -> None:
    planned = (
        removal(reason="matches 'stale:*', created on 2026-01-05"),
        removal(tag="demo@2026-11-23", reason="expired after 2026-11-23"),
        removal("p2", "", "stale:b"),
    )
    unreadable: list[Exemption] = [{"project_id": "p3", "tag": "demo@2026-13-01", "why": "not a date"}]
    assert report_as_markdown(report(*planned, unreadable=unreadable), CONSOLE) == (
        f"""\
### 3 tags to remove from 2 of 120 projects

| Project | Tag | Reason |
| --- | --- | --- |
| [one]({CONSOLE}/p1) `p1` | `stale:a` | matches `'stale:*',` created on 2026-01-05 |
| [one]({CONSOLE}/p1) `p1` | `demo@2026-11-23` | expired after 2026-11-23 |
| [`p2`]({CONSOLE}/p2) | `stale:b` | because |

#### 1 tag with an unreadable date, left in place

| Project | Tag | Why |
| --- | --- | --- |
| [`p3`]({CONSOLE}/p3) | `demo@2026-13-01` | not a date |"""
    )


def test_without_a_team_there_is_no_link() -> None:
    assert "| one `p1` | `stale:a` |" in report_as_markdown(report(removal()), "")
    assert "| `p2` | `stale:a` |" in report_as_markdown(report(removal("p2", "")), "")


@pytest.mark.parametrize(
    ("filled", "lines"),
    [
        (report(), ["### 0 tags to remove from 0 of 120 projects"]),
        (report(removal(), projects=1), ["### 1 tag to remove from 1 of 1 project"]),
        (report(removal(), removal("p2"), removed=[removal()], dry_run=False), ["### 1 of 2 planned tags removed"]),
        (
            report(removal(), removed=[removal(), removal("p2")], dry_run=False),
            ["### 1 of 1 planned tag removed; earlier tries of this task removed 1 other tag"],
        ),
        (
            report(removal(), failed={"p7": "404"}),
            ["### 1 tag to remove from 1 of 120 projects", "1 project failed; see the task log for the errors."],
        ),
    ],
)
def test_the_heading_has_the_totals(filled: Report, lines: list[str]) -> None:
    blocks = report_as_markdown(filled, CONSOLE).split("\n\n")
    assert blocks[: len(lines)] == lines
    assert blocks[len(lines) :] == [block for block in blocks if block.startswith("| Project")]


@pytest.mark.parametrize(("number", "more"), [(200, None), (201, "and 1 more"), (1434, "and 1,234 more")])
def test_a_long_plan_is_cut_off_and_counted(number: int, more: str | None) -> None:
    planned = [removal(tag=f"stale:{i}") for i in range(number)]
    unreadable: list[Exemption] = [{"project_id": "p1", "tag": f"a@{i}", "why": "no date"} for i in range(number)]
    text = report_as_markdown(report(*planned, unreadable=unreadable), CONSOLE)
    assert text.count("| `stale:") == text.count("| `a@") == MAX_ROWS == 200
    assert re.findall("^and .*$", text, re.MULTILINE) == ([more] * 2 if more else [])
    assert f"### {number:,} tags" in text
    assert f"#### {number:,} tags with" in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("R&D vision", "R&amp;D vision"),
        ("Übung, Teil 2", "Übung, Teil 2"),
        ("a  b ", "a b"),
        ("me@example.com", "`me@example.com`"),
        ("see https://example.com", "see `https://example.com`"),
        ("www.example.com", "`www.example.com`"),
        ("a|b", "`a\\x7cb`"),
        ("a\\|b", "`a\\\\x7cb`"),
        ("`x`", "`\\x60x\\x60`"),
        ("<img>", "`\\x3cimg>`"),
        ("two\nlines", "`two\\nlines`"),
        ("- *bold*", "`-` `*bold*`"),
        ("x" * 300, "x" * 200 + "…"),
    ],
)
def test_a_name_is_shown_as_it_is(name: str, shown: str) -> None:
    text = report_as_markdown(report(removal(project=name)), "")
    assert f"| {shown} `p1` |" in text.replace(f"`{'x' * 200}…`", "x" * 200 + "…")


@pytest.mark.parametrize(
    ("tag", "shown"), [(" a", "`\\x20a`"), ("a ", "`a\\x20`"), ("a   b", "`a \\x20\\x20b`"), ("a b", "`a b`")]
)
def test_spaces_in_a_tag_can_be_seen(tag: str, shown: str) -> None:
    assert f"| {shown} | because |" in report_as_markdown(report(removal(tag=tag)), "")


# Half of the names are made of pieces that mean something in Markdown or HTML.
PIECES = st.sampled_from(
    [
        *"|`\\[]()<>!#-*_~:$&@ \n\t\u2028\x00\ud800\u202eaé1",
        *("\\|", "||", "```", "](", "![", "<img>", "<!--", "---", "\r\n", "[a](b)", "&#124;", "&lt;", "[^1]", "[x]:"),
        *("https://example.com", "www.example.com", "a@example.com"),
    ]
)
NAMES = st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=30)

logging.getLogger("markdown_it").setLevel("INFO")  # it logs each rule that it tries
PARSERS = {
    # As Airflow's UI does, except that it never shows raw HTML.
    "GitHub": MarkdownIt("gfm-like"),
    "with HTML": MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]),
}


def parsed(text: str, parser: str) -> tuple[list[Token], list[Token]]:
    """Return the blocks, and what is inside of them."""
    blocks = PARSERS[parser].parse(text)
    return blocks, [token for block in blocks for token in block.children or ()]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("console", [CONSOLE, ""])
@given(project_id=NAMES, project=NAMES, tag=NAMES, reason=NAMES)
@example(project_id="p|`", project="![a](b)", tag="`|` https://example.com", reason="\\")
@example(project_id="p", project="https://example.com www.example.com", tag="t", reason="a@example.com")
@example(project_id="p", project="*a* _a_ ~~a~~", tag="t", reason="*a* _a_ ~~a~~ <b> <!-- &#124; ![a](b) [a](b) `a")
def test_no_text_gets_out_of_its_cell(
    parser: str, console: str, project_id: str, project: str, tag: str, reason: str
) -> None:
    unreadable: list[Exemption] = [{"project_id": project_id, "tag": tag, "why": reason}]
    text = report_as_markdown(report(removal(project_id, project, tag, reason), unreadable=unreadable), console)
    assert len(text.splitlines()) == len(text.split("\n")) == 11
    blocks, inside = parsed(text, parser)
    # Two tables of two rows each, with three cells in a row, and nothing but code and links to the console in them.
    count = {kind: sum(block.type == kind for block in blocks) for kind in ("table_open", "tr_open", "td_open")}
    assert count == {"table_open": 2, "tr_open": 4, "td_open": 6}
    assert {block.tag for block in blocks} == {"h3", "h4", "table", "thead", "tbody", "tr", "th", "td", ""}
    allowed = {"text", "code_inline", "link_open", "link_close"} if console else {"text", "code_inline"}
    assert {token.type for token in inside} - {"text_special"} <= allowed
    links = [str(token.attrs["href"]) for token in inside if token.type == "link_open"]
    assert len(links) == (2 if console else 0)
    assert all(re.fullmatch(re.escape(CONSOLE) + "/[^/]*", link) for link in links)
    # Airflow's UI turns addresses in plain text into links, whatever was escaped in it.
    plain = "".join(token.content for token in inside if token.type.startswith("text"))
    assert not re.search(r"https?://|www\.|@", plain)


def test_the_page_states_how_many_rows_are_shown() -> None:
    page = (REPOSITORY / "docs/how-to/clean-up-with-approval.md").read_text()
    assert f"Each table has at most {MAX_ROWS} rows" in page
