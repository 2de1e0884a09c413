"""How the pages are built, from the root of the repository:

sphinx-build -W -c docs . build/pages

The source directory is the repository, so a page stands beside what it describes and nothing is copied.
"""

import sys
import tomllib
from pathlib import Path

import jaxcnn

sys.path.insert(0, str(Path(__file__).parent))

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
author = PROJECT["authors"][0]["name"]
release = jaxcnn.__version__
language = "en"

smartquotes_action = "D"  # dashes, but no curly quotation marks: what stands in them is often code

root_doc = "docs/index"
include_patterns = ["docs/*.md", "docs/api/*.md", "jaxcnn/ops/**.md", "notebooks/*.ipynb", "experiments/TRIES.md"]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "docstrings",  # ours, beside this file
]

# ---------------------------------------------------------------------------------------------------------- Markdown

nb_execution_mode = "off"  # notebooks show the outputs that are stored in them; the tests execute them
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]  # widgets of progress bars, which have a text beside them

# ------------------------------------------------------------------------------------------------------------- the API

autodoc_default_options = {"members": True}
autodoc_typehints = "none"  # every `Args` says shape, unit and range, which the types do not
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_param = False  # "x, window, stride: …" stays one entry
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "py:obj"
add_module_names = False
toc_object_entries_show_parents = "hide"

# ------------------------------------------------------------------------------------------------------------- the look

html_theme = "sphinx_book_theme"
html_title = "jaxcnn"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_extra_path = ["site"]  # an index.html that leads to the first page
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "repository_url": PROJECT["urls"]["Repository"],
    "repository_branch": "main",
    "use_repository_button": True,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "show_toc_level": 2,
    "navbar_persistent": [],  # the search is in the sidebar
    "secondary_sidebar_items": {"**": ["page-toc"], "docs/coming_from": []},  # four columns want the room
}
