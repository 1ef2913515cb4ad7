"""`sagahook doctor`: Kafka, its topics, and who reads them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import ApiVersionRequest

from sagahook.cli.doctor_brokers import check_brokers
from sagahook.cli.doctor_readers import Ends, check_readers
from sagahook.cli.doctor_report import Line, fail, ok, warn
from sagahook.cli.doctor_topics import COPIES, check_topics
from sagahook.runtime.kafka_lookup import look_up
from sagahook.runtime.topic_plan import Found as FoundTopic
from sagahook.runtime.topics import found_topics
from sagahook.saga.brokers import Brokers, client_options
from sagahook_schemas.generations import why_not
from sagahook_schemas.topics import TOPICS

_SECONDS = 15.0
"""For all of Kafka's checks together, but the first of them a third."""

HUNG_SECONDS = 60.0
"""A transaction may take 10 s (`transaction.timeout.ms`), and its abortion a moment."""

CLOCK_SECONDS = 1.0

_VERSIONS = (
    ("4.1", 0, 13),  # produces by topic ids (KIP-516)
    ("4.0", 0, 12),  # a transaction takes its partitions by itself (KIP-890)
    ("3.9", 1, 17),  # KIP-853
    ("3.8", 0, 11),  # KIP-890
    ("3.7", 0, 10),  # KIP-951
)
"""The newest version of a request, by its number in the protocol, that came with a version of Kafka."""


@dataclass(frozen=True, slots=True)
class Checked:
    """ends: of each partition that is there, as a reader of committed records sees them; None: Kafka does not say."""

    lines: list[Line]
    ends: Ends | None


async def check_kafka(bootstrap: str, prefix: str, *, writes: bool, production: bool = False) -> Checked:
    """writes: whether a topic may be made for a moment, to read the broker's clock. production: three brokers, and
    three copies of everything, must be there."""
    lines: list[Line] = []
    ends: Ends | None = None
    try:
        async with asyncio.timeout(_SECONDS), _admin(bootstrap) as admin:
            brokers = len((await admin.describe_cluster())["brokers"])
            lines += _cluster(bootstrap, brokers, await _version(admin), production)
            found = await found_topics(admin, prefix)
            every = {each["topic"]: each["partitions"] for each in await admin.describe_topics()}
            partitions = {name: each for name, each in every.items() if name in found}
            if why := why_not(prefix, every):
                lines.append(fail("topics", f"those of {prefix} are not to be used", why))
            if production:
                lines += [line async for line in check_brokers(admin, every)]
            lines += check_topics(
                bootstrap, prefix, found, partitions, brokers=brokers, production=production
            )
            ends, hung = await _ends(bootstrap, prefix, found)
            lines += hung or [ok("transactions", "none is left open")]
            lines += await check_readers(admin, bootstrap, prefix, ends)
            if writes:
                lines.append(await _clock(admin, bootstrap, prefix))
    except (KafkaError, OSError, TimeoutError) as away:
        reason = str(away) or type(away).__name__
        lines.append(
            fail(
                "kafka",
                f"{bootstrap} does not answer ({reason})"
                if not lines
                else f"it stopped answering ({reason})",
                "start it, or set SAGAHOOK_KAFKA to its host:port; on one machine: sagahook dev",
            )
        )
    return Checked(lines, ends)


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(bootstrap), request_timeout_ms=5_000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _cluster(bootstrap: str, brokers: int, version: str | None, production: bool) -> Iterator[Line]:
    which = f"{version} or newer" if version else f"before {_VERSIONS[-1][0]}"
    says = f"{bootstrap} answers, {brokers} broker{'s' * (brokers != 1)}, version {which}"
    if version is None:
        yield warn("kafka", says, f"use Kafka {_VERSIONS[-1][0]} or newer: older ones are not tried")
    elif production and brokers < COPIES:
        then = f"run {COPIES} brokers, on machines that fail by themselves, and KRaft controllers likewise"
        yield fail("kafka", f"{says}: too few to lose one", then)
    else:
        yield ok("kafka", says)
    if production and not (isinstance(bootstrap, Brokers) and bootstrap.security.is_encrypted):
        then = "SAGAHOOK_KAFKA_SECURITY=SSL or SASL_SSL (docs/reference/settings.md)"
        yield warn("kafka", "the connection is not encrypted", then)


