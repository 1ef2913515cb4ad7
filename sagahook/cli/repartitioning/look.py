"""Looks whether a generation of topics can move: who is still there, and whether everybody ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from sagahook.cli.repartitioning.generation import Generation, Refused
from sagahook.cli.repartitioning.reading import last_of
from sagahook.cli.repartitioning.taken import Taken, groups_of, settings_of, taken
from sagahook.runtime.topic_plan import plan_topics, topics_of
from sagahook.runtime.topics import found_topics
from sagahook.runtime.transactions import OwnershipLost, TransactionalWriter
from sagahook.runtime.undecided import Reach
from sagahook_schemas.codec import decode
from sagahook_schemas.generations import filled_from, moved_to
from sagahook_schemas.sagas import OwnerReleased
from sagahook_schemas.topics import SAGA_EVENTS

_IN_NO_KAFKA = ("{prefix}.tracker", "{prefix}.tracker.tracker_next", "{prefix}-notifier")
"""Groups whose offsets stand in PostgreSQL."""

_FENCES = 3
"""Tries: the first may find something to settle, and then says so."""

_AT_ONCE = 8


async def look(
    admin: AIOKafkaAdminClient, bootstrap: str, prefix: str, target: str, partitions: int
) -> Generation:
    """The generation that is to move. Raises Refused where it cannot, KafkaError."""
    names = await admin.list_topics()
    if (filled := filled_from(prefix, names)) is not None:
        raise Refused(
            f"the topics of {prefix} are not complete: they are being filled from those of {filled}"
        )
    moved, filling = moved_to(prefix, names), filled_from(target, names)
    if moved is not None and filling is None:
        raise Refused(f"everything in the topics of {prefix} has moved to those of {moved} already")
    if filling not in (None, prefix):
        raise Refused(f"the topics of {target} are being filled from those of {filling}: choose another --to")
    if filling is None and (there := [name for name in names if name.startswith(f"{target}.")]):
        raise Refused(
            f"there are topics of {target} already, {there[0]} among them: choose another --to, or delete them"
        )
    found = await found_topics(admin, prefix)
    plan = plan_topics(prefix, found, brokers=1, copies=1)
    if plan.make or plan.refused:
        raise Refused(
            f"the topics of {prefix} are not complete, or do not agree: see `sagahook topics plan --prefix {prefix}`"
        )
    if plan.partitions == partitions:
        raise Refused(f"the topics of {prefix} have {partitions} partitions already")
    return Generation(bootstrap, prefix, plan.partitions, topics_of(prefix, found), found)


async def check_nobody_is_there(admin: AIOKafkaAdminClient, generation: Generation, of: Taken | None) -> None:
    """of: what groups have read, once it is known. Raises Refused, KafkaError."""
    groups = {*groups_of(settings_of(generation.bootstrap, generation.prefix))}
    groups |= {group.format(prefix=generation.prefix) for group in _IN_NO_KAFKA}
    groups |= of.others.keys() if of is not None else set()
    groups &= {group for group, *_ in await admin.list_consumer_groups()}
    # One by one: aiokafka 0.14 cannot read an answer about several.
    answers = [answer for group in sorted(groups) for answer in await admin.describe_consumer_groups([group])]
    there = {each[1]: len(each[5]) for answer in answers for each in answer.groups if each[5]}
    if there:
        listing = ", ".join(f"{group} ({members})" for group, members in there.items())
        raise Refused(
            f"somebody is still in these groups: {listing}. Stop ingest first, then, when nothing waits any more, all "
            "other services and participants; a process that was killed is out of its group some seconds later"
        )


async def fence(generation: Generation) -> None:
    """Whoever wrote in transactions writes no more, and what was left open is ended. Raises Refused, KafkaError."""
    settings = settings_of(generation.bootstrap, generation.prefix)
    places = frozenset(generation.places())
    ids = [
        (settings.owner_id(number) if group == settings.owners_group else f"{group}-{number}", group)
        for group in groups_of(settings)
        for number in range(generation.partitions)
    ]
    turns = asyncio.Semaphore(_AT_ONCE)

    async def shut_out(transactional_id: str, group: str) -> None:
        async with turns:
            for left in reversed(range(_FENCES)):
                writer = TransactionalWriter(
                    generation.bootstrap, transactional_id, reach=Reach(places, group)
                )
                try:
                    await writer.start()
                    return
                except OwnershipLost as lost:
                    if not left:
                        raise Refused(f"{lost}: say it again") from lost
                finally:
                    await writer.abandon()

    await asyncio.gather(*(shut_out(*each) for each in ids))


@dataclass(frozen=True, slots=True)
class Standing:
    """A generation that nobody writes any more. released: by partition, what its owner said last; one that never had an
    owner is not there."""

    generation: Generation
    taken: Taken
    released: Mapping[int, OwnerReleased]


async def stand(admin: AIOKafkaAdminClient, log: AIOKafkaConsumer, generation: Generation) -> Standing:
    """Raises Refused where not everybody ended in order, KafkaError."""
    measured = await generation.measured(log)
    released: dict[int, OwnerReleased] = {}
    for place in measured.places(SAGA_EVENTS):
        last = await last_of(log, place, measured.begins[place], measured.ends[place])
        if last is not None:
            released[place.partition] = _released(place, last)
    known = await taken(admin, measured)
    await check_nobody_is_there(admin, measured, known)
    return Standing(measured, known, released)


def _released(place: TopicPartition, last: ConsumerRecord) -> OwnerReleased:
    _, event = decode(last.headers, last.value) if last.value is not None else (None, None)
    if not isinstance(event, OwnerReleased):
        raise Refused(
            f"the owner of partition {place.partition} did not let go of it in order: a runner was killed. Start one, "
            "wait until it is ready, and stop it by SIGTERM; then say it again"
        )
    return event
