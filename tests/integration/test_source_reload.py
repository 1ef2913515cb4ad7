"""A running ingest and a running notifier follow the configuration of their sources: no restart, no refused request."""

import asyncio
import json
import os
import shlex
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest_asyncio
import structlog
from pydantic import SecretStr

from sagahook.cli.example_curl import example_curl
from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from sagahook_ingest.domain.sources import scheme_for
from tests.ingest_harness import PARTITIONS, Answer, Log, ServedIngest, serving, settings_for
from tests.notifier_harness import COMPLETED, SOURCES, deploy, open_receiver, started, verified

FIRST = "first secret"
BODY = b'{"order_id": "A1"}'


class Configured:
    """A file of sources and one with a secret, and ingest that follows them."""

    def __init__(self, folder: Path) -> None:
        self.file, self.secret = folder / "sources.toml", folder / "secret"
        self.secret.write_text("first secret\n")
        self.write(self.shop)
        self.ingest: ServedIngest

    @property
    def shop(self) -> str:
        return f'[shop]\nscheme = "github"\nsecrets = ["file:{self.secret}"]\n'

    def write(self, content: str) -> None:
        self.file.write_text(content)

    async def post(self, source: str = "shop", secret: str = FIRST, number: int = 0) -> Answer:
        signing = Source(scheme="github", secrets=(SecretStr(secret),))
        signed = scheme_for(source, signing).sign(BODY, datetime.now(UTC), f"{secret[:3]}-{number}")
        return await self.ingest.post(f"/webhooks/{source}", BODY, signed)

    async def until(self, status: int, source: str = "shop", secret: str = FIRST) -> None:
        async with asyncio.timeout(20):
            number = 1
            while (await self.post(source, secret, number)).status != status:
                await asyncio.sleep(0.05)
                number += 1


@pytest_asyncio.fixture
async def configured(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Configured]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    found = Configured(tmp_path)
    settings = settings_for(kafka_bootstrap, topic_prefix, sources={}, sources_file=found.file)
    async with serving(settings) as found.ingest:
        yield found


async def until_told(told: list[Any], event: str) -> Any:
    async with asyncio.timeout(20):
        while not (found := [line for line in told if line["event"] == event]):
            await asyncio.sleep(0.02)
    return found[0]


async def test_a_source_that_is_added_is_taken_and_one_that_is_removed_is_unknown(
    configured: Configured,
) -> None:
    assert (await configured.post()).status == 202
    assert (await configured.post("parcels")).status == 404

    configured.write(configured.shop.replace("[shop]", "[parcels]"))

    await configured.until(202, "parcels")
    assert (await configured.post()).status == 404


async def test_a_secret_is_replaced_without_refusing_what_either_signs(
    configured: Configured, tmp_path: Path
) -> None:
    (tmp_path / "next").write_text("second secret")
    both = f'[shop]\nscheme = "github"\nsecrets = ["file:{tmp_path}/next", "file:{configured.secret}"]\n'
    configured.write(both)
    await configured.until(202, secret="second secret")
    assert (await configured.post()).status == 202

    configured.write(both.replace(f', "file:{configured.secret}"', ""))
    await configured.until(401)
    assert (await configured.post(secret="second secret")).status == 202


async def test_a_secret_that_is_replaced_in_its_file_is_the_one_that_verifies(configured: Configured) -> None:
    configured.secret.write_text("second secret\n")

    await configured.until(202, secret="second secret")

    assert (await configured.post(number=1)).status == 401


async def test_a_broken_configuration_is_an_error_in_the_log_and_nobody_is_refused_for_it(
    configured: Configured,
) -> None:
    with structlog.testing.capture_logs() as told:
        configured.write(configured.shop + "rate_limit = 7\n")
        broken = await until_told(told, "sources.broken")
    assert "shop.rate_limit: a rate is written" in broken["problems"][0]
    assert (await configured.post()).status == 202

    configured.write('[shop]\nscheme = "standard"\nsecrets = ["file:' + str(configured.secret) + '"]\n')
    with structlog.testing.capture_logs() as told:
        broken = await until_told(told, "sources.broken")
    assert broken["problems"] == [
        "shop.secrets: secret 1 must begin with whsec_, or for ed25519 with whpk_ or whsk_"
    ]
    assert (await configured.post(number=2)).status == 202

    configured.write(configured.shop.replace("[shop]", "[parcels]"))
    await configured.until(202, "parcels")


