"""A project's tags: their requests, what their answers contain, and the flows that list, plan and write them.

The API does not document the answer to adding a tag twice, or removing it twice. So a write *converges*: read once,
write only what differs, and if the answer leaves the outcome open, read again and decide from the state. Adding ends
with the tag there, removing with it gone, and doing either twice is the same as doing it once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from airflow_provider_paperspace._quoting import quoted, quoted_list
from airflow_provider_paperspace.api import _retries
from airflow_provider_paperspace.api._checks import check_order, check_page_size, check_project_id
from airflow_provider_paperspace.api._messages import (
    Flow,
    Request,
    encoded,
    error_of,
    json_field,
    load_json,
    parse_answer,
    unexpected,
)
from airflow_provider_paperspace.api._pages import Pager, page_query
from airflow_provider_paperspace.api.errors import (
    ConcurrentWriteError,
    PaperspaceError,
    ProtectedTagError,
    StoppedError,
    TagNotFoundError,
    TransportError,
    UnexpectedResponseError,
)
from airflow_provider_paperspace.api.models import Tag, TagChange, TagPlan
from airflow_provider_paperspace.api.policies import Policy
from airflow_provider_paperspace.protocol import MAX_PAGE_SIZE, Order

log = logging.getLogger(__name__)


def page_project_tags(project_id: str, *, order: Order = "desc", page_size: int = MAX_PAGE_SIZE) -> Pager[Tag]:
    """Return a pager for a project's tags.

    :raises InvalidArgumentError: an argument cannot be sent.
    """
    path, subject = tags_path(check_project_id(project_id)), _subject(project_id)
    order, page_size = check_order(order), check_page_size(page_size)
    return Pager(
        lambda after: Request("GET", f"{path}?{page_query(after, order, page_size)}", subject, "list its tags"),
        _parse_tag,
        lambda tag: tag.name,
    )


def list_project_tags(project_id: str, *, order: Order = "desc") -> Flow[list[Tag]]:
    """Read all tags of a project, each name once."""
    tags = yield from _read_tags(project_id, order=order)
    return list(tags.values())


def plan_project_tags(project_id: str, policy: Policy) -> Flow[TagPlan]:
    """Read a project's tags and return how they differ from what the policy wants. Nothing is written.

    :raises ProtectedTagError: the client may not remove a tag that the policy does not want.
    """
    pager = page_project_tags(project_id)
    tags = yield from _read_all(pager)
    try:
        # Each response says which tags its client protects, so no policy or operator can forget them.
        plan = policy(tags).plan(project_id, tags, pager.protected_by)
    except TagNotFoundError as error:
        error.subject = _subject(project_id)
        raise
    _check_removable(plan, plan.remove)
    return plan


def converge_project_tags(project_id: str, policy: Policy, change: TagChange | None = None) -> Flow[TagChange]:
    """Carry out the plan of a policy: first add what is missing, then remove what should not be there.

    In this order an interrupted change leaves the project with both tags rather than with none.

    :param change: the record to which each confirmed write is added, so that it outlives an error or an interruption.
    :return: that record, or a new one.
    """
    change = TagChange(project_id) if change is None else change
    plan = yield from plan_project_tags(project_id, policy)
    tags = dict(plan.tags)
    change.before = change.after = tuple(tags)
    try:
        # Also look at what needed no write: a read after a lost answer may show that others have changed it.
        for name in (*plan.add, *plan.unchanged):
            if name in tags:
                change.unchanged.append(tags[name])
                continue
            written = yield from _settling(change, name, _write(add_request(project_id, name), project_id, name))
            tags = tags if written.tags is None else written.tags
            tags[name] = written.tag or tags[name]
            (change.added if written.is_ours else change.unchanged).append(tags[name])
            change.after = tuple(tags)
        for name in (*plan.remove, *plan.absent):
            if name not in tags:
                change.absent.append(name)
                continue
            _check_removable(plan, (name,))  # another writer may have added it since it was read as absent
            tag = tags[name]
            written = yield from _settling(change, name, _write(remove_request(project_id, name), project_id, name))
            tags = tags if written.tags is None else written.tags
            tags.pop(name, None)
            if written.is_ours:
                change.removed.append(tag)
            else:
                change.absent.append(name)
            change.after = tuple(tags)
        if plan.is_exclusive and (plan.add or plan.remove):
            yield from _check_exclusive(change, policy)
    except PaperspaceError as error:
        error.notes += [
            f"Already {verb}: {quoted_list(tag.name for tag in done)}."
            for verb, done in (("added", change.added), ("removed", change.removed))
            if done
        ]
        raise
    log.log(logging.INFO if change else logging.DEBUG, "Project %s: %s", quoted(project_id), change)
    return change


def _check_removable(plan: TagPlan, names: Iterable[str]) -> None:
    reasons = {name: plan.protected[name] for name in names if name in plan.protected}
    if reasons:
        raise ProtectedTagError(
            reasons,
            subject=_subject(plan.project_id),
            action="remove tags",
            advice="Leave protected tags in place, or change the connection's Protected tags.",
        )


def _settling(change: TagChange, name: str, write: Flow[_Written]) -> Flow[_Written]:
    """Run a write, listed as unsettled until its outcome is known."""
    change.unsettled.append(name)
    try:
        written = yield from write
    except PaperspaceError as error:
        if not error.is_outcome_unknown:
            change.unsettled.remove(name)
        raise
    change.unsettled.remove(name)
    return written


def _check_exclusive(change: TagChange, policy: Policy) -> Flow[None]:
    """Read the tags once more, and raise if another writer has changed them since. Nothing is removed blindly.

    Of two concurrent sets, the one whose last read comes later sees what the other wrote.
    """
    plan = yield from plan_project_tags(change.project_id, policy)
    change.after = tuple(plan.tags)
    if not (plan.add or plan.remove):
        return
    found = [f"added {quoted_list(plan.remove)}"] if plan.remove else []
    found += [f"removed {quoted_list(plan.add)}"] if plan.add else []
    raise ConcurrentWriteError(
        f"another writer {' and '.join(found)} at the same time",
        (*plan.remove, *plan.add),
        subject=_subject(change.project_id),
        action="set its tags",
        advice="Try again; if it happens often, let one task at a time set these tags (a pool with one slot).",
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """The result of a write that left the tag in the requested state.

    :param is_ours: whether this write counts as the one that made the change: it succeeded, or it may have taken
        effect, because there was no readable answer, or a transient error such as 500.
    :param tag: the tag in the answer, if there was one to read.
    :param tags: the project's tags by name, if they had to be read again.
    """

    is_ours: bool
    tag: Tag | None = None
    tags: dict[str, Tag] | None = None


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """An answer to a write that leaves open whether it took effect.

    :param error: what to raise when a second read shows that the tag is not in the requested state.
    :param may_resend: whether the write may then be sent again instead.
    """

    error: PaperspaceError
    may_resend: bool
    max_attempts: int
    at_s: float
    retry_after_s: float | None = None


def _write(request: Request, project_id: str, name: str) -> Flow[_Written]:
    """Send a write until the tag is in the requested state. Read the tags again if an answer leaves that open."""
    wanted = request.method == "POST"
    may_be_ours = False
    started_at_s: float | None = None
    attempts_before = 0
    tags: dict[str, Tag] | None = None
    while True:
        answer = yield from _write_once(request, name)
        if isinstance(answer, Tag):
            return _Written(is_ours=True, tag=answer, tags=tags)
        may_be_ours = may_be_ours or answer.may_resend
        attempts_before = answer.error.attempts = answer.error.attempts + attempts_before
        with _noting_unknown_outcome(request):
            tags = yield from _read_tags(project_id)
        if (name in tags) == wanted:
            return _Written(is_ours=may_be_ours, tags=tags)
        started_at_s = answer.at_s if started_at_s is None else started_at_s
        in_time = answer.at_s - started_at_s < _retries.MAX_TOTAL_S and not answer.error.is_for_later
        if not (answer.may_resend and in_time and request.attempt < answer.max_attempts):
            _note_similar_names(answer.error, name, tags)
            raise answer.error
        request = replace(
            request,
            attempt=request.attempt + 1,
            retry_after_s=answer.retry_after_s,
            previous_problem=answer.error.problem,
        )


def _write_once(request: Request, name: str) -> Flow[Tag | _Unsettled]:
    """Send a write once.

    :raises PaperspaceError: the write had no effect: the service refused it, or it was not sent.
    """
    try:
        response = yield request
    except StoppedError:
        raise  # it was not sent
    except TransportError as error:
        return _Unsettled(error, may_resend=True, max_attempts=error.max_attempts, at_s=error.at_s)

    def unsettled(error: PaperspaceError, *, may_resend: bool) -> _Unsettled:
        return _Unsettled(error, may_resend, response.max_attempts, response.at_s, response.retry_after_s)

    verdict = _retries.verdict(request.method, response.status)
    if verdict == "ok":
        try:
            tag = parse_answer(request, response, lambda body: _parse_tag(load_json(body)))
        except UnexpectedResponseError as error:
            # Success without a readable tag is no better than no answer.
            return unsettled(error, may_resend=True)
        if tag.name == name:
            return tag
        return unsettled(unexpected(request, f"the service answered with the tag {quoted(tag.name)}"), may_resend=False)
    if verdict == "read first":
        return unsettled(error_of(request, response), may_resend=_retries.may_resend(response.status))
    raise error_of(request, response)


@contextmanager
def _noting_unknown_outcome(request: Request) -> Iterator[None]:
    try:
        yield
    except PaperspaceError as error:
        error.is_outcome_unknown = True
        error.notes.append(f"Unknown whether the attempt to {request.action} took effect.")
        raise


def _note_similar_names(error: PaperspaceError, name: str, tags: Iterable[str]) -> None:
    similar = [other for other in tags if other.strip().casefold() == name.strip().casefold() and other != name]
    if similar:
        error.notes.append(f"The project has {quoted_list(similar)}, which the service may treat as the same tag.")


def _read_tags(project_id: str, *, order: Order = "desc") -> Flow[dict[str, Tag]]:
    """Read all tags of a project, by name."""
    return (yield from _read_all(page_project_tags(project_id, order=order)))


def _read_all(pager: Pager[Tag]) -> Flow[dict[str, Tag]]:
    tags: dict[str, Tag] = {}
    while pager.has_more:
        for tag in (yield from pager.next_page()):
            tags.setdefault(tag.name, tag)
    return tags


def add_request(project_id: str, name: str) -> Request:
    """Return ``POST /projects/{id}/tags``: one tag per call; there is no bulk form."""
    body = json.dumps({"name": name}).encode("ascii")
    return Request("POST", tags_path(project_id), _subject(project_id), f"add tag {quoted(name)}", body)


def remove_request(project_id: str, name: str) -> Request:
    """Return ``DELETE /projects/{id}/tags?name=``: the name is in the query, never in a body."""
    target = f"{tags_path(project_id)}?name={encoded(name)}"
    return Request("DELETE", target, _subject(project_id), f"remove tag {quoted(name)}")


def tags_path(project_id: str) -> str:
    """Return the path of a project's tags."""
    return f"/projects/{encoded(project_id)}/tags"


def _subject(project_id: str) -> str:
    return f"Project {quoted(project_id)}"


def _parse_tag(value: object) -> Tag:
    # A list of 10,000 tags passes through here: the usual case costs three look-ups, and no call to json_field.
    if type(value) is dict:
        number, name, dt_created = value.get("id"), value.get("name"), value.get("dtCreated")
        if type(number) is int and type(name) is str and type(dt_created) is str:
            return Tag(number, name, dt_created)
        if type(number) is float and number.is_integer():
            # The vendor's reference says "number": JSON has only one kind of number, and 7.0 is 7.
            return _parse_tag({**value, "id": int(number)})
    return Tag(
        id=json_field(value, "id", int, "a tag"),
        name=json_field(value, "name", str, "a tag"),
        dt_created=json_field(value, "dtCreated", str, "a tag"),
    )
