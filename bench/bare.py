"""What the ingest bench compares with: a bare FastAPI route that only reads the body. Run by bench/ingest.py."""

from __future__ import annotations

import asyncio
import sys

from fastapi import FastAPI, Request

from sagahook.runtime.health import Health
from sagahook.runtime.service import run_service
from sagahook.runtime.settings import ServiceSettings

app = FastAPI()


@app.post("/webhooks/{source}")
async def read(source: str, request: Request) -> dict[str, str]:
    await request.body()
    return {"status": "accepted", "source": source}


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ok"}


async def main(stopping: asyncio.Event) -> None:
    await stopping.wait()


if __name__ == "__main__":
    run_service(ServiceSettings(kafka="none", http_port=int(sys.argv[1])), app, main, Health())
