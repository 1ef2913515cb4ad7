"""Service processes for the tests, forked from one that has imported the services already.

An import of everything takes a process longer than most tests take, and many tests start several. What runs is the
service's own `main`, in a process of its own with its own pid, environment and log.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from tests.earlier import ROOT, path_of

SERVICES = ("sagahook_ingest", "sagahook_runner", "sagahook_notifier", "sagahook_tracker")


class Preforked:
    """One process, as `asyncio.subprocess.Process` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        if not self._ended.done():
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def ended(self, code: int) -> None:
        self._ended.set_result(code)


class _Parent:
    """The process that forks; it ends with this one. Each line to it asks for a process, each line from it says that
    one has begun or ended."""

    def __init__(self, process: asyncio.subprocess.Process, path: Mapping[str, str]) -> None:
        self._process = process
        self._path = path
        self._asking = asyncio.Lock()
        self._begun: asyncio.Queue[int] = asyncio.Queue()
        self._running: dict[int, Preforked] = {}
        self._listening = asyncio.create_task(self._listen(), name="preforked")

    @classmethod
    async def start(cls, tree: Path) -> "_Parent":
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "tests.preforked")
        path = path_of(tree)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, cwd=tree, env=os.environ | path
        )
        return cls(process, path)

    async def fork(
        self, module: str, arguments: tuple[str, ...], env: Mapping[str, str], log: Path
    ) -> Preforked:
        assert self._process.stdin
        asked = {"module": module, "arguments": arguments, "env": {**env, **self._path}, "log": str(log)}
        async with self._asking:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            return self._running[await self._begun.get()]

    async def _listen(self) -> None:
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "code" in said:
                self._running.pop(said["pid"]).ended(said["code"])
            else:
                self._running[said["pid"]] = Preforked(said["pid"])
                self._begun.put_nowait(said["pid"])


_parents: dict[tuple[asyncio.AbstractEventLoop, Path], asyncio.Task[_Parent]] = {}


async def start_service(
    module: str, *arguments: str, env: Mapping[str, str], log: Path, tree: Path = ROOT
) -> Preforked:
    """`python -m MODULE ARGUMENTS`, with `env` as its whole environment; what it prints is the content of `log`. tree:
    where the services are; another one than this is an earlier version's."""
    whose = (asyncio.get_running_loop(), tree)
    if whose not in _parents:
        _parents[whose] = asyncio.create_task(_Parent.start(tree))
    return await (await _parents[whose]).fork(module, arguments, env, log)


def main() -> None:
    for module in SERVICES:
        wiring = import_module(f"{module}.wiring")
        assert Path(str(wiring.__file__)).is_relative_to(Path.cwd()), "another version was imported"
    signal.signal(signal.SIGCHLD, lambda *_: _tell_of_the_dead())
    try:
        for line in sys.stdin:
            # A child that ends at once must not be told of before it has begun.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            pid = os.fork()
            if pid == 0:
                _become(json.loads(line))
            _running.add(pid)
            _tell({"pid": pid})
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    finally:
        for pid in _running:
            os.kill(pid, signal.SIGKILL)


_running: set[int] = set()


def _become(asked: dict[str, Any]) -> None:
    """Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    os.environ.clear()
    os.environ.update(asked["env"])
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.argv = [asked["module"], *asked["arguments"]]
    code = 1
    try:
        import_module(f"{asked['module']}.__main__").main()
        code = 0
    except SystemExit as exit:
        if isinstance(exit.code, str):
            sys.stderr.write(f"{exit.code}\n")
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _tell_of_the_dead() -> None:
    while _running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _running.discard(pid)
        _tell({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _tell(said: dict[str, int], to: IO[str] = sys.stdout) -> None:
    os.write(to.fileno(), json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    main()
