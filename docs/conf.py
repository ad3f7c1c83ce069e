"""Sphinx: ``sphinx-build -W docs docs/_build`` makes the documentation, and fails on warnings."""

from appliance import __version__

project = "The appliance"
author = "The appliance authors"
project_copyright = "The appliance authors, MIT licence"
release = version = __version__

exclude_patterns = ["_build"]
highlight_language = "none"
nitpicky = True

html_theme = "alabaster"
html_theme_options = {"description": "A TLS front door for Python applications", "fixed_sidebar": True}
html_show_sourcelink = False
