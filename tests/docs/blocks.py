"""The fenced blocks of the pages, and what each is.

A block says what it is where every Git host reads it, in its info string:

    python    executed: a page's blocks one after the other in one module; `await` may stand outside a function
    sh        commands
    console   commands after `$ `, and what they print; `…` stands for anything
    json yaml toml dockerfile   read, and held to the contract or the settings that they show
    text      neither: figures, forms, what somebody else prints

A comment above it, which no host shows, may say more: `<!-- block: file=shop.py -->`, that it is saved there;
`<!-- block: background=dev until="is ready" -->`, that its last command goes on in a terminal of its own, and what it
prints when it is there (or where it `answers=` over HTTP); `services`, that each of its commands is one of our
services, and goes on; `printed-by=dev`, that it is what that prints; `long`, that it is for the long run alone.
`schema=` and `over=`: see test_data_blocks.py.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
LANGUAGES = {"python", "sh", "console", "json", "yaml", "toml", "dockerfile", "text"}

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)``` *$", re.M | re.S)
_NOTE = re.compile(r"<!-- block: (?P<words>[^\n]*?) -->\n\Z")


@dataclass(frozen=True)
class Block:
    page: str
    """Its path from the repository's root."""
    line: int
    """Of its first line, from 1."""
    language: str
    text: str
    notes: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """All that people read, but the decisions' figures: those tell what was, not what is."""
    docs = chain((ROOT / "docs").rglob("*.md"), (ROOT / "examples").rglob("README.md"), ROOT.glob("*.md"))
    return sorted(page for page in docs if "node_modules" not in page.parts)


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        indent = len(fence["indent"])
        note = _NOTE.search(text, 0, fence.start())
        yield Block(
            page=page.relative_to(ROOT).as_posix(),
            line=text.count("\n", 0, fence.start("text")) + 1,
            language=fence["language"].strip(),
            text="".join(line[indent:] or "\n" for line in fence["text"].splitlines(keepends=True)),
            notes=_notes(note["words"]) if note else {},
        )


def _notes(words: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(words))
    return {name: value for name, _, value in pairs}


def blocks(*languages: str) -> list[Block]:
    """Those of all pages that are in one of the languages; all without one."""
    every = chain.from_iterable(blocks_of(page) for page in pages())
    return [block for block in every if not languages or block.language in languages]


def by_page(*languages: str) -> dict[str, list[Block]]:
    found: dict[str, list[Block]] = {}
    for block in blocks(*languages):
        found.setdefault(block.page, []).append(block)
    return found
