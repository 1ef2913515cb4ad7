"""Who runs where: a data directory's lock and description, and the list of this user's running stacks."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sagahook.embedded.errors import StackError

_PATIENCE_SECONDS = 1.0  # someone who only looks holds the lock for an instant


class DataLock:
    """One stack at a time on a data directory. The kernel gives the lock up when its holder ends."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._path = data / "lock"
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Raises StackError when another stack has it."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._try():
            if time.monotonic() > deadline:
                raise StackError(
                    f"Another stack runs on {self._data} (process {self._path.read_text() or 'unknown'}): "
                    "stop it, or choose another directory with --data."
                )
            time.sleep(0.05)

    def release(self) -> None:
        if self._file:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    @property
    def is_ours(self) -> bool:
        return self._file is not None

    def is_held(self) -> bool:
        """Whether any stack has it."""
        try:
            with self._path.open() as file:
                return not _flock(file, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def _try(self) -> bool:
        file = self._path.open("a+")
        if not _flock(file, fcntl.LOCK_EX) or not self._is_at_path(file):
            file.close()
            return False
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return True

    def _is_at_path(self, file: IO[str]) -> bool:
        """Its last holder may have removed the file between our opening and our locking it."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False


@dataclass(frozen=True)
class RunningStack:
    pid: int
    data: Path
    temporary: bool


def write_description(data: Path, description: dict[str, Any]) -> None:
    """Keeps what `sagahook dev pids` answers. It holds the keys, so only its owner may read it."""
    write_private(data / "stack.json", description)


def remove_description(data: Path) -> None:
    (data / "stack.json").unlink(missing_ok=True)


def read_description(data: Path) -> dict[str, Any]:
    """Raises StackError when no stack runs on `data`, or it is not ready yet."""
    if not DataLock(data).is_held():
        raise StackError(f"No stack runs on {data}: start one with `sagahook dev --data {data}`.")
    try:
        description: dict[str, Any] = json.loads((data / "stack.json").read_text())
    except FileNotFoundError:
        raise StackError(f"The stack on {data} is not ready yet: try again in a moment.") from None
    return description


def register(stack: RunningStack) -> None:
    entry = {"pid": stack.pid, "data": str(stack.data), "temporary": stack.temporary}
    write_private(_entry(stack.data), entry)


def unregister(data: Path) -> None:
    _entry(data).unlink(missing_ok=True)


def running_stacks() -> list[RunningStack]:
    """This user's running stacks. What crashed ones left is removed: their entries, their temporary data."""
    found = []
    for path in sorted(_directory().glob("*.json")):
        entry = json.loads(path.read_text())
        stack = RunningStack(entry["pid"], Path(entry["data"]), entry["temporary"])
        if DataLock(stack.data).is_held():
            found.append(stack)
            continue
        path.unlink(missing_ok=True)
        if stack.temporary:
            shutil.rmtree(stack.data, ignore_errors=True)
    return found


def find_stack(data: Path | None, pid: int | None) -> dict[str, Any]:
    """The description of the stack on `data`, of process `pid`, or of the only one that runs."""
    if data:
        return read_description(data.resolve())
    stacks = [stack for stack in running_stacks() if pid in (None, stack.pid)]
    if not stacks:
        which = f"with process {pid} " if pid else ""
        raise StackError(
            f"No stack {which}runs on this machine for this user: start one with `sagahook dev`."
        )
    if len(stacks) > 1:
        listing = "\n".join(f"  --pid {stack.pid}  --data {stack.data}" for stack in stacks)
        raise StackError(f"{len(stacks)} stacks run: say which one you mean.\n{listing}")
    return read_description(stacks[0].data)


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all, and readable by its owner alone."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(content))
    new.replace(path)


def _entry(data: Path) -> Path:
    return _directory() / f"{hashlib.sha256(str(data).encode()).hexdigest()[:16]}.json"


def _directory() -> Path:
    """Below the shared temporary directory, so somebody else may have made it first, to mislead us."""
    directory = Path(tempfile.gettempdir()) / f"sagahook-{os.getuid()}" / "stacks"
    for part in (directory.parent, directory):
        part.mkdir(mode=0o700, exist_ok=True)
        if part.is_symlink() or part.stat().st_uid != os.getuid():
            raise StackError(
                f"{part} belongs to somebody else: remove it, or set TMPDIR to a directory of your own."
            )
    return directory


def _flock(file: IO[str], operation: int) -> bool:
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