async def _version(admin: AIOKafkaAdminClient) -> str | None:
    """At least so new: a broker does not say its version, but which requests it knows. None: older than all that we
    know."""
    answer = await admin._client.send(admin._client.get_random_node(), ApiVersionRequest())
    known = {key: newest for key, _, newest in answer.api_versions}
    return next((version for version, key, newest in _VERSIONS if known.get(key, -1) >= newest), None)


async def _ends(bootstrap: str, prefix: str, found: Mapping[str, FoundTopic]) -> tuple[Ends, list[Line]]:
    """Where each partition ends for readers, and the transactions that keep them from going on."""
    places = [
        TopicPartition(name, number)
        for topic in TOPICS
        if (name := topic.name(prefix)) in found
        for number in range(found[name].partitions)
    ]
    if not places:
        return {}, []
    committed = AIOKafkaConsumer(**client_options(bootstrap), isolation_level="read_committed")
    everything = AIOKafkaConsumer(**client_options(bootstrap), enable_auto_commit=False)
    async with committed, everything:
        for consumer in (committed, everything):
            await look_up(consumer, places)
        stable: Ends = await committed.end_offsets(places)
        written: Ends = await everything.end_offsets(places)
        lines = []
        for place in places:
            if written[place] > stable[place]:
                age = await _age(everything, place, stable[place])
                if age is not None and age > HUNG_SECONDS:
                    lines.append(_hung(bootstrap, place, age))
        return stable, lines


async def _age(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> float | None:
    """Seconds since the record was written, by its writer's clock."""
    consumer.assign([place])
    consumer.seek(place, offset)
    records = (await consumer.getmany(place, timeout_ms=1_000, max_records=1)).get(place, [])
    return time.time() - records[0].timestamp / 1000 if records else None


def _hung(bootstrap: str, place: TopicPartition, age: float) -> Line:
    return fail(
        "transactions",
        f"one is open on {place.topic} {place.partition} since {age:.0f} s: nothing after it is read",
        f"kafka-transactions.sh --bootstrap-server {bootstrap} abort --topic {place.topic} "
        f"--partition {place.partition} --start-offset …, as its find-hanging says",
    )


async def _clock(admin: AIOKafkaAdminClient, bootstrap: str, prefix: str) -> Line:
    """A broker tells its time only of what it appends itself: one record, in a topic that lives for a moment."""
    name = f"{prefix}.doctor-{uuid.uuid4().hex[:12]}"
    producer = AIOKafkaProducer(**client_options(bootstrap), acks="all", request_timeout_ms=5_000)
    try:
        config = {"message.timestamp.type": "LogAppendTime", "retention.ms": "60000"}
        response = await admin.create_topics([NewTopic(name, 1, 1, topic_configs=config)])
        if any(code for _, code, *_ in response.topic_errors):
            return warn(
                "broker clock", "it is not known: no topic may be made here", "sagahook doctor --read-only"
            )
        async with producer:
            await producer.send_and_wait(name, b"warm up", partition=0)
            before = time.time()
            sent = await producer.send_and_wait(name, b"what time is it?", partition=0)
            after = time.time()
    finally:
        with suppress(KafkaError, OSError):
            await admin.delete_topics([name])
    return clock_line("broker clock", sent.timestamp / 1000, before, after)


def clock_line(check: str, theirs: float, before: float, after: float) -> Line:
    """theirs: what the other clock said between `before` and `after`, seconds since the epoch."""
    off = min(0.0, theirs - before) + max(0.0, theirs - after)
    if abs(off) <= CLOCK_SECONDS:
        return ok(check, f"within {abs(off) + (after - before):.3f} s of ours")
    direction = "ahead of" if off > 0 else "behind"
    return warn(
        check,
        f"{abs(off):.1f} s {direction} ours: timers, deadlines and retention are off by as much",
        "synchronise both machines (chronyc tracking, timedatectl)",
    )
