"""Sphinx configuration. Warnings are errors (see the Makefile)."""

import importlib
import pkgutil
from importlib.metadata import version as _version
from pathlib import Path

project = "igrt"
author = "The igrt developers"
copyright = "2026, The igrt developers"
release = _version("igrt")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc", "myst_nb"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
html_theme = "alabaster"
html_theme_options = {"description": "Image-guided radiotherapy, closed loop", "page_width": "1100px"}
html_title = f"igrt {release}"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True

autodoc_typehints = "none"  # numpydoc states types with units and shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
suppress_warnings = ["mystnb.unknown_mime_type"]
suppress_warnings += ["ref.citation"]  # references of a whole module are listed, not cited one by one


def _write_api_pages() -> None:
    """Write one page per public module, so that the reference never lags behind the packages."""
    folder = Path(__file__).parent / "api" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {}
    for package in ("imrt_core", "registration"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not any(part.startswith("_") for part in module.name.split(".")):
                # A package re-exports what its modules define; each object is described once, in its module.
                members = "" if module.ispkg else "   :members:\n"
                directive = f".. automodule:: {module.name}\n{members}"
                wanted[f"{module.name}.md"] = f"# {module.name}\n\n```{{eval-rst}}\n{directive}```\n"
    for page in folder.glob("*.md"):
        if page.name not in wanted:
            page.unlink()
    for name, text in wanted.items():
        page = folder / name
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def _rubric_for_references(app, what, name, obj, options, lines):
    """Make "References" of a module a rubric: as a section its label would be there once per module."""
    if what == "module":
        text = "\n".join(lines).replace("References\n----------", ".. rubric:: References")
        lines[:] = text.split("\n")


def setup(app):
    """Connect the hook."""
    app.connect("autodoc-process-docstring", _rubric_for_references)


_write_api_pages()
