"""How Sphinx builds the site: `make docs`."""

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

import numclip

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "numclip"
author = "The numclip developers"
copyright = author
version = release = numclip.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_parser",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "gallery",
    "mathml",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]

# A link or a name that leads nowhere is a warning, and `make docs` takes no warnings.
nitpicky = True
# Single backticks in docstrings hold names of numclip, which become links, and names of arguments,
# which have no target of their own: so only a name with a dot has to be found. Those of other
# libraries are not asked for, as that would take their inventories from the network.
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", r"\w+|(autograd|copy|numpy|re|scipy)\..*")]

myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Types stand in the docstrings, in words; those of the signatures are for mypy.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# Members stand on the page of their class, written by _templates/autosummary/class.rst.
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# What is indented, without a language, is commands.
highlight_language = "bash"

html_theme = "pydata_sphinx_theme"
html_title = "numclip"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = html_favicon = "_static/clip.svg"
html_theme_options = {
    "logo": {"text": "numclip"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
# A page that has none beside it needs no list of them.
html_sidebars = {"start-here": []}
html_copy_source = False
html_domain_indices = False


def skip_member(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out a NamedTuple's fields, which stand among the parameters of its class."""
    return True if type(member).__name__ == "_tuplegetter" else None


def strip_blocks(app: Sphinx, doctree: nodes.document) -> None:
    """Take off the empty line that tells doctest where a block of Markdown ends."""
    for block in doctree.findall(nodes.literal_block):
        block.rawsource = block.astext().rstrip()
        block.children = [nodes.Text(block.rawsource)]


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", strip_blocks)
    app.connect("autodoc-skip-member", skip_member)
