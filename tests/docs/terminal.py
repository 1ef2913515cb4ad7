"""A page's commands, run by a shell in the folder and environment of one reader."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from sagahook.embedded.ports import free_port
from tests.docs.blocks import Block
from tests.docs.not_run import why_not
from tests.docs.written import commands, pattern, transcript

PATIENCE = 120.0
"""Seconds for a command, and for what one in the background says."""


class Untrue(AssertionError):
    """A page says something that is not so."""


@dataclass
class Terminal:
    """environment: as the reader has it; what the page exports stays for its later blocks. replaced: text of the page
    by what stands for it here, such as the port of a stack. found: the same for what is known only once a command
    needs it, such as the id of what an earlier one made. added: by a file's name, what stands in it beside what the
    page says. elsewhere: what runs in the background already, for all pages. whole: also what is for the long run."""

    folder: Path
    environment: dict[str, str]
    replaced: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, Callable[["Terminal"], str]] = field(default_factory=dict)
    added: Mapping[str, str] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()
    whole: bool = True
    background: dict[str, "Background"] = field(default_factory=dict)
    printed: str = ""
    """By all commands so far."""

    def __post_init__(self) -> None:
        self._here = self.folder

    def do(self, block: Block) -> None:
        if "long" in block.notes and not self.whole:
            return
        if name := block.notes.get("file"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(self.real(block.text) + self.added.get(name, ""))
        elif name := block.notes.get("printed-by"):
            self.background[name].until(block.text)
        elif "services" in block.notes:
            self._serve(block)
        elif block.language == "sh":
            self._run(block, [each for each in commands(block) if not why_not(block, each)])
        elif block.language == "console":
            for command, printed in transcript(block):
                if not why_not(block, command):
                    self._compare(block, command, printed)

    def close(self) -> None:
        """The stack last: others say goodbye to it."""
        stack = self.background.pop("dev", None)
        for each in self.background.values():
            each.tell_to_end()
        for each in self.background.values():
            each.wait()
        if stack:
            stack.tell_to_end()
            stack.wait()

    def _run(self, block: Block, lines: list[str]) -> None:
        """One script; of a block that goes on in the background, its last command does."""
        last = lines.pop() if lines and "background" in block.notes else None
        for script in self._parts(lines):
            code, printed = self.shell(script)
            if code:
                raise Untrue(f"{block}: exit code {code}\n{printed}")
        if last is not None and block.notes["background"] not in self.elsewhere:
            self._go_on(block, last)

    def _parts(self, lines: list[str]) -> Iterator[str]:
        """As few scripts as there can be: what a command needs of the one before it is to be found first."""
        script: list[str] = []
        for line in lines:
            if script and any(shown in line and shown not in self.replaced for shown in self.found):
                yield "\n".join(script)
                script = []
            script.append(line)
        if script:
            yield "\n".join(script)

    def _go_on(self, block: Block, command: str) -> None:
        started = self._start(block.notes["background"], block, command)
        if "answers" in block.notes:
            started.until_it_answers(self.real(block.notes["answers"]))
        else:
            started.until(block.notes["until"])

    def _serve(self, block: Block) -> None:
        """Each command is one of our services: it is there when it says so."""
        ports = {command: free_port() for command in commands(block)}
        for command, port in ports.items():
            self._start(command, block, f"SAGAHOOK_HTTP_PORT={port} {command}")
        for command, port in ports.items():
            self.background[command].until_it_answers(f"http://127.0.0.1:{port}/readyz", well=True)

    def _start(self, name: str, block: Block, command: str) -> "Background":
        log = self.folder / f".{len(self.background)}.log"
        started = Background(block, self.real(command), log, self._here, self.environment)
        self.background[name] = started
        return started

    def _compare(self, block: Block, command: str, expected: str) -> None:
        """A command that prints for ever is ended once it has printed what is expected."""
        if name := block.notes.get("background"):
            self._start(name, block, command).until(self.real(expected))
            return
        _, printed = self.shell(command)
        if not pattern(self.real(expected)).fullmatch(printed.strip()):
            raise Untrue(f"{block}: {command}\nis said to print\n{expected}\nand printed\n{printed}")

    def shell(self, script: str) -> tuple[int, str]:
        """The exit code, and what was printed on both outputs. What it exports, and where it goes, is kept. Whoever
        asks whether it is really to be done is told yes."""
        kept = self.folder / ".environment"
        end = f"trap 'env -0 > {shlex.quote(str(kept))}' EXIT"
        with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as yes:
            done = subprocess.run(
                ["bash", "-c", f"{end}\nset -euo pipefail\n{self.real(script)}"],
                cwd=self._here,
                env=self.environment,
                stdin=yes.stdout,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
                check=False,
            )
            yes.kill()
        pairs = (each.partition("=") for each in kept.read_text().split("\0") if each)
        self.environment = {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "OLDPWD")}
        self._here = Path(self.environment.pop("PWD", self._here))
        printed = done.stdout.decode().replace("\r\n", "\n")
        self.printed += printed
        return done.returncode, printed

    def real(self, text: str) -> str:
        for shown, find in self.found.items():
            if shown in text and shown not in self.replaced:
                self.replaced = {**self.replaced, shown: find(self)}
        for shown, here in self.replaced.items():
            text = text.replace(shown, here)
        return text


class Background:
    """What a reader leaves running in a terminal of its own."""

    def __init__(
        self, block: Block, command: str, log: Path, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._block = block
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, expected: str) -> None:
        """Waits until it has printed that."""
        wanted = pattern(expected)
        self._wait(lambda: wanted.search(self.printed) is not None, f"did not print\n{expected}\nbut")

    def until_it_answers(self, url: str, *, well: bool = False) -> None:
        """Over HTTP, whatever it says; well: with 200."""
        self._wait(lambda: _answers(url, well=well), f"nobody answers at {url}")

    def _wait(self, there: Callable[[], bool], otherwise: str) -> None:
        ends = time.monotonic() + PATIENCE
        while not there():
            if self._process.poll() is not None or time.monotonic() > ends:
                raise Untrue(f"{self._block}: {otherwise}\n{self.printed}")
            time.sleep(0.05)

    def tell_to_end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)

    def wait(self) -> None:
        self._process.wait(PATIENCE)


def _answers(url: str, *, well: bool) -> bool:
    try:
        urlopen(url, timeout=5).close()  # noqa: S310  # of this machine
    except HTTPError:
        return not well
    except OSError:
        return False
    return True
