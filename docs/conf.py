"""Sphinx settings: ``make docs``."""

from __future__ import annotations

from airflow_provider_paperspace import __version__

project = "airflow-provider-paperspace"
author = "airflow-provider-paperspace contributors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
html_theme = "furo"
exclude_patterns = ["_build"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
nitpicky = False
