"""The site: `make docs` builds it from this folder, with warnings as errors, and asks nothing of the network."""

import hashlib
import os
import sys
from pathlib import Path

import fastml

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))  # for _ext

project = "fastml"
author = "The fastml developers"
copyright = author
release = version = fastml.__version__
exclude_patterns = ["_build", "_ext", "measured"]
nitpicky = True

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "_ext.assembly",
    "_ext.code",
    "_ext.docstrings",
    "_ext.source_pages",
    *(["_ext.measured"] if (DOCS / "_ext" / "measured.py").exists() else []),
]

# Markdown. Anchors of headings are what a forge makes of them, so links to them work in both places.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

# Cells run when they or the package change. What they ran with is in the name of the folder of their outputs.
nb_execution_mode = "cache"
_package = sorted(path for path in (DOCS.parent / "src").rglob("*.*") if path.suffix in (".py", ".pyx", ".pxd", ".h"))
_version = hashlib.sha256(b"".join(path.read_bytes() for path in [*_package, DOCS / "matplotlibrc"])).hexdigest()[:12]
nb_execution_cache_path = str(DOCS / "_build" / "cells" / _version)
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds for a cell; on a machine that does nothing else they take some
nb_merge_streams = True  # or what a loop prints comes in several boxes
nb_output_stderr = "warn"  # a warning in a cell is a warning of the build
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # cells are small, and threads of BLAS that wait for work take a core
os.environ["MATPLOTLIBRC"] = str(DOCS / "matplotlibrc")  # for the kernels that run cells
os.environ["IPYTHONDIR"] = str(DOCS / "_build" / "ipython")  # nobody's own settings
_profile = DOCS / "_build" / "ipython" / "profile_default"
_profile.mkdir(parents=True, exist_ok=True)
(_profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40  # errors\n")

# The API, from docstrings; `_ext/docstrings.py` turns them into reStructuredText.
autodoc_typehints = "none"  # docstrings say what arguments are, in words
autodoc_member_order = "bysource"
smartquotes = False  # "valid" is to be copied as it is
toc_object_entries_show_parents = "hide"
default_role = "name"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"fastml {version}"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_sidebars = {page: [] for page in ("index", "install", "tour", "exercises", "search", "source/**")}
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "logo": {"text": "fastml"},
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 8,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
