"""`Idempotency-Key` on a real log: who sends twice gets the first answer, also from another replica."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from sagahook.runtime.topics import ensure_topics
from tests.ingest_harness import PARTITIONS, Answer, Log, ServedIngest, serving, settings_for

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


@pytest_asyncio.fixture
async def log(kafka_bootstrap: str, topic_prefix: str) -> Log:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    return Log(kafka_bootstrap, topic_prefix)


@pytest_asyncio.fixture
async def ingest(log: Log) -> AsyncIterator[ServedIngest]:
    async with serving(settings_for(log.bootstrap, log.prefix)) as served:
        yield served


async def test_the_same_request_again_gets_the_first_answer_and_one_record(
    ingest: ServedIngest, log: Log
) -> None:
    first = await ingest.post("/webhooks/orders", headers=KEY)
    again = await ingest.post("/webhooks/orders", headers=KEY | {"X-Correlation-ID": "another"})
    assert first.status == again.status == 202
    assert again.body == first.body
    assert again.headers["X-Correlation-ID"] == first.body["correlation_id"]
    assert [record.key.decode() for record in await log.read()] == [first.body["event_id"]]


async def test_another_body_under_the_same_key_is_refused(ingest: ServedIngest, log: Log) -> None:
    await ingest.post("/webhooks/orders", b'{"n": 1}', KEY)
    other = await ingest.post("/webhooks/orders", b'{"n": 2}', KEY)
    assert other.status == 422
    assert "Idempotency-Key" in other.body["error"]
    assert await log.size() == 1


async def test_each_source_has_keys_of_its_own(ingest: ServedIngest) -> None:
    ours = await ingest.post("/webhooks/orders", headers=KEY)
    theirs = await ingest.post("/webhooks/shop", headers=KEY)
    assert ours.body["event_id"] != theirs.body["event_id"]


async def test_a_quoted_key_is_the_same_as_a_bare_one(ingest: ServedIngest) -> None:
    bare = await ingest.post("/webhooks/orders", headers={"Idempotency-Key": "k-1"})
    quoted = await ingest.post("/webhooks/orders", headers={"Idempotency-Key": '"k-1"'})
    assert quoted.body == bare.body


async def test_twenty_at_the_same_instant_write_one_record(ingest: ServedIngest, log: Log) -> None:
    answers = await asyncio.gather(*(ingest.post("/webhooks/orders", headers=KEY) for _ in range(20)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["event_id"] for answer in answers}) == 1
    assert await log.size() == 1


async def test_a_restarted_replica_knows_the_key_from_the_log(log: Log) -> None:
    settings = settings_for(log.bootstrap, log.prefix)
    async with serving(settings) as before:
        first = await before.post("/webhooks/orders", headers=KEY)
        await before.post("/webhooks/orders", headers={"X-Correlation-ID": "without-a-key"})
    async with serving(settings) as after:
        assert (await after.post("/webhooks/orders", headers=KEY)).body == first.body
        assert (await after.post("/webhooks/orders", b"{}", KEY)).status == 422
    assert await log.size() == 2


async def test_the_key_itself_is_not_in_the_log(ingest: ServedIngest, log: Log) -> None:
    await ingest.post("/webhooks/orders", headers=KEY)
    (record,) = await log.read()
    assert KEY["Idempotency-Key"].encode() not in record.value + b"".join(v for _, v in record.headers)


async def test_of_two_replicas_that_take_a_key_at_once_the_earlier_record_wins_on_both(
    ingest: ServedIngest, log: Log
) -> None:
    async with serving(settings_for(log.bootstrap, log.prefix)) as other:
        await asyncio.gather(*(replica.post("/webhooks/orders", headers=KEY) for replica in (ingest, other)))
        earliest = (await log.read())[0].key.decode()
        assert len({record.partition for record in await log.read()}) == 1
        async with asyncio.timeout(10):
            while await _answered(ingest) != earliest or await _answered(other) != earliest:
                await asyncio.sleep(0.05)


async def _answered(replica: ServedIngest) -> str:
    answer: Answer = await replica.post("/webhooks/orders", headers=KEY)
    event_id: str = answer.body["event_id"]
    return event_id
