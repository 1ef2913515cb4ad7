"""One event loop in a thread of the process that uses it, beside a server that waits (WSGI).

A server that forks its workers copies whatever there was before, but of the threads only the one that forked. So
nothing of a loop is used by a child: what it uses is made anew, when it is first used.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from sagahook.integrations.gateway import Gateway

T = TypeVar("T")

_STOP_SECONDS = 15.0
"""Longer than what was accepted takes to be answered: `publish_timeout` and a second."""


class PerProcess(Generic[T]):
    """Something of which each process has one of its own, made when it is first asked for."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: T | None = None
        self._lock = threading.Lock()
        _all.add(self)

    def __call__(self) -> T:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def in_child(self) -> None:
        if self._made is not None:
            _kept.append(self._made)
        self._made = None
        # The parent's, if a thread held it when the process forked, would never be released here.
        self._lock = threading.Lock()


_all: WeakSet[PerProcess[Any]] = WeakSet()
_kept: list[object] = []
"""What a child must not use nor let go: closed here, it would take itself out of the epoll that both share, and the
parent's loop would wake no more."""


def _in_child() -> None:
    for each in list(_all):
        each.in_child()


os.register_at_fork(after_in_child=_in_child)


class Background:
    """A gateway in a loop of its own. It runs from the start until the process ends, and then answers what it
    accepted."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        # A daemon, because the interpreter waits for others before it calls what was registered to be called at exit.
        self._thread = threading.Thread(target=self._run, name="sagahook", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for it in this thread; in its own the loop goes on with everybody's. It has this thread's context."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Take nothing new, answer what was accepted, and end. A forked child leaves its parent's alone."""
        if os.getpid() != self._pid:
            return
        atexit.unregister(self.close)
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        async with self.gateway.running():
            await self._stopping.wait()
