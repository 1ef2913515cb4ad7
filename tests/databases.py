"""Databases of the tests' own."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

from sagahook.embedded.migrations import migrate_all

_templates: dict[str, str] = {}
"""URL of a server → the database in which every service's tables are made already."""


@asynccontextmanager
async def open_database(postgres_url: str) -> AsyncIterator[str]:
    """The URL of an empty database, dropped after the block."""
    async with _created(postgres_url, "template1") as url:
        yield url


@asynccontextmanager
async def open_migrated_database(postgres_url: str) -> AsyncIterator[str]:
    """As `open_database`, with the tables of every service: a copy, because to make them takes a second."""
    async with _created(postgres_url, _templates[postgres_url]) as url:
        yield url


@asynccontextmanager
async def migrated_once(postgres_url: str) -> AsyncIterator[None]:
    """Within the block the server has what migrated databases are copied from."""
    async with open_database(postgres_url) as url:
        await migrate_all(url)
        _templates[postgres_url] = urlsplit(url).path.lstrip("/")
        yield


@asynccontextmanager
async def _created(postgres_url: str, template: str) -> AsyncIterator[str]:
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
