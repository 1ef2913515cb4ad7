"""What was ever published of the contracts' files, as git tells."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class NoHistory(Exception):
    """There is nothing to compare with; the message says why."""


@dataclass(frozen=True, slots=True)
class Published:
    """One version of one file. path: from the repository's root, with slashes. blob: git's id of the content.
    commit: the first that had it."""

    path: str
    blob: str
    commit: str
    content: bytes


def published(root: Path, *directories: str) -> list[Published]:
    """Every version of every file below the directories that is in the published history, oldest first.

    Published is what `origin/main` shares with this branch, so that unpublished work may change its mind; in
    a clone without `origin/main` it is every commit of this branch. Raises NoHistory.
    """
    git = _Git(root)
    newest = git.answer("merge-base", "origin/main", "HEAD") or git.answer("rev-parse", "--verify", "HEAD")
    if not newest:
        raise NoHistory("nothing is committed yet")
    log = git.run(
        *("log", newest, "--reverse", "-m", "--no-renames", "--relative"),
        *("--raw", "--no-abbrev", "--format=%H", "--", *directories),
    ).decode()
    found: dict[tuple[str, str], str] = {}
    commit = ""
    for line in filter(None, log.splitlines()):
        if line.startswith(":"):
            described, path = line.split("\t", 1)
            blob = described.split()[3]
            if blob.strip("0"):  # all zeros: the commit removed the file
                found.setdefault((path, blob), commit)
        else:
            commit = line
    contents = git.contents({blob for _, blob in found})
    return [Published(path, blob, commit, contents[blob]) for (path, blob), commit in found.items()]


class _Git:
    def __init__(self, root: Path) -> None:
        git = shutil.which("git")
        if git is None:
            raise NoHistory("git is not installed")
        self._command = (git, "-C", str(root))
        self.run("rev-parse", "--show-toplevel")

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        done = self._done(arguments, stdin)
        if done.returncode:
            raise NoHistory(done.stderr.decode(errors="replace").strip().partition("\n")[0])
        return done.stdout

    def answer(self, *arguments: str) -> str:
        """One line, or "" where git refuses."""
        done = self._done(arguments, b"")
        return "" if done.returncode else done.stdout.decode().strip()

    def contents(self, blobs: set[str]) -> dict[str, bytes]:
        batch = self.run("cat-file", "--batch", stdin="\n".join(sorted(blobs)).encode())
        contents: dict[str, bytes] = {}
        while batch:
            header, _, rest = batch.partition(b"\n")  # "<id> blob <size>", then the content and a newline
            blob, _, size = header.decode().split()
            contents[blob], batch = rest[: int(size)], rest[int(size) + 1 :]
        return contents

    def _done(self, arguments: Sequence[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # noqa: S603  # the user's own git
            (*self._command, *arguments), input=stdin, capture_output=True, check=False
        )
