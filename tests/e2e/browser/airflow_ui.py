"""Airflow's UI in a browser, and pictures of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import FloatRect, Locator, Page, expect

COLORS = 128
"""A picture of a UI has few, and a palette makes its file three times smaller."""
MAX_BYTES = 120_000
NAVIGATION, ICON, MARGIN = 64.0, 39.0, 12.0
"""In pixels: the bar on the left, the icon before a heading, and the space around."""


class AirflowUi:
    """A tab of the browser that shows Airflow's UI.

    :param page: the tab.
    :param url: the address of the API server.
    :param pictures: the folder for pictures.
    """

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        self.page = page
        self._url = url
        self._pictures = pictures

    def open(self, path: str) -> None:
        """Open a page of the UI."""
        self.page.goto(f"{self._url}{path}", wait_until="domcontentloaded")

    def open_task(self, dag_id: str, run_id: str, task_id: str, tab: str = "") -> None:
        """Open a task of a run, with its log or another tab."""
        self.open(f"/dags/{dag_id}/runs/{quote(run_id, safe='')}/tasks/{task_id}{f'/{tab}' if tab else ''}")
        expect(self.page.get_by_role("heading", name=task_id, exact=True)).to_be_visible()

    def open_connections(self) -> None:
        """Open the list of connections."""
        self.open("/connections")
        expect(self.page.get_by_role("button", name="Add Connection")).to_be_enabled()

    def move_mouse_away(self) -> None:
        """Move the mouse to the corner, and wait until no tooltip is in the way."""
        self.page.mouse.move(0, 0)
        expect(self.page.get_by_role("tooltip")).to_have_count(0)

    @contextmanager
    def sized(self, width: int, height: int) -> Iterator[None]:
        """Show the page in a window of another size, so that a picture has no empty areas."""
        before = self.page.viewport_size
        self.page.set_viewport_size({"width": width, "height": height})
        yield
        if before:
            self.page.set_viewport_size(before)

    def picture(
        self, name: str, *, start: Locator | None = None, end: Locator | None = None, margin: float = MARGIN
    ) -> None:
        """Save a picture of the window without the navigation.

        :param start: the heading with which it starts.
        :param end: the element with which it ends. If it is the same, the picture shows this element alone.
        :param margin: the space below it, in pixels.
        """
        self.move_mouse_away()
        size = self.page.viewport_size
        assert size is not None
        left, top, right, bottom = NAVIGATION, 0.0, float(size["width"]), float(size["height"])
        if start is not None:
            box = start.bounding_box()
            assert box is not None
            left, top = box["x"], box["y"]
            if start is end:
                right = left + box["width"]
            else:
                left, top = max(left - ICON, NAVIGATION), top - MARGIN
        if end is not None:
            box = end.bounding_box()
            assert box is not None
            bottom = box["y"] + box["height"] + (0 if start is end else margin)
        clip = FloatRect(x=left, y=top, width=right - left, height=bottom - top)
        self.save(name, self.page.screenshot(clip=clip, animations="disabled"))

    def save(self, name: str, png: bytes) -> None:
        """Save a picture, with few colors."""
        path = self._pictures / f"{name}.png"
        image = Image.open(io.BytesIO(png)).convert("RGB")
        image.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
        assert path.stat().st_size < MAX_BYTES, name
