"""The stacks that the pages' commands meet: that of the quickstart, which it starts by its own commands, and those of
pages that start one themselves."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagahook.cli.kafka_programs import PROGRAMS as KAFKAS_OWN
from sagahook.embedded.ports import free_port
from sagahook.embedded.postgres import binaries
from tests.docs.blocks import ROOT, blocks_of
from tests.docs.command_server import PROGRAMS, write_client
from tests.docs.terminal import Terminal
from tests.docs.world import World, world_of

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
            "localhost:9092": self.description["kafka"],
            "operator-…": keys["operator"],
            "admin-…": keys["admin"],
            **self.terminal.replaced,
        }

    @contextmanager
    def read(self, page: str, folder: Path, *, whole: bool) -> Iterator[Terminal]:
        """Another reader's terminal, in a clone of its own, with what that page takes for granted."""
        world = world_of(page)
        clone_into(folder)
        _lay_out(world, folder)
        port = free_port()
        usual = {
            "localhost:8080": self.description["api"].removeprefix("http://"),
            "http://127.0.0.1:8080": self.description["api"],
            "http://sagahook:8080": self.description["api"],
            "localhost:9092": self.description["kafka"],
            "127.0.0.1:9092": self.description["kafka"],
            "kafka:9092": self.description["kafka"],
            "localhost:8000": f"127.0.0.1:{port}",
        }
        # What the stack was told of its senders is not what this reader tells the command line.
        environment = {
            name: value for name, value in self.terminal.environment.items() if name != "SAGAHOOK_SOURCES"
        }
        listening = {"GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}", "UVICORN_PORT": str(port)}
        with world.out(self) as shown:
            terminal = Terminal(
                folder,
                {**environment, **listening, **world.environment},
                {**shown, **{text: here for text, here in usual.items() if text not in shown}},
                world.found,
                world.added,
                elsewhere=frozenset({"dev"}),
                whole=whole,
            )
            try:
                yield terminal
            finally:
                terminal.close()


@contextmanager
def followed(page: Path, folder: Path) -> Iterator[ReadersStack]:
    """Follows a page that starts a stack (in its background, as `dev`) to its end. Raises Untrue."""
    world = world_of(page.relative_to(ROOT).as_posix())
    clone = folder / "clone"
    clone.mkdir()
    clone_into(clone)
    _lay_out(world, clone)
    with _commands(folder) as path:
        environment = {**_environment(folder, path), **world.environment}
        shown = {**world.shown, **_own_ports(page)}
        reader = ReadersStack(Terminal(clone, environment, shown, world.found, world.added), {})
        try:
            for block in blocks_of(page):
                reader.terminal.do(block)
                if block.notes.get("background") == "dev":
                    reader.meet()
            yield reader
        finally:
            reader.terminal.close()


def _lay_out(world: World, folder: Path) -> None:
    for name, text in world.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _own_ports(page: Path) -> dict[str, str]:
    """For the ports that a page names beside that of the API, which finds another by itself where it is taken."""
    named = set(re.findall(r"\b(?:8\d|60)\d\d\b", page.read_text(encoding="utf-8"))) - {"8080"}
    return {port: str(free_port()) for port in sorted(named)}


def clone_into(folder: Path) -> None:
    """What a clone has, without a copy of it; what a page writes lies beside."""
    for part in ROOT.iterdir():
        if part.name not in (".git", ".venv", "build"):
            (folder / part.name).symlink_to(part)
    set_up(folder)


def set_up(folder: Path) -> None:
    """So that `make` there takes our environment."""
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
        "PATH": f"{path}:{virtual}:{binaries()}:{os.environ['PATH']}",
        "TMPDIR": str(folder),
        "CURL_HOME": str(_curl_that_fails(folder)),
        "USER": "ada",
        "COLUMNS": "140",
    }


def _activated(folder: Path, path: Path, virtual: Path) -> Path:
    """`source .venv/bin/activate` puts its folder first; the quick command stays before it."""
    script = folder / "bashrc"
    script.write_text(f'source() {{ builtin source "$@"; PATH="{path}:{virtual}:$PATH"; }}\n')
    return script


def _curl_that_fails(folder: Path) -> Path:
    """Where it is told to end with an error where what it asked for is refused."""
    (folder / ".curlrc").write_text("fail\n")
    return folder


@contextmanager
def _commands(folder: Path) -> Iterator[Path]:
    """A folder with `sagahook` and other programs in it, as tests.docs.command_server runs them, and with Kafka's own
    as its distribution calls them."""
    path = folder / "bin"
    path.mkdir()
    address = folder / "commands"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.docs.command_server", str(address)], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        for program in PROGRAMS:
            write_client(path / program, address)
        for program in KAFKAS_OWN:
            script = path / f"kafka-{program}.sh"
            script.write_text(f'#!/bin/sh\nexec sagahook kafka {program} "$@"\n')
            script.chmod(0o755)
        yield path
    finally:
        server.kill()
        server.wait()


@dataclass(frozen=True)
class Sent:
    """A webhook on the stack."""

    stack: ReadersStack
    source: str
    correlation_id: str

    def started(self) -> str:
        """Its saga's id, once there is one."""
        while not (ids := self._status(0).get("saga_ids")):
            time.sleep(0.05)
        return str(ids[0])

    def ended(self) -> str:
        """Its saga's id, once that is over."""
        while not (status := self._status(30))["final"]:
            pass
        return str(status["saga_ids"][0])

    def _status(self, wait: int) -> dict[str, Any]:
        path = f"webhooks/{self.source}/status/{self.correlation_id}?wait={wait}"
        answer: dict[str, Any] = json.loads(self.stack.terminal.shell(f"curl -s 'localhost:8080/{path}'")[1])
        return answer


def sent(stack: ReadersStack, source: str, body: dict[str, Any]) -> Sent:
    given = shlex.quote(json.dumps(body))
    answer = json.loads(stack.terminal.shell(f"sagahook send {source} {given} --json")[1])
    return Sent(stack, source, answer["correlation_id"])


def placed_order(stack: ReadersStack, order_id: str) -> tuple[str, str]:
    """Its correlation id, and that of its saga, which has completed."""
    order = sent(stack, "order_created", {"order_id": order_id, "amount": 42})
    return order.correlation_id, order.ended()


def beside(stack: ReadersStack) -> str:
    """What a deployment's environment has, before a command."""
    return f"DATABASE_URL='{stack.description['postgres']}' SAGAHOOK_KAFKA={stack.description['kafka']}"


def new_database(stack: ReadersStack, name: str) -> str:
    """An empty one on the stack's server; its URL."""
    url = stack.description["postgres"]
    begin = f"-c 'DROP DATABASE IF EXISTS {name} WITH (FORCE)' -c 'CREATE DATABASE {name}'"
    code, said = stack.terminal.shell(f"psql '{url}' {begin}")
    assert code == 0, said
    return f"{url.rpartition('/')[0]}/{name}"
