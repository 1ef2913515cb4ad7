"""SVG by whatever stands on PATH as `mmdc`. The real one brings a browser: here a script keeps its interface."""

import sys
from pathlib import Path

import pytest

from sagahook_tracker.adapters.drawing import NoRenderer, NotDrawn, Renderer

DRAWS = """
import sys
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
assert sys.argv[1] == "--quiet"
text = open(options["--input"]).read()
open(options["--output"], "w").write(f"<svg>{text}</svg>")
"""


def command(directory: Path, code: str) -> str:
    path = directory / "mmdc"
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(0o755)
    return str(path)


async def test_what_the_renderer_drew_is_given(tmp_path: Path) -> None:
    assert await Renderer(command(tmp_path, DRAWS)).svg("flowchart TD") == "<svg>flowchart TD</svg>"


async def test_a_renderer_that_is_not_there_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(NoRenderer, match="npm install -g @mermaid-js/mermaid-cli"):
        await Renderer(str(tmp_path / "mmdc")).svg("flowchart TD")


async def test_a_renderer_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(NotDrawn, match="ended with 1: no browser"):
        await Renderer(command(tmp_path, "import sys; sys.exit('no browser')")).svg("flowchart TD")