async def test_ingest_with_an_error_in_its_sources_does_not_start_and_says_why_in_a_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "sources.toml").write_text('[shop]\nscheme = "stripe"\nsecrets = ["hunter2"]\n')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook_ingest"),
        env={
            **os.environ,
            "SAGAHOOK_KAFKA": "nowhere:1",
            "SAGAHOOK_SOURCES_FILE": str(tmp_path / "sources.toml"),
        },
        stdout=PIPE,
        stderr=STDOUT,
    )
    said = (await process.communicate())[0].decode()

    assert process.returncode == 1
    assert said.startswith(
        f"sagahook-ingest: SAGAHOOK_SOURCES_FILE {tmp_path}/sources.toml: shop.secrets.0: a secret"
    )
    assert (said.count("\n"), "hunter2" in said) == (1, False)


async def test_what_the_command_line_signs_ingest_takes(configured: Configured, log: Log) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagahook.cli.main", "send", "shop", "-", "--sign", "--json", "--times", "2"),
        *("--sources-file", str(configured.file), "--event", "made", "--url", configured.ingest.base_url),
        stdin=PIPE,
        stdout=PIPE,
    )
    told = (await process.communicate(BODY))[0].decode().splitlines()

    assert process.returncode == 0, told
    for line in told:
        record = await log.find(json.loads(line)["event_id"])
        assert record.value == BODY
        assert dict(record.headers)["ce_subject"] == b"made"


async def test_the_curl_that_dev_prints_is_taken(configured: Configured) -> None:
    told = {"SAGAHOOK_SOURCES_FILE": str(configured.file)}
    printed = example_curl(configured.ingest.base_url, "shop", '{"order": "it\'s"}', told)
    words = shlex.split(printed.replace("\\\n", ""))

    headers = dict(word.split(": ", 1) for option, word in pairwise(words) if option == "-H")
    answer = await configured.ingest.post("/webhooks/shop", words[words.index("-d") + 1].encode(), headers)

    assert words[:2] == ["curl", f"{configured.ingest.base_url}/webhooks/shop"]
    assert answer.status == 202


@pytest_asyncio.fixture
async def log(kafka_bootstrap: str, topic_prefix: str) -> Log:
    return Log(kafka_bootstrap, topic_prefix)


async def test_a_notify_url_is_signed_by_the_secret_that_its_source_has_by_then(
    kafka_bootstrap: str, topic_prefix: str, database_url: str, tmp_path: Path
) -> None:
    before, after = str(SOURCES["orders"]["secret"]), "whsec_" + "YW5vdGhlciBzZWNyZXQgb2YgdGhlIG9yZGVycw=="
    file, secret = tmp_path / "sources.toml", tmp_path / "secret"
    file.write_text(f'[orders]\nallow_notify_url = true\nsecret = "file:{secret}"\n')
    secret.write_text(before)
    async with (
        open_receiver() as receiver,
        deploy(kafka_bootstrap, topic_prefix, database_url) as deployment,
        deployment.running(sources="{}", sources_file=file),
    ):
        await deployment.log.write("s-1", started("s-1", receiver.url + "/caller"), COMPLETED)
        (first,) = await receiver.wait_for(1, "/caller")
        with structlog.testing.capture_logs() as told:
            secret.write_text("too short")
            broken = await until_told(told, "sources.broken")
            secret.write_text(after)
            await until_told(told, "sources.configured")
        await deployment.log.write("s-2", started("s-2", receiver.url + "/caller"), COMPLETED)
        _, second = await receiver.wait_for(2, "/caller")

    assert broken["problems"] == [
        "sources: orders allows a notify URL, but a signing secret begins with whsec_, or for ed25519 whsk_"
    ]
    assert verified(first, before)["type"] == verified(second, after)["type"] == "task_completed"
