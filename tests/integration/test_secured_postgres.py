"""A PostgreSQL that asks for TLS, and the command that migrates it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from typer.testing import CliRunner

from sagahook.cli.main import app
from sagahook.embedded.migrations import SCHEMAS, migrate_all
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.database import open_pool, reaching_database
from sagahook.runtime.settings import DatabaseSettings
from tests.certificates import Authority, authority, certificate_files
from tests.secured import server_context, tls_before


@dataclass(frozen=True)
class Secured:
    """A database behind TLS that the tests' own authority vouches for."""

    url: str
    by: Authority
    ca: Path


@asynccontextmanager
async def secured(
    database_url: str, folder: Path, *, name: str = "postgres", asks_for_certificates: bool = False
) -> AsyncIterator[Secured]:
    _, ours = authority()
    ca = folder / "ca.crt"
    ca.write_bytes(ours.own())
    server = certificate_files(ours, folder, name)
    context = server_context(server, clients_of=ca if asks_for_certificates else None)
    async with tls_before(database_url, context) as url:
        yield Secured(url, ours, ca)


def settings(url: str, **given: object) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"kafka": "unused:1", "DATABASE_URL": url, **given})


async def asked(given: DatabaseSettings) -> int:
    """What the database answers over a pool of ours. Raises Unavailable."""
    async with await open_pool(given) as pool:
        with reaching_database():
            answer: int = await pool.fetchval("SELECT 1")
            return answer


async def test_a_server_that_the_authority_vouches_for_is_asked(database_url: str, tmp_path: Path) -> None:
    async with secured(database_url, tmp_path) as server:
        by_settings = settings(
            server.url, database_sslmode="verify-full", database_sslrootcert=str(server.ca)
        )
        by_url = settings(f"{server.url}?sslmode=verify-full&sslrootcert={server.ca}")
        assert await asked(by_settings) == await asked(by_url) == 1


async def test_a_server_that_another_authority_vouches_for_is_refused(
    database_url: str, tmp_path: Path
) -> None:
    _, other = authority()
    (tmp_path / "other.crt").write_bytes(other.own())
    async with secured(database_url, tmp_path) as server:
        given = settings(
            server.url, database_sslmode="verify-full", database_sslrootcert=str(tmp_path / "other.crt")
        )
        with pytest.raises(Unavailable, match="SAGAHOOK_DATABASE_SSLROOTCERT"):
            await asked(given)


async def test_the_name_is_verified_by_verify_full_alone(database_url: str, tmp_path: Path) -> None:
    async with secured(database_url, tmp_path) as server:
        port = urlsplit(server.url).port
        elsewhere = server.url.replace(
            f"@127.0.0.1:{port}", f"@0.0.0.0:{port}"
        )  # this machine, by another name
        by = {"database_sslrootcert": str(server.ca)}
        assert await asked(settings(elsewhere, database_sslmode="verify-ca", **by)) == 1
        with pytest.raises(Unavailable, match="SAGAHOOK_DATABASE_SSLROOTCERT"):
            await asked(settings(elsewhere, database_sslmode="verify-full", **by))


async def test_a_certificate_is_shown_to_a_server_that_asks_for_one(
    database_url: str, tmp_path: Path
) -> None:
    async with secured(database_url, tmp_path, asks_for_certificates=True) as server:
        given = {"database_sslmode": "verify-full", "database_sslrootcert": str(server.ca)}
        with pytest.raises(Unavailable):
            await asked(settings(server.url, **given))
        shown = certificate_files(server.by, tmp_path, "sagahook")
        files = {"database_sslcert": str(shown.certificate), "database_sslkey": str(shown.key)}
        assert await asked(settings(server.url, **given, **files)) == 1


async def test_a_wrong_password_is_said_to_be_wrong_and_not_shown(database_url: str) -> None:
    password = urlsplit(database_url).password or ""
    with pytest.raises(Unavailable, match="correct the user and the password") as refused:
        await asked(settings(database_url.replace(password, "not-the-password")))
    assert "not-the-password" not in str(refused.value)


async def test_a_url_in_a_file_is_read_anew_by_each_new_connection(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{database_url}-that-is-not-there\n")
    given = settings(f"file:{file}")
    async with await open_pool(given) as pool:
        with pytest.raises(Unavailable, match="has no such database"), reaching_database():
            await pool.fetchval("SELECT 1")
        file.write_text(f"{database_url}\n")
        assert await pool.fetchval("SELECT 1") == 1


async def test_every_schema_is_migrated_over_tls_by_one_command_and_again_by_none(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secured(database_url, tmp_path) as server:
        monkeypatch.setenv("DATABASE_URL", server.url)
        monkeypatch.setenv("SAGAHOOK_DATABASE_SSLMODE", "verify-full")
        monkeypatch.setenv("SAGAHOOK_DATABASE_SSLROOTCERT", str(server.ca))
        for _ in range(2):
            ran = await asyncio.to_thread(CliRunner().invoke, app, ["migrate", "--wait", "0"])
            assert ran.exit_code == 0, ran.output
    connection = await asyncpg.connect(database_url)
    for schema in SCHEMAS:
        assert await connection.fetchval("SELECT to_regclass($1)", f"{schema}.schema_version")
    await connection.close()


async def test_migrations_that_run_at_once_and_after_a_later_version_change_nothing(
    database_url: str,
) -> None:
    await asyncio.gather(*(migrate_all(database_url) for _ in range(2)))
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE tracker.schema_version SET version_num = '9999'")
    await migrate_all(database_url)
    assert await connection.fetchval("SELECT version_num FROM tracker.schema_version") == "9999"
    await connection.close()


async def test_a_database_that_stays_away_is_exit_code_1_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:geheim@127.0.0.1:1/x")
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["migrate", "--wait", "0"])
    assert ran.exit_code == 1
    assert "say it again when it answers" in ran.output
    assert "geheim" not in ran.output
