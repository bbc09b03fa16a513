"""The report of a clean-up as Markdown, for the person who approves it.

Names, ids and reasons come from outside: anybody can name a tag ``[free GPUs](https://example.com)``. Backslashes and
character references do not prevent this, because GitHub's Markdown, which Airflow's UI renders, resolves both before it
turns addresses into links. It never looks into a code span. So tags and ids are code spans, and so is each
word of a name or a reason that has anything but letters, digits and ``-,'&``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from airflow_provider_paperspace._quoting import count_of, printable

if TYPE_CHECKING:
    from airflow_provider_paperspace.operators.clean_up import Report

MAX_ROWS: Final = 200

T = TypeVar("T")

# Everything else in a code span is literal. A pipe would end the cell, and a backslash before it does not help if the
# text itself ends in one. Spaces at the ends would be lost. The "<" is escaped for viewers that treat the text as HTML.
_UNSAFE_IN_CODE: Final = re.compile(r"[`|<]|^ | $|(?<= ) ")


def report_as_markdown(report: Report, projects_url: str) -> str:
    """Return a heading with the totals, the plan as a table, and further tables of the tags that stay.

    :param projects_url: address of the page with the team's projects in the console, without a trailing slash; empty
        if it is not known, and then there are no links.
    """
    planned = report["planned"]
    blocks = [f"### {plan_summary(report) if report['dry_run'] else removal_summary(report)}"]
    if report["failed"]:
        blocks.append(f"{count_of(len(report['failed']), 'project')} failed; see the task log for the errors.")
    if planned:
        blocks += _table(
            ("Project", "Tag", "Reason"),
            planned,
            lambda item: (
                _project(item["project_id"], item["project"], projects_url),
                _code(item["tag"]),
                _prose(item["reason"]),
            ),
        )
    for exemptions, what in (
        (report["spared"], "spared"),
        (report["unreadable"], "with an unreadable date, left in place"),
    ):
        if exemptions:
            blocks.append(f"#### {count_of(len(exemptions), 'tag')} {what}")
            blocks += _table(
                ("Project", "Tag", "Why"),
                exemptions,
                lambda item: (_project(item["project_id"], "", projects_url), _code(item["tag"]), _prose(item["why"])),
            )
    return "\n\n".join(blocks)


def plan_summary(report: Report) -> str:
    """Return how many tags are to be removed, and from how many projects."""
    affected = len({removal["project_id"] for removal in report["planned"]})
    tags, projects = count_of(len(report["planned"]), "tag"), count_of(report["projects"], "project")
    return f"{tags} to remove from {affected:,} of {projects}"


def removal_summary(report: Report) -> str:
    """Return how many of the planned tags were removed, and how many others by earlier tries, whose plans differed."""
    planned = {(item["project_id"], item["tag"]) for item in report["planned"]}
    is_planned = [(item["project_id"], item["tag"]) in planned for item in report["removed"]]
    text = f"{is_planned.count(True):,} of {count_of(len(planned), 'planned tag')} removed"
    others = is_planned.count(False)
    return f"{text}; earlier tries of this task removed {count_of(others, 'other tag')}" if others else text


def _table(header: Sequence[str], items: Sequence[T], row_of: Callable[[T], Sequence[str]]) -> list[str]:
    """Return a table of the first items and, below it, how many more there are."""
    rows = [header, ["---"] * len(header), *map(row_of, items[:MAX_ROWS])]
    blocks = ["\n".join(f"| {' | '.join(row)} |" for row in rows)]
    hidden = len(items) - MAX_ROWS
    return [*blocks, f"and {hidden:,} more"] if hidden > 0 else blocks


def _project(project_id: str, name: str, projects_url: str) -> str:
    """Return a project's name and id, with a link to the console."""
    label = _prose(name)
    text = label or _code(project_id)
    if projects_url:
        text = f"[{text}]({_quoted(projects_url, safe=':/%')}/{_quoted(project_id)})"
    return f"{text} {_code(project_id)}" if label else text


def _quoted(text: str, *, safe: str = "") -> str:
    return quote(text, safe=safe, errors="replace")  # JSON can contain lone surrogates, UTF-8 cannot


def _code(text: str) -> str:
    """Return a code span with the text; what would end the span or the cell is escaped as in Python."""
    literal = _UNSAFE_IN_CODE.sub(lambda match: rf"\x{ord(match[0]):02x}", printable(text))
    return f"`{literal}`"


def _prose(text: str) -> str:
    """Return the text with each word that is not plain as a code span; empty if the text is blank."""
    return " ".join(_word(word) for word in printable(text).split())


def _word(word: str) -> str:
    is_plain = re.sub("[-,'&]", "", word).isalnum()
    return word.replace("&", "&amp;") if is_plain else _code(word)
