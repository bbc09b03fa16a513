"""Takes back what another task changed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace.api import policies
from airflow_provider_paperspace.links.paperspace import push_link
from airflow_provider_paperspace.operators.change_records import ChangeRecord, read_records
from airflow_provider_paperspace.operators.for_projects import ManyProjectsOperator
from airflow_provider_paperspace.operators.outcomes import keep_changes

if TYPE_CHECKING:
    from airflow_provider_paperspace._compat import Context
    from airflow_provider_paperspace.api.async_client import AsyncPaperspaceClient
    from airflow_provider_paperspace.api.models import TagChange

log = logging.getLogger(__name__)


class UndoProjectTagChangeOperator(ManyProjectsOperator):
    """Take back what a task of ours changed: remove what it added, add what it removed, and nothing else.

    What others did since stays. A record of a dry run holds nothing to take back. Returns the records of what it
    changed itself, by project id.

    :param change: what the other task pushed as XCom ``change``: ``tag.output["change"]``; or the output of
        :class:`SetProjectTagsOperator`; or a list of these, of a mapped task. Templated.
    """

    template_fields: Sequence[str] = ("change", "paperspace_conn_id")

    def __init__(self, *, change: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.change = change

    def execute(self, context: Context) -> dict[str, ChangeRecord]:
        """Undo the changes of all projects."""
        with self.open_hook() as hook:
            policy_of = _policies_back(read_records(self.change))
            push_link(context, hook, next(iter(policy_of)) if len(policy_of) == 1 else None)

            async def undo(client: AsyncPaperspaceClient, project_id: str) -> TagChange:
                return await client.converge_project_tags(project_id, policy_of[project_id])

            records: dict[str, ChangeRecord] = {}
            outcome = self.run_for_projects(
                hook,
                list(policy_of),
                undo,
                keep=lambda outcome: records.update(keep_changes(outcome, context)),
            )
            self.raise_for(outcome)
            return records


def _policies_back(records: Sequence[ChangeRecord]) -> dict[str, policies.Policy]:
    """Give what each project is to become again: the later of two records of a project is taken back first."""
    present: dict[str, dict[str, bool]] = {}
    for record in reversed(records):
        if record["dry_run"]:
            log.info("Project %r: the change was a dry run, there is nothing to take back", record["project_id"])
            continue
        wanted = present.setdefault(record["project_id"], {})
        wanted.update(dict.fromkeys(record["added"], False) | dict.fromkeys(record["removed"], True))
    return {
        project_id: policies.changing(
            add=[name for name, there in wanted.items() if there],
            remove=[name for name, there in wanted.items() if not there],
        )
        for project_id, wanted in present.items()
    }
