"""One replica of ingest as a process of its own: to be killed, told to stop, and started again on the same port."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from sagahook.embedded.ports import HeldPort, hold_port
from tests.preforked import Preforked, start_service

READY_SECONDS = 60
STOP_SECONDS = 5


@dataclass
class IngestProcess:
    """environment: beside this process's own."""

    environment: Mapping[str, str]
    log: Path
    port: HeldPort = field(default_factory=hold_port)
    process: Preforked | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port.number}"

    async def start(self) -> None:
        """Returns when it is ready. Fails, with the end of its log, when it does not get ready."""
        environment = {**os.environ, **self.environment, "SAGAHOOK_HTTP_PORT": str(self.port.number)}
        self.process = await start_service("sagahook_ingest", env=environment, log=self.log)
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await self._is_ready():
                    assert self.process.returncode is None, "it ended"
                    await asyncio.sleep(0.02)
        except (TimeoutError, AssertionError) as why:
            raise AssertionError(f"ingest did not get ready: {why}\n{self.log.read_text()[-2000:]}") from why

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Its exit code, when it has ended."""
        assert self.process is not None
        return await self.process.wait()

    async def stop(self) -> None:
        """Also one that stands still."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def publishing(self) -> int:
        """How many webhooks wait for Kafka's acknowledgement."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.base_url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return next(
            int(float(line.split()[1])) for line in lines if line.startswith("sagahook_ingest_publishing ")
        )

    async def until_publishing(self, count: int, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while await self.publishing() != count:
                await asyncio.sleep(0.02)

    async def _is_ready(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.base_url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def ingest_process(
    bootstrap: str, prefix: str, log: Path, **environment: str
) -> AsyncIterator[IngestProcess]:
    """A replica that is ready; ended with the block."""
    kafka = {"SAGAHOOK_KAFKA": bootstrap, "SAGAHOOK_TOPIC_PREFIX": prefix}
    ingest = IngestProcess(kafka | environment, log)
    try:
        await ingest.start()
        yield ingest
    finally:
        await ingest.stop()
        ingest.port.release()
