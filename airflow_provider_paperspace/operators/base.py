"""What all our operators share: a connection, and a link to the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_paperspace._compat import BaseOperator
from airflow_provider_paperspace.hooks.opening import open_hook
from airflow_provider_paperspace.links.paperspace import PaperspaceProjectLink

if TYPE_CHECKING:
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook


class PaperspaceBaseOperator(BaseOperator):
    """An operator with a connection to Paperspace.

    :param paperspace_conn_id: the connection's id. Templated.
    """

    operator_extra_links = (PaperspaceProjectLink(),)

    def __init__(self, *, paperspace_conn_id: str = "paperspace_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paperspace_conn_id = paperspace_conn_id
        self._given: dict[str, bool] = {}

    def check_given(self) -> None:
        """Refuse an argument that was given and has come to None: left out, it would mean something else.

        :raises TypeError: there is one.
        """
        for argument, was_given in self._given.items():
            if was_given and getattr(self, argument) is None:
                raise TypeError(f"{argument} is None. Did the task that it comes from return nothing?")

    @contextmanager
    def open_hook(self) -> Iterator[PaperspaceHook]:
        """Open the hook for a ``with`` block.

        :raises AirflowFailException: in the block, something failed that a retry of the task cannot mend.
        """
        with open_hook(self.paperspace_conn_id, self.task_id) as hook:
            yield hook
