"""Child processes that never outlive this one."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sagahook.embedded.errors import StackError

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Command:
    """How to run one child. Its stdout and stderr are appended to `log`."""

    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL


class Child:
    """One running process, started and stopped by its own pid."""

    def __init__(self, process: asyncio.subprocess.Process, command: Command) -> None:
        self._process = process
        self._command = command

    @classmethod
    async def spawn(cls, command: Command) -> "Child":
        """Starts it in a session of its own, so that Ctrl-C in the terminal reaches this process alone.

        Must be called in a thread that lives as long as the child should: the kernel watches that thread.
        """
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(command.env),
                cwd=command.cwd,
                start_new_session=True,
                preexec_fn=_tie_to_parent(command.death_signal),
            )
        return cls(process, command)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    async def until(self, answers: Callable[[], Awaitable[bool]], *, name: str, seconds: float) -> None:
        """Returns when it answers. Raises StackError, with the end of its log, when it ends or stays mute."""
        log = self._command.log
        try:
            async with asyncio.timeout(seconds):
                while not await answers():
                    if self.exit_code is not None:
                        raise StackError(f"{name} ended while starting. The end of {log}:\n{last_lines(log)}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            await self.stop(_POLL_SECONDS)
            raise StackError(
                f"{name} did not answer within {seconds:.0f} s. The end of {log}:\n{last_lines(log)}"
            ) from None
        except asyncio.CancelledError:
            await self.stop(_POLL_SECONDS)
            raise

    async def stop(self, grace: float) -> None:
        """Asks it to end, and after `grace` seconds no longer asks."""
        if self.exit_code is not None:
            return
        self._process.send_signal(self._command.stop_signal)
        try:
            await asyncio.wait_for(self.wait(), grace)
        except TimeoutError:
            self._process.kill()
            await self.wait()


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, for an error message."""
    if not log.exists():
        return "(nothing was logged)"
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-count:]) or "(nothing was logged)"


def _tie_to_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """Runs in the child between fork and exec: the kernel then signals it when its parent dies, however.

    Only Linux has this; elsewhere a parent that is killed outright leaves its children running.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the tie was made
            os._exit(1)

    return tie
