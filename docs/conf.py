"""Sphinx settings: ``make docs``."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes

from airflow_provider_paperspace import __version__

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "airflow-provider-paperspace"
author = "airflow-provider-paperspace contributors"
release = __version__
SUMMARY = metadata(project)["Summary"]
html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
exclude_patterns = ["_build"]
templates_path = ["_templates"]
extensions = [
    "myst_parser",
    "notfound.extension",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"  # of a console: the command, without its prompt and what it printed
notfound_urls_prefix = "/"

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(.+\.)?T"),  # a type variable
    (r"py:class", r"airflow_provider_paperspace\.emulator\.state\.StoredProject"),  # what tests do not need
]
FULL_NAMES = {
    "Asset": "airflow.sdk.Asset",
    "date": "datetime.date",
    "datetime": "datetime.datetime",
    "timedelta": "datetime.timedelta",
}

# A build without a network takes this inventory, which is empty, in place of the others.
NO_INVENTORY = Path(__file__).parent / "_build" / ".doctrees" / "none.inv"
intersphinx_timeout = 5
intersphinx_mapping = {
    name: (url, (None, str(NO_INVENTORY)))
    for name, url in {
        "python": "https://docs.python.org/3/",
        "airflow": "https://airflow.apache.org/docs/apache-airflow/stable/",
        "airflow.sdk": "https://airflow.apache.org/docs/task-sdk/stable/",
        "requests": "https://requests.readthedocs.io/en/stable/",
        "aiohttp": "https://docs.aiohttp.org/en/stable/",
    }.items()
}


def show_values_of_defaults(
    app: Sphinx, what: str, name: str, code: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show ``max_concurrency=8`` for a default that is a constant; ``NOT_SET`` stays, which has no value to show."""

    def value_of(constant: re.Match[str]) -> str:
        value = getattr(sys.modules[code.__module__], constant[1], None)
        return f"{value!r}" if isinstance(value, (int, float, str)) else constant[0]

    return signature and re.sub(r"(?<=[= ])([A-Z][A-Z_]+)\b", value_of, signature), returns


def find_short_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Find a name that only type checkers import: its annotation stays a string, without a module."""
    name = node["reftarget"]
    if node.get("refdomain") != "py" or "." in name:
        return None
    if name in FULL_NAMES:
        node["reftarget"] = FULL_NAMES[name]
        return None
    node["refspecific"] = True  # search all modules
    python = env.domains.python_domain
    return python.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], name, node, content)


def accept_name_of_other_project(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.TextElement | None:
    """Accept a name without a link if it can be imported: it is right, and only its inventory is missing."""
    module_name, _, name = node["reftarget"].rpartition(".")
    if node.get("refdomain") != "py" or module_name.startswith("airflow_provider_paperspace"):
        return None
    try:
        module = import_module(module_name or "builtins")
    except ImportError:
        return None
    return content if hasattr(module, name) else None


def pages_in_order(app: Sphinx, page: str = "index") -> Iterator[str]:
    """Yield a page and those below it, in the order of the navigation."""
    yield page
    for child in app.env.toctree_includes.get(page, ()):
        yield from pages_in_order(app, child)


def write_llms_txt(app: Sphinx, error: Exception | None) -> None:
    """List each page with its title and its first sentence, in the form of https://llmstxt.org."""
    if error is not None or app.builder.format != "html":
        return
    lines = []
    for page in dict.fromkeys(pages_in_order(app)):
        first = next(n for n in app.env.get_doctree(page).findall(nodes.paragraph) if n.astext())
        sentence, *_ = re.split(r"(?<=[.?!])\s", first.astext().replace("\n", " "), maxsplit=1)
        url = app.config.html_baseurl + app.builder.get_target_uri(page)
        lines.append(f"- [{app.env.titles[page].astext()}]({url}): {sentence.removesuffix(':').removesuffix('.')}.")
    text = "\n".join([f"# {project}", "", f"> {SUMMARY}", "", "## Pages", "", *lines, ""])
    (Path(app.outdir) / "llms.txt").write_text(text)


def setup(app: Sphinx) -> None:
    """Write the empty inventory, and connect the functions above to the build."""
    NO_INVENTORY.parent.mkdir(parents=True, exist_ok=True)
    header = "# Sphinx inventory version 2\n# Project: none\n# Version: 0\n# The remainder is compressed using zlib.\n"
    NO_INVENTORY.write_bytes(header.encode() + zlib.compress(b""))
    # Before and after intersphinx, whose priority is 500.
    app.connect("missing-reference", find_short_name, priority=400)
    app.connect("missing-reference", accept_name_of_other_project, priority=600)
    app.connect("autodoc-process-signature", show_values_of_defaults)
    app.connect("build-finished", write_llms_txt)
