"""The OpenAPI document of the notifier is true: schemathesis sends what it allows and what it does not, and finds
nothing."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.notifier_api import Api, Kept, open_api, open_kept

ROUTES = {
    ("get", "/api/v1/endpoints"),
    ("post", "/api/v1/endpoints"),
    ("get", "/api/v1/endpoints/{endpoint_id}"),
    ("put", "/api/v1/endpoints/{endpoint_id}"),
    ("patch", "/api/v1/endpoints/{endpoint_id}"),
    ("delete", "/api/v1/endpoints/{endpoint_id}"),
    ("post", "/api/v1/endpoints/{endpoint_id}:rotate-secret"),
    ("post", "/api/v1/endpoints/{endpoint_id}:test"),
    ("post", "/api/v1/endpoints/{endpoint_id}:enable"),
    ("post", "/api/v1/endpoints/{endpoint_id}:recover"),
    ("get", "/api/v1/endpoints/{endpoint_id}/stats"),
    ("get", "/api/v1/endpoints/{endpoint_id}/deliveries"),
    ("get", "/api/v1/deliveries"),
    ("get", "/api/v1/deliveries/{delivery_id}"),
    ("post", "/api/v1/deliveries/{delivery_id}:resend"),
    ("post", "/api/v1/deliveries:redrive"),
}
CONFIGURATION = """
[parameters]
"path.endpoint_id" = "crm"
"path.delivery_id" = "{delivery}"
[generation]
allow-extra-parameters = false
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "404", "409"]
[phases.stateful]
enabled = false
"""
"""What a filter, a secret or a header's name must be like no schema can say: 400. Endpoints come and go meanwhile: 404,
409. A further parameter is no wrong request in HTTP."""

EXAMPLES = 3
"""That schemathesis makes for each route. What it works out of the document besides (`--phases=coverage`)
takes as long as the rest of the contract's tests together."""


@pytest_asyncio.fixture(scope="module")
async def kept(postgres_url: str, kafka_bootstrap: str) -> AsyncIterator[Kept]:
    async with open_kept(postgres_url, kafka_bootstrap) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def api(kept: Kept) -> AsyncIterator[Api]:
    async with open_api(kept.url, **kept.log) as opened:
        yield opened


async def test_every_route_is_described(api: Api) -> None:
    document = (await api.get("/openapi.json")).body
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/api/")
    }
    assert operations.keys() == ROUTES
    for route, operation in operations.items():
        assert operation["description"], route
        assert re.fullmatch("[a-z_]+", operation["operationId"]), route  # as the audit log has it
        assert {"400", "401", "403", "429", "503"} <= operation["responses"].keys(), route


@pytest.mark.long
async def test_schemathesis_finds_nothing(api: Api, kept: Kept, tmp_path: Path) -> None:
    await api.add(id="crm")
    delivery = await kept.delivery("crm", "exhausted")
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION.replace("{delivery}", delivery))
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{api.url}/openapi.json",
        "--include-path-regex=^/api/",
        "--header=Authorization: Bearer admin",
        f"--max-examples={EXAMPLES}",
        "--phases=fuzzing",
        "--seed=5",
        "--no-color",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
