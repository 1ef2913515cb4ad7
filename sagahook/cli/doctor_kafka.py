"""`sagahook doctor`: Kafka, its topics, and who reads them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from sagahook.cli.doctor_report import Line, fail, ok, warn
from sagahook.saga.brokers import client_options
from sagahook_schemas.topics import ALL_TOPICS, FOREVER, TOPICS

_SECONDS = 15.0
"""For all of Kafka's checks together, but the first of them a third."""

HUNG_SECONDS = 60.0
"""A transaction may take 10 s (`transaction.timeout.ms`), and its abortion a moment."""

CLOCK_SECONDS = 1.0

_BEHIND = 100
"""From here on it is told: the end of each transaction has an offset too, which nobody reads."""

_READERS = {
    "{prefix}-router": "sagahook-runner",
    "{prefix}-runner": "sagahook-runner",
    "{prefix}-reprocess": "sagahook-runner",
    "{prefix}-replies": "sagahook-runner",
    "{prefix}.tracker": "sagahook-tracker project",
    "{prefix}-notifier": "sagahook-notifier",
}
"""The services' groups, and the command that starts each."""

Ends = dict[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Found:
    """ends: of each partition that is there, as a reader of committed records sees them; None: Kafka does not say."""

    lines: list[Line]
    ends: Ends | None


async def check_kafka(bootstrap: str, prefix: str, writes: bool) -> Found:
    """writes: whether a topic may be made for a moment, to read the broker's clock."""
    lines: list[Line] = []
    ends: Ends | None = None
    try:
        async with asyncio.timeout(_SECONDS), _admin(bootstrap) as admin:
            cluster = await admin.describe_cluster()
            brokers = len(cluster["brokers"])
            lines.append(ok("kafka", f"{bootstrap} answers, {brokers} broker{'s' * (brokers != 1)}"))
            there = {each["topic"]: each for each in await admin.describe_topics() if not each["error_code"]}
            ours = {
                topic.name(prefix): there[topic.name(prefix)]
                for topic in ALL_TOPICS
                if topic.name(prefix) in there
            }
            lines += _topics(bootstrap, prefix, ours, brokers)
            lines += _settings(bootstrap, prefix, await _configs(admin, list(ours)))
            ends, hung = await _ends(bootstrap, prefix, ours)
            lines += hung or [ok("transactions", "none is left open")]
            lines += await _groups(admin, prefix, ends)
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
    return Found(lines, ends)


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(bootstrap), request_timeout_ms=5_000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _topics(
    bootstrap: str, prefix: str, ours: Mapping[str, Mapping[str, Any]], brokers: int
) -> Iterator[Line]:
    create = f"sagahook topics create --kafka {bootstrap} --prefix {prefix}"
    missing = [name for topic in ALL_TOPICS if (name := topic.name(prefix)) not in ours]
    if missing:
        yield fail(
            "topics", f"{len(missing)} of {len(ALL_TOPICS)} are missing: {', '.join(missing[:3])} …", create
        )
    counts = {name: len(each["partitions"]) for name, each in ours.items()}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
        yield fail(
            "topics",
            f"their numbers of partitions differ ({listing})",
            "use a new SAGAHOOK_TOPIC_PREFIX: which saga lives where depends on that number",
        )
    partitions = [(name, each) for name, topic in ours.items() for each in topic["partitions"]]
    headless = sorted({name for name, each in partitions if each["leader"] < 0})
    if headless:
        yield fail(
            "topics", f"no broker leads partitions of {', '.join(headless)}", "bring the missing brokers back"
        )
    behind = sorted({name for name, each in partitions if len(each["isr"]) < len(each["replicas"])})
    if behind:
        yield warn("topics", f"copies of {', '.join(behind)} are behind", "see why a broker is away or slow")
    alone = sorted({name for name, each in partitions if len(each["replicas"]) < min(3, brokers)})
    if alone:
        yield warn(
            "topics",
            f"{len(alone)} have fewer copies than there could be: losing a broker may lose them",
            f"kafka-reassign-partitions.sh --bootstrap-server {bootstrap} …, to {min(3, brokers)} copies each",
        )
    if not (missing or headless or behind or alone) and len(set(counts.values())) == 1:
        yield ok("topics", f"all {len(ours)} are there, {next(iter(counts.values()))} partitions each")


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """The settings of each topic."""
    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for code, _, _, name, entries in answer.resources
        if not code
    }


