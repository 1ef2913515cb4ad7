"""Any service as a process of its own, as its probes show it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from sagahook.embedded.ports import HeldPort, hold_port
from tests.earlier import ROOT
from tests.preforked import Preforked, start_service

PATIENCE = 90.0
_ASKED_SECONDS = 5.0


@dataclass
class ServiceProcess:
    name: str
    process: Preforked
    log: Path
    port: HeldPort = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.number}"

    async def status(self, path: str, seconds: float = _ASKED_SECONDS) -> int:
        """Of a GET; 0 where nobody answers in time."""
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self.url + path) as answer,
            ):
                return answer.status
        except (aiohttp.ClientConnectionError, TimeoutError):
            return 0

    async def until(self, path: str, status: int) -> None:
        """Fails, with the end of its log, where that does not come."""
        try:
            async with asyncio.timeout(PATIENCE):
                while (found := await self.status(path)) != status:
                    assert self.process.returncode is None, "it ended"
                    await asyncio.sleep(0.05)
        except (TimeoutError, AssertionError) as why:
            end = self.log.read_text()[-2000:]
            raise AssertionError(f"{self.name}: {path} is {found}, not {status} ({why})\n{end}") from None

    async def terminate(self) -> int:
        """Its exit code."""
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), PATIENCE)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            await self.process.wait()


async def start_process(
    folder: Path, environment: Mapping[str, str], module: str, *arguments: str, tree: Path = ROOT
) -> ServiceProcess:
    """environment: beside this process's own. tree: see `start_service`."""
    port = hold_port()
    name = "-".join((module, *arguments, str(port.number)))
    log = folder / f"{name}.log"
    env = {**os.environ, **environment, "SAGAHOOK_HTTP_PORT": str(port.number)}
    process = await start_service(module, *arguments, env=env, log=log, tree=tree)
    return ServiceProcess(name, process, log, port)


@asynccontextmanager
async def running(
    folder: Path, environment: Mapping[str, str], *services: tuple[str, ...]
) -> AsyncIterator[list[ServiceProcess]]:
    """Each of them once, killed at the end."""
    started = [await start_process(folder, environment, *service) for service in services]
    try:
        yield started
    finally:
        for each in started:
            await each.kill()
