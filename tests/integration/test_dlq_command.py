"""`sagahook dlq` on a real broker: dead letters are looked at, and sent to where they came from once, whoever asks."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from typer.testing import CliRunner, Result

from sagahook.cli.main import app
from sagahook.runtime.clock import SystemClock
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import AUDIT, SAGA_COMMANDS, WEBHOOKS_RECEIVED, Topic, steps_topic
from sagahook_tracker.adapters.dead_letters import DeadLetterTopics
from sagahook_tracker.adapters.redriving import By, Overtaken, Redriving
from sagahook_tracker.domain.dead_letters import Wanted

PARTITIONS = 2
HOME = partition_of("s-1", PARTITIONS)
BILLING = steps_topic("billing")


@dataclass
class Deployment:
    bootstrap: str
    prefix: str
    producer: AIOKafkaProducer

    async def bury(
        self,
        value: bytes = b'{"actor": "ada"}',
        *,
        offset: int = 7,
        topic: Topic = SAGA_COMMANDS,
        **headers: str,
    ) -> None:
        """A record that its consumer did not take. offset: where it stood."""
        told = {
            "ce_id": f"c-{offset}",
            "ce_type": "sagahook.command.cancel.v1",
            "dlqreason": "it did not fit",
        }
        told |= {"dlqtopic": topic.name(self.prefix), "dlqpartition": "1", "dlqoffset": str(offset)} | headers
        await self.producer.send_and_wait(
            topic.dead_letters.name(self.prefix),
            key=b"s-1",
            value=value,
            headers=[(name, text.encode()) for name, text in told.items()],
            partition=1 - HOME,
        )

    async def dlq(self, *words: str, environment: Mapping[str, str] | None = None) -> Result:
        where = {"SAGAHOOK_KAFKA": self.bootstrap, "SAGAHOOK_TOPIC_PREFIX": self.prefix}
        # Its own event loop runs in a thread of its own.
        given = where | dict(environment or {})
        return await asyncio.to_thread(CliRunner().invoke, app, ["dlq", *words], env=given)

    async def read(self, topic: Topic) -> list[ConsumerRecord]:
        """Everything that was committed."""
        found: list[ConsumerRecord] = []
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, isolation_level="read_committed")
        async with consumer:
            for number in range(PARTITIONS):
                place = TopicPartition(topic.name(self.prefix), number)
                consumer.assign([place])
                consumer.seek(place, 0)
                end = (await consumer.end_offsets([place]))[place]
                while await consumer.position(place) < end:
                    found += (await consumer.getmany(timeout_ms=50)).get(place, [])
        return found


@pytest_asyncio.fixture
async def deployment(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Deployment]:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        yield Deployment(kafka_bootstrap, topic_prefix, producer)


async def test_what_died_is_listed_and_shown_without_secrets_and_its_payload_only_when_asked_for(
    deployment: Deployment,
) -> None:
    await deployment.bury(
        b'{"token": "abc-789", "x": 5}', dlqreason="password=hunter2 did not fit", dlqconsumer="owners"
    )

    listed = await deployment.dlq("list")
    shown = await deployment.dlq("show", "saga.commands.dlq")
    whole = await deployment.dlq("show", "saga.commands.dlq", "--payload", "--json")

    assert "       1  saga.commands.dlq  the oldest of" in listed.stdout, listed.output
    assert "password=*** did not fit" in shown.stdout
    assert f"by owners, from {deployment.prefix}.saga.commands/1/7, 28 bytes" in shown.stdout
    assert "sagahook dlq redrive saga.commands.dlq" in shown.stdout
    assert '"x": 5' not in shown.stdout
    told = json.loads(whole.stdout)
    assert (told["place"], told["id"], told["key"]) == (f"{1 - HOME}/0", "c-7", "s-1")
    assert told["payload"] == {"token": "***", "x": 5}


async def test_a_record_goes_back_as_it_was_to_the_partition_of_its_key_and_is_marked(
    deployment: Deployment,
) -> None:
    await deployment.bury()

    first = await deployment.dlq(
        "redrive", "saga.commands.dlq", "--all", "--yes", "--actor", "ada", "--reason", "mended"
    )
    second = await deployment.dlq("redrive", "saga.commands.dlq", "--all", "--yes", "--actor", "ada")

    assert first.exit_code == 0, first.output
    assert "1 sent to saga.commands again, and marked" in first.stdout
    assert "nothing of that kind waits" in second.stdout
    [record] = await deployment.read(SAGA_COMMANDS)
    assert (record.partition, record.key, record.value) == (HOME, b"s-1", b'{"actor": "ada"}')
    assert [name for name, _ in record.headers] == ["ce_id", "ce_type"]
    [told] = [json.loads(each.value) for each in await deployment.read(AUDIT)]
    assert (told["action"], told["target"], told["actor"]) == (
        "redrive_dead_letters",
        "saga.commands.dlq",
        "ada",
    )
    assert told["reason"] == f"mended (1: {1 - HOME}/0)"
    [topic] = [
        each
        for each in await DeadLetterTopics(deployment.bootstrap, deployment.prefix).topics()
        if each.redriven
    ]
    assert (topic.of, topic.count, topic.redriven, topic.oldest_at) == ("saga.commands", 0, 1, None)


async def test_what_dies_once_more_is_a_letter_of_its_own(deployment: Deployment) -> None:
    await deployment.bury(offset=7)
    await deployment.dlq("redrive", "saga.commands.dlq", "--all", "--yes", "--actor", "ada")
    await deployment.bury(offset=8)

    left = await deployment.dlq("show", "saga.commands.dlq", "--json")
    every = await deployment.dlq("show", "saga.commands.dlq", "--json", "--redriven")

    assert [json.loads(line)["id"] for line in left.stdout.splitlines()] == ["c-8"]
    assert [
        (told["id"], told["redriven_at"] is None) for told in map(json.loads, every.stdout.splitlines())
    ] == [
        ("c-7", False),
        ("c-8", True),
    ]


async def test_they_are_chosen_by_id_and_by_reason_and_a_dry_run_sends_nothing(
    deployment: Deployment,
) -> None:
    await deployment.bury(offset=1, dlqreason="it was too large")
    await deployment.bury(offset=2)
    redrive = ("redrive", "saga.commands.dlq", "--actor", "ada")

    unsaid = await deployment.dlq(*redrive)
    dry = await deployment.dlq(*redrive, "--matching", "too large", "--dry-run")
    assert (unsaid.exit_code, "say which" in unsaid.stderr) == (1, True)
    assert "1 to send again" in dry.stdout
    assert await deployment.read(SAGA_COMMANDS) == []

    by_id = await deployment.dlq(*redrive, "--id", "c-2", "--yes")
    assert by_id.exit_code == 0, by_id.output
    assert [dict(record.headers)["ce_id"] for record in await deployment.read(SAGA_COMMANDS)] == [b"c-2"]


async def test_nothing_is_sent_when_the_person_says_no(deployment: Deployment) -> None:
    await deployment.bury()

    refused = await deployment.dlq(
        "redrive", "saga.commands.dlq", "--all", "--actor", "ada"
    )  # the input is empty

    assert refused.exit_code == 1
    assert await deployment.read(SAGA_COMMANDS) == []


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("saga.events.dlq", "saga.events tells what happened, and is written by its owner alone"),
        ("webhooks.received.dlq", "/reprocess"),
        ("saga.commands", "is no dead-letter topic"),
    ],
)
async def test_what_tells_what_happened_is_never_sent_again(
    deployment: Deployment, topic: str, says: str
) -> None:
    await deployment.bury(topic=WEBHOOKS_RECEIVED)

    refused = await deployment.dlq("redrive", topic, "--all", "--yes", "--actor", "ada")

    assert (refused.exit_code, says in refused.stderr) == (1, True), refused.output


async def test_steps_of_participants_are_sent_again_too(deployment: Deployment) -> None:
    await ensure_topics(
        deployment.bootstrap, deployment.prefix, PARTITIONS, topics=[BILLING, BILLING.dead_letters]
    )
    await deployment.bury(topic=BILLING)

    sent = await deployment.dlq("redrive", "saga.steps.billing.dlq", "--all", "--yes", "--actor", "ada")

    assert sent.exit_code == 0, sent.output
    [record] = await deployment.read(BILLING)
    assert (record.partition, record.key) == (HOME, b"s-1")


async def test_of_two_who_redrive_at_once_each_record_is_sent_by_one(deployment: Deployment) -> None:
    for offset in range(6):
        await deployment.bury(offset=offset)
    letters = DeadLetterTopics(deployment.bootstrap, deployment.prefix)
    first, second = (Redriving(letters, SystemClock()) for _ in range(2))

    slowly = first.redrive("saga.commands.dlq", Wanted(), By("ada", ""), rate=1.0)
    assert await anext(slowly) == 1
    rest = [count async for count in second.redrive("saga.commands.dlq", Wanted(), By("bob", ""), rate=0)]
    with pytest.raises(Overtaken, match="somebody else redrives"):
        await anext(slowly)

    assert sum(rest) == 5
    ids = [dict(record.headers)["ce_id"].decode() for record in await deployment.read(SAGA_COMMANDS)]
    assert sorted(ids) == [f"c-{number}" for number in range(6)]


async def test_a_kafka_that_is_away_is_one_message(topic_prefix: str) -> None:
    away = await Deployment("127.0.0.1:1", topic_prefix, AIOKafkaProducer()).dlq("list")

    assert (away.exit_code, "does not tell its dead letters" in away.stderr) == (1, True)
