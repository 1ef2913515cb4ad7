"""Keeps processes running: starts again what dies, and stops everything in the end."""

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sagahook.embedded.errors import StackError
from sagahook.embedded.ports import HeldPort
from sagahook.embedded.process import Child, Command

FIRST_DELAY, LONGEST_DELAY = 0.25, 10.0
STEADY_SECONDS = 30.0


def restart_delay(previous: float | None, alive: float) -> float:
    """Seconds to wait before the next start: doubling, until a process has lived for STEADY_SECONDS."""
    if previous is None or alive >= STEADY_SECONDS:
        return FIRST_DELAY
    return min(previous * 2, LONGEST_DELAY)


class Part(Protocol):
    """A process that can be started again after it ended: a broker, a database, a service."""

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        ...

    async def start(self) -> None: ...

    async def wait(self) -> int | None:
        """Returns the exit code when it ends."""
        ...

    async def stop(self) -> None: ...


@dataclass(frozen=True)
class ServiceSpec:
    """One service process.

    `env` is added to ours; `ready_url` answers 200 once it can work; `port` is kept for it as long as this lives.
    """

    name: str
    kind: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready_url: str | None = None
    port: HeldPort | None = None
    grace: float = 15.0


class ServiceProcess:
    """A service as the supervisor runs it. SIGTERM asks it to finish what it has accepted."""

    def __init__(self, spec: ServiceSpec, log: Path) -> None:
        self._spec = spec
        self._command = Command(argv=spec.argv, log=log, env={**os.environ, **spec.env})
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.exit_code is None else None

    async def start(self) -> None:
        self._child = await Child.spawn(self._command)

    async def wait(self) -> int | None:
        return await self._child.wait() if self._child else None

    async def stop(self) -> None:
        if self._child:
            await self._child.stop(self._spec.grace)


@dataclass
class _Kept:
    kind: str
    part: Part
    keeper: asyncio.Task[None] | None = None
    deaths: int = 0
    asked: bool = False  # the next end is one that we asked for


class Supervisor:
    """`say` gets a line for people; `changed` is called whenever a pid is another one."""

    def __init__(self, *, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._say = say
        self._changed = changed
        self._parts: dict[str, _Kept] = {}

    async def start(self, name: str, kind: str, part: Part) -> None:
        """Starts it, and from then on again whenever it ends. Raises what its own start raises."""
        await part.start()
        kept = self._parts[name] = _Kept(kind, part)
        kept.keeper = asyncio.create_task(self._keep(name, kept), name=f"keep {name}")

    async def restart(self, names: Iterable[str]) -> None:
        """Stops these; their keepers start them at once, without back-off."""
        kept = [self._parts[name] for name in names]
        for one in kept:
            one.asked = True
        await asyncio.gather(*(one.part.stop() for one in kept))

    async def stop(self, names: Iterable[str]) -> None:
        """Stops these together, and lets them rest."""
        kept = [self._parts.pop(name) for name in names]
        keepers = [one.keeper for one in kept if one.keeper]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await asyncio.gather(*(one.part.stop() for one in kept))

    def names(self, kinds: Iterable[str] | None = None) -> list[str]:
        return [name for name, kept in self._parts.items() if kinds is None or kept.kind in kinds]

    def deaths(self, name: str) -> int:
        """How often it ended unasked."""
        return self._parts[name].deaths

    def pids(self) -> dict[str, list[int]]:
        """The running processes by kind; a process that is between two lives has none."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for kept in self._parts.values():
            found[kept.kind] += [] if kept.part.pid is None else [kept.part.pid]
        return dict(found)

    async def _keep(self, name: str, kept: _Kept) -> None:
        delay: float | None = None
        while True:
            since = time.monotonic()
            code = await kept.part.wait()
            self._changed()
            if not kept.asked:
                kept.deaths += 1
                delay = restart_delay(delay, time.monotonic() - since)
                self._say(f"{name} {_how_it_ended(code)}; starting it again in {delay:g} s")
                await asyncio.sleep(delay)
            kept.asked = False
            delay = await self._start_again(name, kept, delay)
            self._changed()

    async def _start_again(self, name: str, kept: _Kept, delay: float | None) -> float | None:
        while True:
            try:
                await kept.part.start()
            except (StackError, OSError) as error:
                delay = restart_delay(delay, 0)
                self._say(f"{name} does not start; trying again in {delay:g} s. {error}")
                await asyncio.sleep(delay)
            else:
                return delay


def _how_it_ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
