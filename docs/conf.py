"""The documentation site: pages beside this file, and the reference from the docstrings."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "probes"), str(HERE.parent / "callbacks")]

import headwatch

project = "headwatch"
author = "headwatch contributors"
copyright = "2026, headwatch contributors"
release = version = headwatch.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "_ext.reference",
]
exclude_patterns = ["_build", "_ext"]

python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autoclass_content = "class"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "py:obj"  # a link where the name is one of ours, else just code

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_timeout = 60
nb_execution_raise_on_error = True
nb_merge_streams = True

html_theme = "furo"
html_title = f"headwatch {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
