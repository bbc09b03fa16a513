"""The web page of the local Paperspace: its projects, their tags, and recent requests."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airflow_provider_paperspace.emulator.app import SeenRequest
    from airflow_provider_paperspace.emulator.state import Paperspace, StoredProject

MAX_REQUESTS: Final = 20

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Local Paperspace</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; width: 100%; margin-bottom: 2rem }}
th, td {{ text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #ddd; vertical-align: top }}
code {{ overflow-wrap: anywhere }}
.tag {{ background: #e7eefb; border-radius: .25rem; padding: .1rem .4rem; margin-right: .25rem; white-space: nowrap }}
</style>
</head>
<body>
<h1>Local Paperspace</h1>
<p>Team <b>{team}</b>, {project_count}. Reload to see changes.</p>
<table>
<tr><th>Project</th><th>Name</th><th>Tags, oldest first</th></tr>
{projects}
</table>
<h2>Recent requests, newest first</h2>
<table>
<tr><th>Status</th><th>Request</th></tr>
{requests}
</table>
</body>
</html>
"""


def page_of(paperspace: Paperspace, newest_requests: Iterable[SeenRequest]) -> str:
    """Return the page as HTML.

    :param newest_requests: requests to the API, newest first; the first 20 are shown.
    """
    projects = [project for project in paperspace.projects.values() if not project.foreign]
    return _PAGE.format(
        team=escape(str(paperspace.team.get("namespace", ""))),
        project_count=f"{len(projects)} project{'' if len(projects) == 1 else 's'}",
        projects="\n".join(map(_project_row, projects)) or "<tr><td>none</td></tr>",
        requests="\n".join(map(_request_row, islice(newest_requests, MAX_REQUESTS))) or "<tr><td>none</td></tr>",
    )


def _project_row(project: StoredProject) -> str:
    tags = " ".join(f'<span class="tag">{escape(tag.name)}</span>' for tag in project.tags_by_age())
    deleted = f" (deleted {escape(project.dt_deleted)})" if project.dt_deleted else ""
    return f"<tr><td><code>{escape(project.id)}</code></td><td>{escape(project.name)}{deleted}</td><td>{tags}</td></tr>"


def _request_row(request: SeenRequest) -> str:
    status = "no answer" if request.status is None else str(request.status)
    body = f" {escape(request.body.decode(errors='replace')[:200])}" if request.body else ""
    return f"<tr><td>{status}</td><td><code>{escape(f'{request.method} {request.target}')}{body}</code></td></tr>"
