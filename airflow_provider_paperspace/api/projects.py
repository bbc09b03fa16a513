"""Projects and the session: their requests, what their answers contain, and the flows that read them."""

from __future__ import annotations

from airflow_provider_paperspace._quoting import quoted, quoted_list
from airflow_provider_paperspace.api._checks import (
    check_order,
    check_page_size,
    check_project_id,
    check_project_name,
)
from airflow_provider_paperspace.api._messages import (
    Flow,
    Request,
    encoded,
    json_field,
    load_json,
    optional_text,
    parse_answer,
)
from airflow_provider_paperspace.api._pages import Pager, page_query
from airflow_provider_paperspace.api.errors import ProjectNameError
from airflow_provider_paperspace.api.models import Project, Session
from airflow_provider_paperspace.protocol import MAX_PAGE_SIZE, Order

_ADVICE_ON_404 = "There is no Paperspace API at this address. Check the base URL (Host of the Airflow connection)."


def get_project(project_id: str) -> Flow[Project]:
    """Read one project."""
    path = f"/projects/{encoded(check_project_id(project_id))}"
    request = Request("GET", path, f"Project {quoted(project_id)}", "read it")
    response = yield request
    return parse_answer(request, response, lambda body: _parse_project(load_json(body)))


def page_projects(*, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> Pager[Project]:
    """Return a pager for the team's projects, including deleted ones.

    :raises InvalidArgumentError: an argument cannot be sent.
    """
    order, page_size = check_order(order), check_page_size(page_size)
    return Pager(
        lambda after: Request(
            "GET",
            f"/projects?{page_query(after, order, page_size)}",
            "Projects",
            "list them",
            advice_on_404=_ADVICE_ON_404,
        ),
        _parse_project,
        lambda project: project.id,
    )


def resolve_project_id(name: str) -> Flow[str]:
    """Find the one project with exactly this name, across all pages; deleted projects are ignored.

    :raises ProjectNameError: no project has the name, or several do.
    """
    name = check_project_name(name)
    pager = page_projects()
    ids: dict[str, None] = {}
    similar: set[str] = set()
    while pager.has_more:
        for project in (yield from pager.next_new_items()):
            if project.dt_deleted is not None:
                continue
            if project.name == name:
                ids[project.id] = None
            elif project.name.strip().casefold() == name.strip().casefold():
                similar.add(project.name)
    if len(ids) == 1:
        return next(iter(ids))
    raise _name_error(name, tuple(ids), sorted(similar))


def get_session() -> Flow[Session | None]:
    """Read who the API key belongs to; None when the service does not accept the key.

    ``GET /auth/session`` answers 200 whatever the key; the body is ``null`` when the key is not accepted.
    """
    request = Request("GET", "/auth/session", "API key", "check it", advice_on_404=_ADVICE_ON_404)
    response = yield request
    return parse_answer(request, response, _parse_session)


def _name_error(name: str, ids: tuple[str, ...], similar: list[str]) -> ProjectNameError:
    if ids:
        problem = f"{len(ids)} projects have this name: {quoted_list(ids)}"
        advice = "Use project_id with the id of the right one."
    else:
        problem = "no project has this name"
        problem += f"; similar: {quoted_list(similar)}" if similar else ""
        advice = "Check the spelling (case and spaces count), and that the key belongs to the project's team."
    return ProjectNameError(problem, ids, subject=f"Project named {quoted(name)}", action="find it", advice=advice)


def _parse_project(value: object) -> Project:
    return Project(
        id=json_field(value, "id", str, "a project"),
        name=json_field(value, "name", str, "a project"),
        dt_created=json_field(value, "dtCreated", str, "a project"),
        dt_deleted=optional_text(value, "dtDeleted", "a project"),
        repo_url=optional_text(value, "repoUrl", "a project"),
    )


def _parse_session(body: bytes) -> Session | None:
    value = load_json(body)
    if value is None:
        return None
    user = json_field(value, "user", dict, "a session")
    team = json_field(value, "team", dict, "a session")
    return Session(
        user_id=json_field(user, "id", str, "a session's user"),
        user_email=json_field(user, "email", str, "a session's user"),
        team_id=json_field(team, "id", str, "a session's team"),
        team_namespace=json_field(team, "namespace", str, "a session's team"),
    )
