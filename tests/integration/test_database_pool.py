"""What a connection to PostgreSQL holds, and for how long."""

from pydantic import SecretStr

from sagahook.runtime.database import alone, open_pool
from sagahook.runtime.settings import DatabaseSettings


def settings(url: str) -> DatabaseSettings:
    return DatabaseSettings(kafka="none", database_url=SecretStr(url))


async def test_a_lock_of_the_session_ends_when_its_connection_is_given_back(database_url: str) -> None:
    lock = "SELECT pg_try_advisory_lock(1)"
    async with (
        await open_pool(settings(database_url)) as mine,
        await open_pool(settings(database_url)) as yours,
    ):
        async with mine.acquire() as connection:
            assert await connection.fetchval(lock)
            assert not await yours.fetchval(lock)
        assert await yours.fetchval(lock)


async def test_who_is_alone_lets_go_also_where_nothing_is_cleaned_up(database_url: str) -> None:
    async with (
        await open_pool(settings(database_url), clean_up=False) as mine,
        await open_pool(settings(database_url), clean_up=False) as yours,
        yours.acquire() as other,
    ):
        async with mine.acquire() as connection, alone(connection, "cleaning", "tracker") as nobody_else:
            assert nobody_else
            async with alone(other, "cleaning", "tracker") as nobody_but_the_other:
                assert not nobody_but_the_other
        async with alone(other, "cleaning", "tracker") as nobody_else:
            assert nobody_else
