"""Check the links within a built site: ``python tests/site_links.py docs/_build``."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors and links of one page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.anchors, self.links = {""}, []  # type: set[str], list[str]
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id":
                self.anchors.add(value or "")
            elif name in ("href", "src"):
                self.links.append(value or "")


def broken_links(site: Path) -> list[str]:
    """Return each link that leads to no file, or to no anchor, of the site, with the page that has it."""
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    links = [(path, link) for path, page in pages.items() for link in page.links]
    listed = site / "llms.txt"
    links += [(listed, link) for link in re.findall(r"\]\((.*?)\)", listed.read_text())]
    broken = [(path, link) for path, link in links if not _leads_somewhere(site, pages, path, link)]
    return [f"{path.relative_to(site)}: {link}" for path, link in broken]


def _leads_somewhere(site: Path, pages: dict[Path, Page], path: Path, link: str) -> bool:
    url = urlsplit(link)
    if url.scheme or url.netloc:
        return True
    folder = site if url.path.startswith("/") else path.parent
    target = (folder / unquote(url.path).lstrip("/")).resolve() if url.path else path
    return target.exists() and (target not in pages or unquote(url.fragment) in pages[target].anchors)


if __name__ == "__main__":
    broken = broken_links(Path(sys.argv[1]).resolve())
    sys.exit("\n".join(["These links lead nowhere:", *broken]) if broken else 0)
