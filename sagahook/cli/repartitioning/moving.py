"""Moves a deployment to another generation of topics, while all of its services are stopped.

Nothing of the old generation is changed until the new one is whole; what was interrupted is thrown away and begun anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sagahook.cli.repartitioning.checking import check
from sagahook.cli.repartitioning.copying import Copied, Copying
from sagahook.cli.repartitioning.generation import Generation, Refused, open_log
from sagahook.cli.repartitioning.look import Standing, check_nobody_is_there, fence, look, stand
from sagahook.cli.repartitioning.notifier import NOTIFIER, forget_offsets, move_offsets, offsets_of
from sagahook.cli.repartitioning.owners import check_owners, owners_records
from sagahook.cli.repartitioning.taken import Offsets, renamed, take
from sagahook.cli.repartitioning.writing import new_producer
from sagahook.runtime.topic_plan import settings_of
from sagahook.runtime.topic_settings import set_topic_settings
from sagahook.runtime.topics import VISIBLE_SECONDS, await_visible, make_topics, open_admin
from sagahook_schemas.generations import filling_mark, moved_mark
from sagahook_schemas.topics import SAGA_EVENTS, SAGA_STATE, Topic

_KEEP_ALL = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""While it is filled: nothing is compacted or let go before it was read back."""

_LOOK_SECONDS = 0.1

Say = Callable[[str], None]
"""Tells a person, in one line."""


@dataclass(frozen=True, slots=True)
class Move:
    """From one prefix to another. copies: of each record; None: as many as there are. database: the notifier's; None:
    there is no notifier."""

    bootstrap: str
    prefix: str
    target: str
    partitions: int
    copies: int | None = None
    database: str | None = None


async def plan(move: Move, say: Say) -> None:
    """Tell what `repartition` would do. Raises as that does, where it would refuse."""
    async with open_admin(move.bootstrap) as admin, open_log(move.bootstrap) as log:
        old = await _looked(admin, move)
        _tell(move, await stand(admin, log, old), await _notified(move, old), say)


async def repartition(move: Move, say: Say) -> None:
    """Raises Refused, TopicsMismatch, Unavailable, KafkaError, OSError; to say it again is safe after each."""
    async with open_admin(move.bootstrap) as admin, open_log(move.bootstrap) as log:
        old = await _looked(admin, move)
        await fence(old)
        standing = await stand(admin, log, old)
        notified = await _notified(move, old)
        _tell(move, standing, notified, say)
        new = await _made(admin, move, standing.generation)
        copied = await _copied(log, new, standing, notified, say)
        await _check(new, standing.generation, copied, say)
        await _finish(admin, log, move, new, standing, copied)
    say(f"everything in the topics of {move.prefix} is in those of {move.target} now")


async def _looked(admin: AIOKafkaAdminClient, move: Move) -> Generation:
    old = await look(admin, move.bootstrap, move.prefix, move.target, move.partitions)
    await check_nobody_is_there(admin, old, None)
    return old


async def _notified(move: Move, old: Generation) -> Offsets:
    return await offsets_of(move.database, old.name(SAGA_EVENTS)) if move.database is not None else {}


def _tell(move: Move, standing: Standing, notified: Offsets, say: Say) -> None:
    old = standing.generation
    say(f"from {move.prefix}, {old.partitions} partitions, to {move.target}, {move.partitions} partitions")
    for topic in old.topics:
        if count := old.offsets(topic):
            say(f"{topic.base}: {count:,} offsets")
    ends = old.ends
    for group, offsets in {**standing.taken.exactly, **standing.taken.others, NOTIFIER: notified}.items():
        if waiting := sum(ends[place] - offset for place, offset in offsets.items() if place in ends):
            say(f"{group}: up to {waiting:,} records are not taken, and will be")


async def _made(admin: AIOKafkaAdminClient, move: Move, old: Generation) -> Generation:
    """The new topics, empty; what was left of an earlier try is deleted. The mark is there before any of them."""
    copies = move.copies or min(found.copies for found in old.found.values())
    mark = filling_mark(move.target, move.prefix)
    await make_topics(admin, [NewTopic(mark, 1, copies)])
    await _until(admin, mark, is_there=True)
    left = [name for name in await admin.list_topics() if name.startswith(f"{move.target}.") and name != mark]
    if left:
        await admin.delete_topics(left)
        for name in left:
            await _until(admin, name, is_there=False)
    new = replace(old, prefix=move.target, partitions=move.partitions, begins={}, ends={})
    await make_topics(
        admin,
        [
            NewTopic(
                new.name(topic),
                new.partitions,
                copies,
                topic_configs=_settings(topic, old, copies) | _KEEP_ALL,
            )
            for topic in new.topics
        ],
    )
    await await_visible(admin, new.prefix, new.topics)
    return new


