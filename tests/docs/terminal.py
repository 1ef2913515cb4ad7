"""A page's commands, run by a shell in the folder and environment of one reader."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.docs.blocks import Block
from tests.docs.not_run import COMMANDS

PATIENCE = 120.0
"""Seconds for a command, and for what one in the background says."""


class Untrue(AssertionError):
    """A page says something that is not so."""


@dataclass
class Terminal:
    """environment: as the reader has it; what the page exports stays for its later blocks. replaced: text of the page
    by what stands for it here, such as the port of a stack."""

    folder: Path
    environment: dict[str, str]
    replaced: Mapping[str, str] = field(default_factory=dict)
    background: dict[str, "Background"] = field(default_factory=dict)

    def do(self, block: Block) -> None:
        if name := block.notes.get("file"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(block.text)
        elif name := block.notes.get("background"):
            self.background[name] = started = Background(self, block)
            if "answers" in block.notes:
                started.until_it_answers(self.real(block.notes["answers"]))
            else:
                started.until(block.notes["until"])
        elif name := block.notes.get("printed-by"):
            self.background[name].until(block.text)
        elif block.language == "sh":
            self._run(block, [each for each in commands(block) if not why_not(block, each)])
        elif block.language == "console":
            for command, printed in transcript(block):
                if not why_not(block, command):
                    self._compare(block, command, printed)

    def close(self) -> None:
        for each in self.background.values():
            each.end()

    def _run(self, block: Block, lines: list[str]) -> None:
        if lines:
            code, printed = self.shell("\n".join(lines))
            if code:
                raise Untrue(f"{block}: exit code {code}\n{printed}")

    def _compare(self, block: Block, command: str, expected: str) -> None:
        _, printed = self.shell(command)
        if not pattern(expected).fullmatch(printed.strip()):
            raise Untrue(f"{block}: {command}\nis said to print\n{expected}\nand printed\n{printed}")

    def shell(self, script: str) -> tuple[int, str]:
        """The exit code, and what was printed on both outputs. What it exports, and where it goes, is kept."""
        kept = self.folder / ".environment"
        end = f"trap 'env -0 > {shlex.quote(str(kept))}' EXIT"
        done = subprocess.run(
            ["bash", "-c", f"{end}\nset -euo pipefail\n{self.real(script)}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        pairs = (each.partition("=") for each in kept.read_text().split("\0") if each)
        self.environment = {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "PWD")}
        return done.returncode, done.stdout.decode().replace("\r\n", "\n")

    def real(self, text: str) -> str:
        for shown, here in self.replaced.items():
            text = text.replace(shown, here)
        return text


class Background:
    """What a reader leaves running in a terminal of its own."""

    def __init__(self, terminal: Terminal, block: Block) -> None:
        self._block = block
        self._log = terminal.folder / f".{block.notes['background']}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec env {terminal.real(block.text)}"],
                cwd=terminal.folder,
                env=terminal.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, expected: str) -> None:
        """Waits until it has printed that."""
        wanted, ends = pattern(expected), time.monotonic() + PATIENCE
        while not wanted.search(self.printed):
            if self._process.poll() is not None or time.monotonic() > ends:
                raise Untrue(f"{self._block} did not print\n{expected}\nbut\n{self.printed}")
            time.sleep(0.05)

    def until_it_answers(self, url: str) -> None:
        """Over HTTP, whatever it says."""
        ends = time.monotonic() + PATIENCE
        while not _answers(url):
            if self._process.poll() is not None or time.monotonic() > ends:
                raise Untrue(f"{self._block}: nobody answers at {url}\n{self.printed}")
            time.sleep(0.05)

    def end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(PATIENCE)


def _answers(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()  # noqa: S310  # of this machine
    except HTTPError:
        return True
    except OSError:
        return False
    return True


def commands(block: Block) -> list[str]:
    """Each whole, over as many lines as it takes; without comments that stand alone."""
    found: list[str] = []
    parts: list[str] = []
    for line in block.text.splitlines():
        if not parts and (not line.strip() or line.lstrip().startswith("#")):
            continue
        parts.append(line)
        if _is_whole("\n".join(parts)):
            found.append("\n".join(parts))
            parts = []
    assert not parts, f"{block}: {parts[0]!r} does not end"
    return found


def _is_whole(text: str) -> bool:
    if text.endswith("\\"):
        return False
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


def transcript(block: Block) -> Iterator[tuple[str, str]]:
    """Each command, and what it is said to print."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed.rstrip("\n")


def pattern(text: str) -> re.Pattern[str]:
    """`…` stands for anything, also for several lines; the spaces around it for any number of them."""
    parts = (re.escape(part.strip(" ")) for part in text.strip().split("…"))
    return re.compile(r"\s*.*?\s*".join(parts), re.S)


def named(command: str) -> str:
    """The command as it is listed: on one line, without its comment."""
    return re.sub(r"\s+", " ", re.sub(r"\s+#\s.*$", "", command, flags=re.M).replace("\\\n", " ")).strip()


def why_not(block: Block, command: str) -> str | None:
    """Why it is not run; None: it is."""
    return COMMANDS.get(block.page, {}).get(named(command))
