"""The stacks that the pages' commands meet: that of the quickstart, which it starts by its own commands, and those of
pages that start one themselves."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagahook.embedded.ports import free_port
from tests.docs.blocks import ROOT, blocks_of
from tests.docs.command_server import write_client
from tests.docs.terminal import Terminal

QUICKSTART = ROOT / "docs/quickstart.md"
SECRETS = {"GITHUB_WEBHOOK_SECRET": "a-secret-of-the-tests"}


@dataclass
class ReadersStack:
    """terminal: of the page in whose background it runs. description: as `sagahook dev pids` has it."""

    terminal: Terminal
    description: dict[str, Any]

    def meet(self) -> None:
        """From now on the page's addresses and keys are those of the stack that it has started."""
        self.description = json.loads(self.terminal.shell("sagahook dev pids --json")[1])
        api, keys = self.description["api"], self.description["keys"]
        self.terminal.replaced = {
            "localhost:8080": api.removeprefix("http://"),
            "http://127.0.0.1:8080": api,
            "operator-…": keys["operator"],
            "admin-…": keys["admin"],
            **self.terminal.replaced,
        }

    def opened(self, folder: Path, replaced: dict[str, str]) -> Terminal:
        """Another reader's terminal, in a clone of its own."""
        _clone_into(folder)
        usual = {"localhost:8080": self.description["api"].removeprefix("http://")}
        return Terminal(folder, dict(self.terminal.environment), usual | replaced)


@contextmanager
def followed(page: Path, folder: Path) -> Iterator[ReadersStack]:
    """Follows a page that starts a stack (in its background, as `dev`) to its end. Raises Untrue."""
    clone = folder / "clone"
    clone.mkdir()
    _clone_into(clone)
    with _commands(folder) as path:
        reader = ReadersStack(Terminal(clone, _environment(folder, path), _own_ports(page)), {})
        try:
            for block in blocks_of(page):
                reader.terminal.do(block)
                if block.notes.get("background") == "dev":
                    reader.meet()
            yield reader
        finally:
            reader.terminal.close()


def _own_ports(page: Path) -> dict[str, str]:
    """For the ports that a page names beside that of the API, which finds another by itself where it is taken."""
    named = set(re.findall(r"\b8\d{3}\b", page.read_text(encoding="utf-8"))) - {"8080"}
    return {port: str(free_port()) for port in sorted(named)}


def _clone_into(folder: Path) -> None:
    """What a clone has, without a copy of it, and set up, so that `make` does not begin to; what a page writes lies
    beside."""
    for part in ROOT.iterdir():
        if part.name not in (".git", ".venv", "build"):
            (folder / part.name).symlink_to(part)
    virtual = folder / ".venv"
    virtual.mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name != ".ready":
            (virtual / part.name).symlink_to(part)
    (virtual / ".ready").touch()


def _environment(folder: Path, path: Path) -> dict[str, str]:
    """A fresh machine's: no settings of ours, and no other stack in sight."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "SAGAHOOK_CACHE") if name in os.environ}
    virtual = Path(sys.executable).parent
    return {
        **kept,
        **SECRETS,
        "BASH_ENV": str(_activated(folder, path, virtual)),
        "PATH": f"{path}:{virtual}:{os.environ['PATH']}",
        "TMPDIR": str(folder),
        "USER": "ada",
        "COLUMNS": "140",
    }


def _activated(folder: Path, path: Path, virtual: Path) -> Path:
    """`source .venv/bin/activate` puts its folder first; the quick command stays before it."""
    script = folder / "bashrc"
    script.write_text(f'source() {{ builtin source "$@"; PATH="{path}:{virtual}:$PATH"; }}\n')
    return script


@contextmanager
def _commands(folder: Path) -> Iterator[Path]:
    """A folder with `sagahook` in it, as tests.docs.command_server runs it."""
    path = folder / "bin"
    path.mkdir()
    address = folder / "commands"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.docs.command_server", str(address)], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        write_client(path / "sagahook", address)
        yield path
    finally:
        server.kill()
        server.wait()


def placed_order(stack: ReadersStack, order_id: str) -> tuple[str, str]:
    """Its correlation id, and that of its saga, which has completed."""
    given = json.dumps({"order_id": order_id, "amount": 42})
    sent = json.loads(stack.terminal.shell(f"sagahook send order_created '{given}' --json")[1])
    correlation = sent["correlation_id"]
    status = f"curl -s 'localhost:8080/webhooks/order_created/status/{correlation}?wait=30'"
    return correlation, json.loads(stack.terminal.shell(status)[1])["saga_ids"][0]


def beside(stack: ReadersStack) -> str:
    """What a deployment's environment has, before a command."""
    return f"DATABASE_URL='{stack.description['postgres']}' SAGAHOOK_KAFKA={stack.description['kafka']}"
