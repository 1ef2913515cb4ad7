"""The docs as a site: `make docs`. Pages are plain Markdown that reads as well on a Git host; docs/index.md lists them.

The source is the whole repository, so that links to the README, the examples or a schema lead to the same file here
and there: pages become pages, other files downloads. docs/decisions/0028 says why Sphinx.
"""

import re
from collections.abc import Iterable

from sphinx.application import Sphinx

import sagahook

project = "sagahook"
version = release = sagahook.__version__
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "examples/**/README.md"]
exclude_patterns = [".*", "build", "tests", "deploy", "**/node_modules", "**/templates"]

myst_heading_anchors = 4
nitpicky = True
# A transcript may leave parts out with "…", which is no JSON.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "sagahook"
html_extra_path = ["site"]
html_copy_source = False
html_show_sphinx = False

_SECTION = re.compile(r"^## (?P<caption>.+)\n(?P<body>(?:(?!## ).*\n?)*)", re.M)
_LISTED = re.compile(r"^ *- \[(?P<title>[^\]]+)\]\((?P<path>[^)#]+)\.md\)", re.M)
_DECISION = re.compile(r"\((?P<path>\d{4}-[\w-]+)\.md\) \| (?P<title>.+?) \|")


def navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """The side bar has the sections of docs/index.md and the pages that each lists. A page that none lists is a
    warning, and so fails the build."""
    if docname == app.config.root_doc:
        for section in _SECTION.finditer(source[0]):
            source[0] += _contents(section["caption"], _LISTED.finditer(section["body"]))
    elif docname == "docs/decisions/README":
        source[0] += _contents("", _DECISION.finditer(source[0]))


def _contents(caption: str, pages: Iterable[re.Match[str]]) -> str:
    lines = [f":caption: {caption}"] if caption else []
    lines += ["", *(f"{page['title']} <{page['path']}>" for page in pages)]
    return "\n".join(("", "```{toctree}", ":hidden:", ":maxdepth: 1", *lines, "```", ""))


def setup(app: Sphinx) -> None:
    app.connect("source-read", navigation)
