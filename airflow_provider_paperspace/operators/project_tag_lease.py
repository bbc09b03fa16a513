"""A tag that is on a project while a group of tasks runs, and goes when they end, however they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.arguments import tag_names
from airflow_provider_paperspace.operators.project_tag_change import (
    AddProjectTagOperator,
    ProjectTagsChangeOperator,
    Tags,
)
from airflow_provider_paperspace.operators.project_tag_list import ListProjectTagsOperator

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.models import TagChange, TagJson


class ReturnProjectTagOperator(ProjectTagsChangeOperator):
    """Take tags off a project that were not there before.

    Returns the tags that were taken off. What it changed is pushed as XCom ``change``.

    :param tags: a name, a list of names, or a list of tags as another task returned them. Templated.
    :param before: the tags that were there before, which stay, as :class:`ListProjectTagsOperator` returned them.
        Templated.
    """

    template_fields: Sequence[str] = (*ProjectTagsChangeOperator.template_fields, "tags", "before")

    def __init__(self, *, tags: Tags, before: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tags = tags
        self.before = before

    def policy(self, context: Context) -> policies.Policy:
        """Want those of the tags gone that were not there before."""
        before = set(tag_names(self.before, "before"))
        run_id = getattr(context.get("ti"), "run_id", None)
        # What carries the run's id is its own: a look that came after a failed return would take it for another's.
        return policies.removing(
            [name for name in tag_names(self.tags) if name not in before or (run_id and run_id in name)]
        )

    def result_of(self, project_id: str, value: TagChange, context: Context) -> list[TagJson]:
        """Give the tags that were taken off."""
        return [tag.as_json() for tag in value.removed]


class ProjectTagLease:
    """Keep a tag on a project while the tasks of a ``with`` block run.

    ::

        with ProjectTagLease(task_id="gpu", project_id="prmximcci", tags="in-use:{{ run_id }}"):
            train() >> evaluate()

    It makes three tasks: ``gpu_look`` reads which tags are there, ``gpu_take`` adds what is missing, and the teardown
    ``gpu_return`` takes off what was not there at the look, whether the tasks between succeed, fail or are skipped.
    The look is a task of its own so that it holds through every retry of the others.

    Put the run's id into the name, as above: then the tag is the run's own, and is returned whatever was there at the
    look. Without it, two runs that lease the same tag at the same time cannot tell whose it is; and when the return has
    failed and the group is cleared, the new look finds the old tag and leaves it.

    :param task_id: what the three tasks' ids begin with.
    :param tags: a name, a list of names, or a list of tags as another task returned them. Templated.
    :param project_id: the project's id, or the project as another task returned it. Templated.
    :param project_name: the project's name, in place of its id. Templated.
    :param task_arguments: arguments for all three tasks, such as ``paperspace_conn_id`` and ``retries``.
    """

    def __init__(
        self,
        *,
        task_id: str,
        tags: Tags,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        **task_arguments: Any,
    ) -> None:
        if "project_ids" in task_arguments:
            raise ValueError("A lease is for one project: give project_id or project_name, and make one for each.")
        project: dict[str, Any] = {"project_id": project_id, "project_name": project_name, **task_arguments}
        self.look = ListProjectTagsOperator(task_id=f"{task_id}_look", **project)
        self.take = AddProjectTagOperator(task_id=f"{task_id}_take", tags=tags, **project)
        self.give_back = ReturnProjectTagOperator(
            task_id=f"{task_id}_return", tags=tags, before=self.look.output, **project
        )
        self.look >> self.take
        # Both are its setups: what was taken in part is returned, too.
        self.give_back.as_teardown(setups=[self.look, self.take])

    def __enter__(self) -> Self:
        self.give_back.__enter__()  # type: ignore[no-untyped-call]  # Airflow gives it no types
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
