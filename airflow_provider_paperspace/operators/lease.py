"""A tag that is set while a group of tasks runs, and removed when they end, however they end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_paperspace._arguments import (
    NOT_SET,
    NotSet,
    ProjectIds,
    Tags,
    check_not_empty,
    is_constant,
    naming_task,
    parse_bool,
    parse_tag_names,
)
from airflow_provider_paperspace._quoting import quoted, quoted_list
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import ConcurrentWriteError
from airflow_provider_paperspace.api.models import TagChange, TagTarget
from airflow_provider_paperspace.api.project_tags import converge_project_tags, plan_project_tags
from airflow_provider_paperspace.operators._base import ProjectTagsOperator, tags_as_json
from airflow_provider_paperspace.operators._batch import DEFAULT_MAX_CONCURRENCY

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api._messages import Flow
    from airflow_provider_paperspace.api.models import Tag, TagJson


class ProjectTagLease:
    """Keep a tag on a project while the tasks of a ``with`` block run.

    ::

        with ProjectTagLease(task_id="lease", tags="in-use", project_id="prmximcci"):
            train() >> evaluate()

    It creates two tasks: ``lease_take`` adds the tag, and the teardown ``lease_return`` removes it, whether the tasks
    in between succeed, fail or are skipped. ``with ProjectTagLease(...) as lease`` makes them available as
    ``lease.take`` and ``lease.give_back``: ``sensor >> lease.take``.

    Each run has its own tag, ``in-use/<DAG id>-<8 hex digits>``, which stays the same when a task is retried. So a
    retry adds no second tag, a run removes only its own tag, and several runs can hold a lease on the same project.
    ``ProjectTagSensor(tags="in-use/*", mode_of_match="none")`` waits until a project is free. If a run could not remove
    its tag, a clean-up can, with the pattern ``in-use/*``. The tag's ``dtCreated`` is most likely the time at
    which the run first took the lease, even if the run was cleared and took it again.

    With ``exclusive=True`` only one run at a time holds the lease on a project. If another run holds it, ``lease_take``
    fails and names the holder; set ``retries``, and each retry asks again. If two runs take it at the same moment,
    both may remove their tags and fail, but they never both hold it.

    :param task_id: prefix of the two task ids.
    :param tags: first part of the tag name, such as ``in-use`` for ``in-use/...``, or a list of these. Templated.
    :param exclusive: whether to fail while another run holds the lease.
    :param project_id: the project id, or the project as another task returned it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: a list of project ids, or of projects, instead of one project. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: arguments for both tasks, such as ``retries``.
    """

    def __init__(
        self,
        *,
        task_id: str,
        tags: Tags,
        exclusive: bool = False,
        project_id: str | Mapping[str, Any] | NotSet = NOT_SET,
        project_name: str | NotSet = NOT_SET,
        project_ids: ProjectIds | NotSet = NOT_SET,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        arguments: dict[str, Any] = {
            "tags": tags,
            "project_id": project_id,
            "project_name": project_name,
            "project_ids": project_ids,
            "max_concurrency": max_concurrency,
            "paperspace_conn_id": paperspace_conn_id,
            **kwargs,
        }
        self.take = TakeProjectTagLeaseOperator(
            task_id=f"{task_id}_take", lease_id=task_id, exclusive=exclusive, **arguments
        )
        # A task group has put its own id in front: leases of different groups are different leases.
        lease_id = self.take.lease_id = self.take.task_id.removesuffix("_take")
        self.give_back = ReturnProjectTagLeaseOperator(task_id=f"{task_id}_return", lease_id=lease_id, **arguments)
        self.give_back.as_teardown(setups=[self.take])

    def __enter__(self) -> Self:
        self.give_back.__enter__()  # type: ignore[no-untyped-call]  # Airflow has no types for it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]


class TakeProjectTagLeaseOperator(ProjectTagsOperator):
    """Add the tags of a lease: the first task of :class:`ProjectTagLease`.

    Returns the tags; for many projects, by project id. The change record is pushed as XCom ``change``.

    :param tags: first part of the tag names: a name, or a list of names. Templated.
    :param lease_id: the ``task_id`` of the lease, with the id of its task group in front. Part of each tag name is
        derived from it.
    :param exclusive: whether to fail while another run holds the lease. A task that fails for this reason leaves no tag
        of the lease on that project; with ``project_ids``, the other projects keep theirs.
    :param project_id: the project id, or the project as another task returned it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: a list of project ids, or of projects, instead of one project. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: the arguments of every operator, such as ``retries`` and ``outlets``.
    """

    template_fields: Sequence[str] = (*ProjectTagsOperator.template_fields, "tags")

    def __init__(
        self,
        *,
        tags: Tags,
        lease_id: str,
        exclusive: bool = False,
        project_id: str | Mapping[str, Any] | NotSet = NOT_SET,
        project_name: str | NotSet = NOT_SET,
        project_ids: ProjectIds | NotSet = NOT_SET,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            project_id=project_id,
            project_name=project_name,
            project_ids=project_ids,
            max_concurrency=max_concurrency,
            paperspace_conn_id=paperspace_conn_id,
            **kwargs,
        )
        self.tags = tags
        self.lease_id = lease_id
        self.exclusive = exclusive
        self.check_constants()

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        with naming_task(self.task_id):
            check_not_empty("lease_id", self.lease_id)
            parse_bool(self.exclusive, "exclusive")
            if is_constant(self.tags):
                _parse_lease_tags(self.tags)

    def execute(self, context: Context) -> list[TagJson] | dict[str, list[TagJson]]:
        """Add the tags, and return them."""
        with self.open_hook() as hook, self.record_changes(context) as changes:
            names = lease_names(self.tags, self.lease_id, context)
            take = take_exclusively if parse_bool(self.exclusive, "exclusive") else take_lease
            return self.run_for_projects(
                hook,
                context,
                lambda project_id: take(names, changes.start(project_id)),
                lambda change: tags_as_json(change.present(names)),
            )


class ReturnProjectTagLeaseOperator(ProjectTagsOperator):
    """Remove the tags of a lease: the last task of :class:`ProjectTagLease`.

    Returns the tags that were removed; for many projects, by project id. The change record is pushed as XCom
    ``change``.

    :param tags: first part of the tag names: a name, or a list of names. Templated.
    :param lease_id: the ``task_id`` of the lease, with the id of its task group in front. Part of each tag name is
        derived from it.
    :param project_id: the project id, or the project as another task returned it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param project_ids: a list of project ids, or of projects, instead of one project. Templated.
    :param max_concurrency: maximum number of projects at a time.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: the arguments of every operator, such as ``retries`` and ``outlets``.
    """

    template_fields: Sequence[str] = (*ProjectTagsOperator.template_fields, "tags")

    def __init__(
        self,
        *,
        tags: Tags,
        lease_id: str,
        project_id: str | Mapping[str, Any] | NotSet = NOT_SET,
        project_name: str | NotSet = NOT_SET,
        project_ids: ProjectIds | NotSet = NOT_SET,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            project_id=project_id,
            project_name=project_name,
            project_ids=project_ids,
            max_concurrency=max_concurrency,
            paperspace_conn_id=paperspace_conn_id,
            **kwargs,
        )
        self.tags = tags
        self.lease_id = lease_id
        self.check_constants()

    def check_constants(self) -> None:
        """Check what is known when the DAG is parsed."""
        super().check_constants()
        with naming_task(self.task_id):
            check_not_empty("lease_id", self.lease_id)
            if is_constant(self.tags):
                _parse_lease_tags(self.tags)

    def execute(self, context: Context) -> list[TagJson] | dict[str, list[TagJson]]:
        """Remove the tags, and return those that were removed."""
        with self.open_hook() as hook, self.record_changes(context) as changes:
            policy = policies.removing(lease_names(self.tags, self.lease_id, context))
            return self.run_for_projects(
                hook,
                context,
                lambda project_id: converge_project_tags(project_id, policy, changes.start(project_id)),
                lambda change: tags_as_json(change.removed),
            )


def take_lease(names: Sequence[str], change: TagChange) -> Flow[TagChange]:
    """Add the tags of a lease, whoever else holds it."""
    return converge_project_tags(change.project_id, policies.adding(names), change)


def take_exclusively(names: Sequence[str], change: TagChange) -> Flow[TagChange]:
    """Add the tags of a lease if nobody else holds it, and remove them if somebody else took it at the same moment.

    Of two runs, the one whose last read comes later sees the tag of the other. So they never both hold the lease.

    :raises ConcurrentWriteError: another run holds the lease.
    """
    yield from converge_project_tags(change.project_id, _taking_if_free(names, change.project_id), change)
    try:
        yield from plan_project_tags(change.project_id, _taking_if_free(names, change.project_id, is_taken=True))
    except ConcurrentWriteError:
        returned = TagChange(change.project_id)
        try:
            yield from converge_project_tags(change.project_id, policies.removing(names), returned)
        finally:
            _subtract(returned, change)
        raise
    return change


def _taking_if_free(names: Sequence[str], project_id: str, *, is_taken: bool = False) -> policies.Policy:
    """Return the policy that wants the tags of a lease present, and raises if another run holds it.

    :param is_taken: False before the tags are written. If a killed try left one of them behind, the policy does not
        raise at that point: the check after the write does, and the tags are removed.
    """
    prefixes = tuple(f"{name.rpartition('/')[0]}/" for name in names)

    def policy(tags: Mapping[str, Tag]) -> TagTarget:
        holders = [name for name in tags if name.startswith(prefixes) and name not in names]
        if holders and (is_taken or not any(name in tags for name in names)):
            raise ConcurrentWriteError(
                f"another run holds it: {quoted_list(holders)}",
                tuple(holders),
                subject=f"Project {quoted(project_id)}",
                action="take the lease",
                advice="A retry takes it once it is returned. If that run is over, remove its tag.",
            )
        return TagTarget(present=tuple(names))

    return policy


def _subtract(returned: TagChange, change: TagChange) -> None:
    """Take what was returned out of the record of what was taken."""
    taken = [tag.name for tag in change.added]
    change.added = [tag for tag in change.added if tag.name not in [other.name for other in returned.removed]]
    change.removed += [tag for tag in returned.removed if tag.name not in taken]
    change.unsettled += returned.unsettled
    change.after = returned.after or change.after


def lease_names(tags: object, lease_id: str, context: Context) -> list[str]:
    """Return the tag names of a lease: the same for every try, different for each run, DAG, lease and mapped task.

    :raises InvalidArgumentError: there are no names.
    """
    ti: Any = context["ti"]
    holder = repr((ti.dag_id, ti.run_id, lease_id, ti.map_index))
    digest = hashlib.sha256(holder.encode()).hexdigest()[:8]
    return [f"{name}/{ti.dag_id}-{digest}" for name in _parse_lease_tags(tags)]


def _parse_lease_tags(tags: object) -> list[str]:
    """Return the names, of which there must be at least one: a lease without a tag would protect nothing."""
    names = parse_tag_names(tags)
    check_not_empty("tags", names)
    return names
