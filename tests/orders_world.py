"""The world around the orders example: the shop and the receiver as processes of their own, and a stack."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp

from sagahook.embedded.ports import free_port
from sagahook.embedded.services import Deployment, service_specs
from sagahook.embedded.stack import Stack, StackOptions
from sagahook.embedded.supervisor import ServiceSpec


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[str]:
    """The URL of a shop that declines charges over 1,000."""
    port = free_port()
    command = ["sagahook_orders.shop", "--port", str(port), "--db", str(folder / "shop.db")]
    async with _process(command, f"http://127.0.0.1:{port}/ledger"):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def receiver(secret: str) -> AsyncIterator[str]:
    """The URL of a receiver of outbound webhooks that verifies them by the secret."""
    port = free_port()
    command = ["sagahook_orders.receiver", "--port", str(port)]
    async with _process(command, f"http://127.0.0.1:{port}/received", RECEIVER_SECRET=secret):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def orders_stack(
    folder: Path, shop_url: str, scraped: dict[str, str] | None = None, **environment: str
) -> AsyncIterator[Stack]:
    """`sagahook dev` with the orders example. scraped: is told where each of its processes shows its metrics,
    `host:port`."""
    options = StackOptions(
        data=folder / "stack", port=free_port(), partitions=4, env={"SHOP_URL": shop_url, **environment}
    )

    def services(deployment: Deployment) -> list[ServiceSpec]:
        specs = service_specs(deployment)
        if scraped is not None:
            scraped.update({spec.name: f"127.0.0.1:{spec.port.number}" for spec in specs if spec.port})
        return specs

    stack = Stack(options, say=lambda line: None, services=services)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


@asynccontextmanager
async def started_anew(stack: Stack) -> AsyncIterator[Stack]:
    """All of it ends, and begins again on its data."""
    await stack.stop()
    again = Stack(replace(stack.options, port=free_port()), say=lambda line: None)
    try:
        await again.start()
        yield again
    finally:
        await again.stop()


@asynccontextmanager
async def _process(command: list[str], url: str, **environment: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, env={**os.environ, **environment}
    )
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            while True:
                try:
                    async with session.get(url):
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        await process.wait()
