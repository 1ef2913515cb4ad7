"""The services of the drill: real processes, started and stopped together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from sagahook.embedded.ports import hold_port
from sagahook.embedded.readiness import until_ready, until_wanted
from sagahook.embedded.services import Deployment, service_specs
from sagahook.embedded.supervisor import ServiceProcess

ADMIN = "the drill's own key"
_RECORDED_SECONDS = 60.0


class Services:
    """environment: what each is told, beside what the one-machine stack tells them. source: that the app wants."""

    def __init__(self, environment: Mapping[str, str], logs: Path, source: str = "drill") -> None:
        self._source = source
        logs.mkdir(exist_ok=True)
        self._port = hold_port()
        deployment = Deployment(
            kafka=environment["SAGAHOOK_KAFKA"],
            postgres=environment["DATABASE_URL"],
            api_port=self._port,
            keys={"admin": ADMIN},
            secret_key="what the drill's secrets are encrypted by",  # noqa: S106  # made up
            app=environment["SAGAHOOK_APP"],
            prefix=environment["SAGAHOOK_TOPIC_PREFIX"],
            env=environment,
        )
        self._specs = service_specs(deployment)
        self._logs = {spec.name: logs / f"{spec.name}.log" for spec in self._specs}
        self._processes = [ServiceProcess(spec, self._logs[spec.name]) for spec in self._specs]
        self.api = f"http://127.0.0.1:{self._port.number}"

    async def start(self) -> None:
        """Returns when all can work. Raises StackError with the end of a log."""
        for process in self._processes:
            await process.start()
        async with aiohttp.ClientSession() as http:
            await asyncio.gather(
                *(until_ready(spec, http, self._logs[spec.name], lambda: 0) for spec in self._specs)
            )
            await until_wanted(self.api, self._source, http)

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self._processes))

    def pids(self) -> dict[str, int]:
        """Of those that run, by name."""
        named = zip(self._specs, self._processes, strict=True)
        return {spec.name: process.pid for spec, process in named if process.pid is not None}

    async def ask(self, http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
        """An admin's call. Raises AssertionError with what was answered, where that was no success."""
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with http.request(method, f"{self.api}{path}", json=body, headers=headers) as answer:
            said = await answer.text()
            assert answer.status < 300, f"{method} {path}: {answer.status} {said}"
            return json.loads(said)

    async def until_recorded(self, http: aiohttp.ClientSession, deliveries: int) -> None:
        """Until the notifier's tables say of so many that they succeeded."""
        [endpoint] = await self.ask(http, "GET", "/api/v1/endpoints")
        async with asyncio.timeout(_RECORDED_SECONDS):
            while True:
                stats = await self.ask(http, "GET", f"/api/v1/endpoints/{endpoint['id']}/stats?hours=1")
                if stats["deliveries"].get("succeeded", 0) >= deliveries:
                    return
                await asyncio.sleep(0.1)
