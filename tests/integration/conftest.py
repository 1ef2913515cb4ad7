"""What tests of several web frameworks stand on."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.databases import open_migrated_database
from tests.web_harness import Deployment, deployment


@pytest_asyncio.fixture(scope="module")
async def deployed(
    kafka_bootstrap: str, postgres_url: str, module_prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    async with (
        open_migrated_database(postgres_url) as database_url,
        deployment(kafka_bootstrap, module_prefix, database_url, folder) as deployed,
    ):
        yield deployed
