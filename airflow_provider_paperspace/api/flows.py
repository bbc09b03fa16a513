"""One generator per operation: what is asked of the service, in which order, and what the answers mean.

A flow yields a :class:`Request` and is sent the :class:`Response`; when no answer came, the runner throws
:class:`TransportError` into it. It does no I/O, knows no clock and is the same for both clients.

What a second add or remove of a tag answers is not published. So a write *converges*: read once, write only what
differs, and after an answer that leaves the outcome open, read again and decide from the state. ``add`` ends with
the tag there, ``remove`` with it gone, and running either twice is the same as once.
"""

from __future__ import annotations

from airflow_provider_paperspace.api import messages, models
from airflow_provider_paperspace.api.answers import Flow, read_answer
from airflow_provider_paperspace.api.errors import PaperspaceError, ProjectNameError, TagNotFoundError
from airflow_provider_paperspace.api.models import Project, Session, Tag, TagChange
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.api.protocol import Order
from airflow_provider_paperspace.api.walks import read_tags, walk_projects
from airflow_provider_paperspace.api.writes import write


def list_project_tags(project_id: str, *, order: Order = "desc") -> Flow[list[Tag]]:
    """Read all tags of a project."""
    tags = yield from read_tags(project_id, order=order)
    return list(tags.values())


def read_project(project_id: str) -> Flow[Project]:
    """Read one project."""
    request = messages.read_project(messages.check_project_id(project_id))
    response = yield request
    return read_answer(request, response, models.parse_project)


def resolve_project_id(name: str) -> Flow[str]:
    """Find the one project with exactly this name, over all pages; deleted projects do not count.

    :raises ProjectNameError: there is none, or there are several.
    """
    name = messages.check_project_name(name)
    walk = walk_projects()
    found: dict[str, None] = {}
    near: set[str] = set()
    while walk.has_more:
        for project in (yield from walk.next_new_items()):
            if project.dt_deleted is None and project.name == name:
                found[project.id] = None
            elif project.dt_deleted is None and project.name.strip().casefold() == name.strip().casefold():
                near.add(project.name)
    if len(found) == 1:
        return next(iter(found))
    subject, action = f"Project named {name!r}", "find it"
    if found:
        problem = f"{len(found)} projects have this name, {', '.join(map(repr, found))}"
        advice = "Give the id of the one that is meant as project_id."
        raise ProjectNameError(problem, tuple(found), subject=subject, action=action, advice=advice)
    also = f"; there is {', '.join(map(repr, sorted(near)))}" if near else ""
    advice = "Check the spelling, in which case and blanks count, and that the key belongs to the project's team."
    raise ProjectNameError(f"no project has this name{also}", subject=subject, action=action, advice=advice)


def read_session() -> Flow[Session | None]:
    """Read who the key belongs to; None when the service does not accept the key."""
    request = messages.read_session()
    response = yield request
    return read_answer(request, response, models.parse_session)


def converge_project_tags(project_id: str, policy: Policy, *, max_attempts: int) -> Flow[TagChange]:
    """Read a project's tags and write what the policy finds different: first what is missing, then what is too much.

    In this order an interrupted change leaves the project with both tags rather than with none.

    :param max_attempts: how often one tag is written at most.
    """
    project_id = messages.check_project_id(project_id)
    there = yield from read_tags(project_id)
    before = tuple(there)
    try:
        wanted = policy(there)
    except TagNotFoundError as error:
        error.subject = messages.project_subject(project_id)
        raise
    added: dict[str, Tag] = {}
    removed: dict[str, Tag] = {}
    unchanged: dict[str, Tag] = {}

    def change() -> TagChange:
        return TagChange(
            added=tuple(added.values()),
            removed=tuple(removed.values()),
            unchanged=tuple(unchanged.values()),
            absent=tuple(name for name in wanted.gone if name not in removed),
            before=before,
            after=tuple(there),
        )

    try:
        for name in wanted.present:
            if name in there:
                unchanged[name] = there[name]
                continue
            written = yield from write(messages.add_tag(project_id, name), project_id, name, max_attempts)
            there = there if written.seen is None else written.seen
            there[name] = (added if written.ours else unchanged)[name] = written.tag or there[name]
        for name in wanted.gone:
            if name not in there:
                continue
            tag = there[name]
            written = yield from write(messages.remove_tag(project_id, name), project_id, name, max_attempts)
            there = there if written.seen is None else written.seen
            there.pop(name, None)
            if written.ours:
                removed[name] = tag
    except PaperspaceError as error:
        error.change = change()
        error.notes += [
            f"Before that, {', '.join(map(repr, done))} {verb} well."
            for verb, done in (("added", added), ("removed", removed))
            if done
        ]
        raise
    return change()
