"""Searches everything that a test logs, raises, prints and shows for the API key.

The fixture in conftest.py runs this around every test. ``found`` is empty as long as nothing leaked.
"""

from __future__ import annotations

import gc
import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from _pytest.raises import RaisesExc

from airflow_provider_paperspace.api.errors import PaperspaceError

API_KEY = "psk-5uper-s3cret-0f-this-su1te"
"""Every server of the suite accepts this key, and nothing may show it."""


_AIRFLOWS_OWN = re.compile(r"^.*(msg=|\bSending request\b.*)MaskSecret\(.*$", re.MULTILINE)
"""When Airflow 3 runs a DAG in-process, it logs at DEBUG which value it is about to mask. We cannot fix that."""


_FORMATTER = logging.Formatter()


def shows_the_key(text: str) -> bool:
    return shows(API_KEY, text)


def shows(secret: str, text: str) -> bool:
    # The first look spares the expression, which is slow on long texts.
    return secret in text and secret in _AIRFLOWS_OWN.sub("", text)


class SecretWatch(logging.Handler):
    """Searches for ``secrets``: the API key, and what a test adds to it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.secrets = [API_KEY]
        self.found: list[str] = []
        self.searched = 0
        self._errors: list[BaseException] = []

    def search(self, where: str, text: str) -> None:
        self.searched += 1
        if any(shows(secret, text) for secret in self.secrets):
            self.found.append(f"{where}: {text[:300]}")

    def emit(self, record: logging.LogRecord) -> None:
        self.search(f"log of {record.name}", _FORMATTER.format(record))
        self.search(f"log arguments of {record.name}", repr(record.args))

    def search_error(self, error: BaseException) -> None:
        """Search an exception, its attributes and its whole chain, suppressed parts too."""
        seen: set[int] = set()
        queue: list[BaseException | None] = [error]
        while queue:
            link = queue.pop()
            if link is not None and id(link) not in seen:
                seen.add(id(link))
                queue += [link.__cause__, link.__context__]
                self.search("exception", f"{link} {link!r} {vars(link)}")
        self.search("traceback", "".join(traceback.format_exception(error)))

    def search_objects(self) -> None:
        """Search the repr of each of our objects that is young: created since about the start of the test."""
        for generation in (0, 1):
            for thing in gc.get_objects(generation):
                if str(type(thing).__module__).startswith("airflow_provider_paperspace"):
                    try:
                        self.search(f"repr of {type(thing).__name__}", repr(thing))
                    except AttributeError:
                        continue  # its constructor refused the arguments

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch one test: all logs at DEBUG, all errors of ours, all errors that the test expects."""
        root, watch = logging.getLogger(), self
        level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        init, leave = PaperspaceError.__init__, RaisesExc.__exit__

        def noting_init(error: PaperspaceError, *args: Any, **kwargs: Any) -> None:
            init(error, *args, **kwargs)
            watch._errors.append(error)

        def noting_exit(context: Any, kind: Any, error: Any, trace: Any) -> Any:
            if error is not None:
                watch._errors.append(error)
            return leave(context, kind, error, trace)

        PaperspaceError.__init__, RaisesExc.__exit__ = noting_init, noting_exit  # type: ignore[method-assign]
        try:
            yield
            self.search_objects()
        finally:
            PaperspaceError.__init__, RaisesExc.__exit__ = init, leave  # type: ignore[method-assign]
            root.removeHandler(self)
            root.setLevel(level)
            for error in self._errors:
                self.search_error(error)
            self._errors.clear()
