"""The OpenAPI document of ingest is true: schemathesis sends what it allows and what it does not, and finds nothing."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from tests.contract.schemathesis_hooks import SECRET
from tests.ingest_harness import PARTITIONS, Log, ServedIngest, serving, settings_for

SOURCES = {
    "orders": Source(allow_notify_url=True),
    "github": Source(scheme="github", secrets=(SECRET,), allow_notify_url=True),
}
ROUTES = {
    ("post", "/webhooks/{source}"),
    ("options", "/webhooks/{source}"),
    ("post", "/webhooks/{source}/batch"),
    ("post", "/api/v1/webhooks/github"),
}
CONFIGURATION = f"""
hooks = "{Path(__file__).with_name("schemathesis_hooks.py")}"
[parameters]
"path.source" = "orders"
"header.X-Notify-URL" = "https://shop.example/hooks/7"
[generation]
allow-extra-parameters = false
[checks.negative_data_rejection]
expected-statuses = ["207", "400", "401", "404", "405", "409", "413", "415", "422"]
[checks.positive_data_acceptance]
expected-statuses = ["200", "202", "207", "401", "409", "422"]
"""
"""All of it goes to a source that there is, with the one URL whose pattern schemathesis cannot draw for a header. What
nobody knows, a further header or parameter, is no wrong request in HTTP; 207 tells of each event that is refused, and
413 is a refusal. One Idempotency-Key is sent with many bodies: 422."""

EXAMPLES = 15
"""That schemathesis makes for each route, beside those that it works out of the document."""


@pytest_asyncio.fixture(scope="module")
async def ingest(kafka_bootstrap: str, module_prefix: str) -> AsyncIterator[ServedIngest]:
    log = Log(kafka_bootstrap, module_prefix)
    await ensure_topics(kafka_bootstrap, log.prefix, PARTITIONS)
    async with serving(settings_for(log.bootstrap, log.prefix, sources=SOURCES)) as served:
        yield served


async def test_every_route_is_there_with_an_example_of_each_answer(ingest: ServedIngest) -> None:
    document: dict[str, Any] = (await ingest.get("/openapi.json")).body
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) >= ROUTES
    for route in ROUTES:
        for status, answer in operations[route]["responses"].items():
            assert answer["description"], (route, status)
            for content in answer.get("content", {}).values():
                assert "example" in content or content["schema"]["$ref"].endswith("/Problem"), (route, status)


async def test_schemathesis_finds_nothing(ingest: ServedIngest, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{ingest.base_url}/openapi.json",
        f"--max-examples={EXAMPLES}",
        "--seed=5",
        "--no-color",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
