"""Watching other processes from a test."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Fails with TimeoutError when it never comes true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether it has ended; its parent may not have asked how yet."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def halt(pid: int) -> None:
    """Stop it with SIGSTOP, and return only once it does nothing more: a signal takes its time to reach every thread,
    and on a busy machine a broker answers many a request meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    for task in Path(f"/proc/{pid}/task").iterdir():
        while task.exists() and _state_of(task) not in "TtZX":
            time.sleep(0.001)


@contextmanager
def halted(*processes: int | None) -> Iterator[None]:
    """They take what comes and answer nothing, until the block ends. None, the id of one that does not run, is a
    mistake of the test."""
    pids = [pid for pid in processes if pid is not None]
    assert len(pids) == len(processes)
    for pid in pids:
        halt(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _state_of(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
