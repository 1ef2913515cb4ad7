"""`Idempotency-Key` and delivery ids on a real log: who sends twice gets the first answer, from any replica."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from tests.ingest_harness import PARTITIONS, Answer, Log, ServedIngest, serving, settings_for

Headers = dict[str, str]

SOURCES = {"orders": Source(), "shop": Source(), "messages": Source(delivery_id="header:X-Message")}


@pytest_asyncio.fixture(scope="module")
async def log(kafka_bootstrap: str, module_prefix: str) -> Log:
    log = Log(kafka_bootstrap, module_prefix)
    await ensure_topics(kafka_bootstrap, log.prefix, PARTITIONS)
    return log


@pytest.fixture
def key() -> Headers:
    """A key that no other test uses."""
    return {"Idempotency-Key": str(uuid.uuid4())}


@pytest_asyncio.fixture(scope="module")
async def ingest(log: Log) -> AsyncIterator[ServedIngest]:
    async with serving(settings_for(log.bootstrap, log.prefix, sources=SOURCES)) as served:
        yield served


async def test_the_same_request_again_gets_the_first_answer_and_one_record(
    ingest: ServedIngest, log: Log, key: Headers
) -> None:
    before = await log.size()
    first = await ingest.post("/webhooks/orders", headers=key)
    again = await ingest.post("/webhooks/orders", headers=key | {"X-Correlation-ID": "another"})
    assert first.status == again.status == 202
    assert again.body == first.body
    assert again.headers["X-Correlation-ID"] == first.body["correlation_id"]
    assert await log.size() == before + 1


async def test_another_body_under_the_same_key_is_refused(
    ingest: ServedIngest, log: Log, key: Headers
) -> None:
    await ingest.post("/webhooks/orders", b'{"n": 1}', key)
    before = await log.size()
    other = await ingest.post("/webhooks/orders", b'{"n": 2}', key)
    assert other.status == 422
    assert "Idempotency-Key" in other.body["error"]
    assert await log.size() == before


async def test_each_source_has_keys_of_its_own(ingest: ServedIngest, key: Headers) -> None:
    ours = await ingest.post("/webhooks/orders", headers=key)
    theirs = await ingest.post("/webhooks/shop", headers=key)
    assert ours.body["event_id"] != theirs.body["event_id"]


async def test_a_quoted_key_is_the_same_as_a_bare_one(ingest: ServedIngest, key: Headers) -> None:
    bare = await ingest.post("/webhooks/orders", headers=key)
    quoted = await ingest.post(
        "/webhooks/orders", headers={name: f'"{value}"' for name, value in key.items()}
    )
    assert quoted.body == bare.body


async def test_twenty_at_the_same_instant_write_one_record(
    ingest: ServedIngest, log: Log, key: Headers
) -> None:
    before = await log.size()
    answers = await asyncio.gather(*(ingest.post("/webhooks/orders", headers=key) for _ in range(20)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["event_id"] for answer in answers}) == 1
    assert await log.size() == before + 1


async def test_a_restarted_replica_knows_the_key_from_the_log(
    ingest: ServedIngest, log: Log, key: Headers
) -> None:
    first = await ingest.post("/webhooks/orders", headers=key)
    await ingest.post("/webhooks/orders", headers={"X-Correlation-ID": "without-a-key"})
    before = await log.size()
    async with serving(settings_for(log.bootstrap, log.prefix)) as started_later:
        assert (await started_later.post("/webhooks/orders", headers=key)).body == first.body
        assert (await started_later.post("/webhooks/orders", b"{}", key)).status == 422
    assert await log.size() == before


async def test_the_key_itself_is_not_in_the_log(ingest: ServedIngest, log: Log, key: Headers) -> None:
    answer = await ingest.post("/webhooks/orders", headers=key)
    record = await log.find(answer.body["event_id"])
    held = record.value + b"".join(value for _, value in record.headers)
    assert key["Idempotency-Key"].encode() not in held


async def test_of_two_replicas_that_take_a_key_at_once_the_earlier_record_wins_on_both(
    ingest: ServedIngest, log: Log, key: Headers
) -> None:
    async with serving(settings_for(log.bootstrap, log.prefix)) as other:
        answers = await asyncio.gather(
            *(replica.post("/webhooks/orders", headers=key) for replica in (ingest, other))
        )
        records = [await log.find(answer.body["event_id"]) for answer in answers]
        assert len({record.partition for record in records}) == 1
        earliest = min(records, key=lambda record: record.offset).key.decode()
        async with asyncio.timeout(10):
            while await _answered(ingest, key) != earliest or await _answered(other, key) != earliest:
                await asyncio.sleep(0.05)


async def _answered(replica: ServedIngest, key: Headers) -> str:
    answer: Answer = await replica.post("/webhooks/orders", headers=key)
    event_id: str = answer.body["event_id"]
    return event_id


class TestDeliveryIds:
    """`message` names the delivery."""

    @pytest.fixture
    def message(self) -> Headers:
        return {"X-Message": uuid.uuid4().hex}

    async def test_a_delivery_that_comes_again_gets_the_first_answer_whatever_its_body(
        self, ingest: ServedIngest, log: Log, message: Headers
    ) -> None:
        first = await ingest.post("/webhooks/messages", b'{"n": 1}', message)
        before = await log.size()
        again = await ingest.post("/webhooks/messages", b'{"n": 2}', message)
        assert (again.status, again.body) == (202, first.body)
        assert await log.size() == before

    async def test_twenty_at_the_same_instant_write_one_record(
        self, ingest: ServedIngest, log: Log, message: Headers
    ) -> None:
        before = await log.size()
        answers = await asyncio.gather(
            *(ingest.post("/webhooks/messages", headers=message) for _ in range(20))
        )
        assert {answer.status for answer in answers} == {202}
        assert len({answer.body["event_id"] for answer in answers}) == 1
        assert await log.size() == before + 1

    async def test_a_new_idempotency_key_makes_no_new_delivery_of_an_old_one(
        self, ingest: ServedIngest, log: Log, message: Headers, key: Headers
    ) -> None:
        first = await ingest.post("/webhooks/messages", headers=message)
        before = await log.size()
        again = await ingest.post("/webhooks/messages", headers=message | key)
        assert again.body == first.body
        assert await log.size() == before

    async def test_one_idempotency_key_holds_for_several_deliveries(
        self, ingest: ServedIngest, key: Headers
    ) -> None:
        first = await ingest.post("/webhooks/messages", headers=key | {"X-Message": uuid.uuid4().hex})
        again = await ingest.post("/webhooks/messages", headers=key | {"X-Message": uuid.uuid4().hex})
        assert again.body == first.body
        other = await ingest.post("/webhooks/messages", b"[]", key | {"X-Message": uuid.uuid4().hex})
        assert other.status == 422

    async def test_a_delivery_id_and_an_idempotency_key_of_the_same_text_are_two_things(
        self, ingest: ServedIngest
    ) -> None:
        text = uuid.uuid4().hex
        keyed = await ingest.post("/webhooks/orders", headers={"Idempotency-Key": text})
        delivered = await ingest.post("/webhooks/messages", headers={"X-Message": text})
        assert keyed.body["event_id"] != delivered.body["event_id"]

    async def test_a_replica_that_starts_later_knows_it_from_the_log(
        self, ingest: ServedIngest, log: Log, message: Headers
    ) -> None:
        first = await ingest.post("/webhooks/messages", headers=message)
        async with serving(settings_for(log.bootstrap, log.prefix, sources=SOURCES)) as started_later:
            assert (await started_later.post("/webhooks/messages", headers=message)).body == first.body