def _settings(bootstrap: str, prefix: str, found: Mapping[str, Mapping[str, str]]) -> Iterator[Line]:
    """Against the registry. Where records would be lost that are to be kept for ever, that is a failure."""
    wrong = False
    for topic in ALL_TOPICS:
        name = topic.name(prefix)
        wanted = topic.config()
        different = {
            key: value for key, value in wanted.items() if name in found and found[name].get(key) != value
        }
        if not different:
            continue
        wrong = True
        says = ", ".join(f"{key} is {found[name].get(key)}, not {value}" for key, value in different.items())
        then = (
            f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {name} "
            f"--add-config {','.join(f'{key}={value}' for key, value in different.items())}"
        )
        loses = (topic.retention == FOREVER or topic.compacted) and not different.keys().isdisjoint(
            {"cleanup.policy", "retention.ms", "retention.bytes"}
        )
        yield (fail if loses else warn)("topic settings", f"{name}: {says}", then)
    if found and not wrong:
        yield ok("topic settings", "as the registry has them")


async def _ends(bootstrap: str, prefix: str, ours: Mapping[str, Any]) -> tuple[Ends, list[Line]]:
    """Where each partition ends for readers, and the transactions that keep them from going on."""
    places = [
        TopicPartition(name, each["partition"])
        for topic in TOPICS
        if (name := topic.name(prefix)) in ours
        for each in ours[name]["partitions"]
    ]
    if not places:
        return {}, []
    committed = AIOKafkaConsumer(**client_options(bootstrap), isolation_level="read_committed")
    everything = AIOKafkaConsumer(**client_options(bootstrap), enable_auto_commit=False)
    async with committed, everything:
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


async def _groups(admin: AIOKafkaAdminClient, prefix: str, ends: Ends) -> list[Line]:
    """Who reads, and how far behind. What the views and the notifier have read stands in PostgreSQL, not here."""
    there = {group for group, *_ in await admin.list_consumer_groups()}
    participants = sorted(group for group in there if group.startswith(f"{prefix}-participant-"))
    services = {group.format(prefix=prefix): service for group, service in _READERS.items()}
    known = [group for group in (*services, *participants) if group in there]
    # One by one: aiokafka 0.14 cannot read an answer about several.
    answers = [answer for group in known for answer in await admin.describe_consumer_groups([group])]
    members = {each[1]: len(each[5]) for answer in answers for each in answer.groups}
    lines: list[Line] = []
    reading = []
    for group in (*services, *participants):
        behind = await _behind(admin, group, ends) if group in there else 0
        if members.get(group):
            reading.append(
                f"{group.removeprefix(prefix)[1:]} {members[group]}"
                + (f" ({behind} behind)" if behind > _BEHIND else "")
            )
        else:
            waits = f", {behind} records wait" if behind > _BEHIND else ""
            service = services.get(group, "the participant")
            lines.append(warn("readers", f"nobody reads as {group}{waits}", f"start {service}; see its log"))
    return [*lines, ok("readers", ", ".join(reading))] if reading else lines


async def _behind(admin: AIOKafkaAdminClient, group: str, ends: Ends) -> int:
    offsets = await admin.list_consumer_group_offsets(group)
    return sum(
        max(0, ends[place] - committed.offset)
        for place, committed in offsets.items()
        if place in ends and committed.offset >= 0
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
