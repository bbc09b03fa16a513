"""A tag that is set while a group of tasks runs, and removed when they end, however they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_paperspace._arguments import Tags, parse_tag_names
from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.api.errors import InvalidArgumentError
from airflow_provider_paperspace.api.project_tags import converge_project_tags
from airflow_provider_paperspace.operators._base import ProjectTagsOperator, tags_as_json
from airflow_provider_paperspace.operators.project_tags import AddProjectTagOperator, ListProjectTagsOperator

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.models import TagJson


class ProjectTagLease:
    """Keep a tag on a project while the tasks of a ``with`` block run.

    ::

        with ProjectTagLease(task_id="gpu", project_id="prmximcci", tags="in-use:{{ run_id }}"):
            train() >> evaluate()

    It makes three tasks: ``gpu_look`` reads which tags are there, ``gpu_take`` adds what is missing, and the teardown
    ``gpu_return`` removes what was not there at the look, whether the tasks between succeed, fail or are skipped. The
    look is a task of its own so that it holds through every retry of the others.

    Put the run id into the name, as above: then the tag is the run's own, and is returned whatever was there at the
    look. Without it, two runs that lease the same tag at the same time cannot tell whose it is; and if the return
    failed and the group is cleared, the new look finds the old tag and leaves it.

    :param task_id: prefix of the three task ids.
    :param tags: a name, a list of names, or tags as another task returned them. Templated.
    :param project_id: the project id, or the project as another task returned it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param paperspace_conn_id: the connection id. Templated.
    :param kwargs: arguments for all three tasks, such as ``retries``.
    """

    def __init__(
        self,
        *,
        task_id: str,
        tags: Tags,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        if "project_ids" in kwargs:
            raise InvalidArgumentError(
                "A lease is for one project: set project_id or project_name, and make one lease per project."
            )
        project: dict[str, Any] = {
            "project_id": project_id,
            "project_name": project_name,
            "paperspace_conn_id": paperspace_conn_id,
            **kwargs,
        }
        self.look = ListProjectTagsOperator(task_id=f"{task_id}_look", **project)
        self.take = AddProjectTagOperator(task_id=f"{task_id}_take", tags=tags, **project)
        self.give_back = ReturnProjectTagOperator(
            task_id=f"{task_id}_return", tags=tags, before=self.look.output, **project
        )
        self.look >> self.take
        # Both are its setups: a lease that was taken in part is returned, too.
        self.give_back.as_teardown(setups=[self.look, self.take])

    def __enter__(self) -> Self:
        self.give_back.__enter__()  # type: ignore[no-untyped-call]  # Airflow gives it no types
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]


class ReturnProjectTagOperator(ProjectTagsOperator):
    """Remove tags from a project that were not there before: the last task of a lease.

    Returns the tags that were removed. What was changed becomes XCom ``change``.

    :param tags: a name, a list of names, or tags as another task returned them. Templated.
    :param before: the tags that were there before, which stay, as ``ListProjectTagsOperator`` returned them. Templated.
    :param project_id: the project id, or the project as another task returned it. Templated.
    :param project_name: the exact project name, instead of its id. Templated.
    :param paperspace_conn_id: the connection id. Templated.
    """

    template_fields: Sequence[str] = (*ProjectTagsOperator.template_fields, "tags", "before")

    def __init__(
        self,
        *,
        tags: Tags,
        before: Any,
        project_id: str | Mapping[str, Any] | None = None,
        project_name: str | None = None,
        paperspace_conn_id: str = "paperspace_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            project_id=project_id,
            project_name=project_name,
            project_ids=None,
            max_concurrency=1,
            paperspace_conn_id=paperspace_conn_id,
            **kwargs,
        )
        self.tags = tags
        self.before = before

    def execute(self, context: Context) -> list[TagJson] | dict[str, list[TagJson]]:
        """Return the tags that were removed."""
        with self.open_hook() as hook, self.record_changes(context) as changes:
            before = set(parse_tag_names(self.before, "before"))
            run_id = getattr(context.get("ti"), "run_id", None)
            # A tag with the run id is its own: a look that came after a failed return would take it for another's.
            own = [name for name in parse_tag_names(self.tags) if name not in before or (run_id and run_id in name)]
            policy = policies.removing(own)
            return self.run_for_projects(
                hook,
                context,
                lambda project_id: converge_project_tags(project_id, policy, changes.start(project_id)),
                lambda change: tags_as_json(change.removed),
            )