def _settings(topic: Topic, old: Generation, copies: int) -> dict[str, str]:
    """As they are at the old one: somebody may have made a retention longer."""
    found = old.found[old.name(topic)].config
    wanted = settings_of(topic, copies)
    kept = {key: found[key] for key in wanted if key in found and key != "min.insync.replicas"}
    return wanted | kept


async def _copied(
    log: AIOKafkaConsumer, new: Generation, standing: Standing, notified: Offsets, say: Say
) -> Copied:
    old = standing.generation
    producer = new_producer(old.bootstrap)
    try:
        await producer.start()
        readers = {**standing.taken.others, **({NOTIFIER: notified} if notified else {})}
        copying = Copying(log, producer, old, new, standing.taken, readers)
        await copying.find_named_webhooks()
        for topic in old.topics:
            writer = await copying.copy(topic)
            if writer.tally.records:
                say(f"{topic.base}: {writer.tally.records:,} records copied")
        await _write_owners(new, standing, copying.copied)
        return copying.copied
    finally:
        await producer.stop()


async def _write_owners(new: Generation, standing: Standing, copied: Copied) -> None:
    check_owners(standing.released, copied.owners)
    if not standing.released:
        return  # no runner ever ran
    writers = {new.name(topic): copied.writers[topic.base] for topic in (SAGA_EVENTS, SAGA_STATE)}
    ends = list(copied.writers[SAGA_EVENTS.base].ends)
    for record in owners_records(new, standing.released, copied.owners, copied.latest, ends):
        await writers[record.topic].put(
            record.partition, record.key, record.value, record.headers, record.timestamp_ms
        )
    for writer in writers.values():
        await writer.flush()


async def _check(new: Generation, old: Generation, copied: Copied, say: Say) -> None:
    is_whole = not any(old.begins[place] for place in old.places(SAGA_EVENTS))
    async with open_log(new.bootstrap) as log:
        for topic in new.topics:
            await check(log, new, topic, copied.writers[topic.base], is_whole=is_whole)
    records = sum(writer.tally.records for writer in copied.writers.values())
    say(f"{records:,} records read back: all there, where they belong, each saga's log without a gap")


async def _finish(
    admin: AIOKafkaAdminClient,
    log: AIOKafkaConsumer,
    move: Move,
    new: Generation,
    standing: Standing,
    copied: Copied,
) -> None:
    """Whoever reads goes on where they were; the new generation is used from here on, and the old one is not."""
    old = standing.generation
    copies = move.copies or min(found.copies for found in old.found.values())
    await _set(admin, {new.name(topic): _settings(topic, old, copies) for topic in new.topics})
    notified = copied.groups.pop(NOTIFIER, None)
    await asyncio.gather(
        *(
            take(new.bootstrap, renamed(group, old.prefix, new.prefix), offsets)
            for group, offsets in copied.groups.items()
        )
    )
    if move.database is not None and notified is not None:
        await move_offsets(move.database, notified, old.name(SAGA_EVENTS), old.partitions)
    await check_nobody_is_there(admin, old, standing.taken)
    now = await old.measured(log)
    grown = sorted({place.topic for place, end in now.ends.items() if end != old.ends[place]})
    if grown:
        raise Refused(
            f"somebody has written into {', '.join(grown)} meanwhile: stop all of them, also ingest and the API, which "
            "are in no group, and say it again"
        )
    moved, filling = moved_mark(old.prefix, new.prefix), filling_mark(new.prefix, old.prefix)
    await make_topics(admin, [NewTopic(moved, 1, copies)])
    await _until(admin, moved, is_there=True)
    await admin.delete_topics([filling])
    await _until(admin, filling, is_there=False)
    if move.database is not None and notified is not None:
        await forget_offsets(move.database, old.name(SAGA_EVENTS))


async def _set(admin: AIOKafkaAdminClient, topics: Mapping[str, Mapping[str, str]]) -> None:
    for name, why in (await set_topic_settings(admin, topics)).items():
        raise Refused(f"Kafka refused the settings of the topic {name}: {why}")


async def _until(admin: AIOKafkaAdminClient, name: str, *, is_there: bool) -> None:
    """What was made or deleted is not in every broker's metadata at once."""
    async with asyncio.timeout(VISIBLE_SECONDS):
        while (name in await admin.list_topics()) != is_there:  # noqa: ASYNC110  # at the broker
            await asyncio.sleep(_LOOK_SECONDS)
