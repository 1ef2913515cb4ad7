"""`sagahook doctor`: who reads from Kafka, how far behind, and whether anybody still knows where to go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from sagahook.cli.doctor_report import Line, fail, ok, warn
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_EVENTS, WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED, Topic

_BEHIND = 100
"""From here on it is told: the end of each transaction has an offset too, which nobody reads."""

_SERVICES = {
    "{prefix}-router": "sagahook-runner",
    "{prefix}-runner": "sagahook-runner",
    "{prefix}-reprocess": "sagahook-runner",
    "{prefix}-replies": "sagahook-runner",
    "{prefix}.tracker": "sagahook-tracker project",
    "{prefix}-notifier": "sagahook-notifier",
}
"""The services' groups, and the command that starts each."""

Ends = dict[TopicPartition, int]
"""Where partitions end for readers of committed records."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A group whose offsets stand in Kafka. reads: its topic; wrote: what holds something in each partition where the
    group has read."""

    group: str
    reads: Topic
    wrote: Topic


_KEPT_IN_KAFKA = (
    _Place("{prefix}-runner", SAGA_COMMANDS, SAGA_EVENTS),
    _Place("{prefix}-router", WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED),
)


async def check_readers(admin: AIOKafkaAdminClient, bootstrap: str, prefix: str, ends: Ends) -> list[Line]:
    """What the views and the notifier have read stands in PostgreSQL, not here. Raises KafkaError."""
    there = {group for group, *_ in await admin.list_consumer_groups()}
    participants = sorted(group for group in there if group.startswith(f"{prefix}-participant-"))
    services = {group.format(prefix=prefix): service for group, service in _SERVICES.items()}
    known = [group for group in (*services, *participants) if group in there]
    # One by one: aiokafka 0.14 cannot read an answer about several.
    answers = [answer for group in known for answer in await admin.describe_consumer_groups([group])]
    members = {each[1]: len(each[5]) for answer in answers for each in answer.groups}
    offsets = {group: await _offsets(admin, group) for group in known}
    lines = list(_lost(bootstrap, prefix, offsets, ends))
    reading = []
    for group in (*services, *participants):
        behind = sum(
            max(0, ends[place] - at) for place, at in offsets.get(group, {}).items() if place in ends
        )
        if members.get(group):
            told = f" ({behind} behind)" if behind > _BEHIND else ""
            reading.append(f"{group.removeprefix(prefix)[1:]} {members[group]}{told}")
        else:
            waits = f", {behind} records wait" if behind > _BEHIND else ""
            service = services.get(group, "the participant")
            lines.append(warn("readers", f"nobody reads as {group}{waits}", f"start {service}; see its log"))
    return [*lines, ok("readers", ", ".join(reading))] if reading else lines


async def _offsets(admin: AIOKafkaAdminClient, group: str) -> Ends:
    """Where it reads on."""
    offsets = await admin.list_consumer_group_offsets(group)
    return {place: committed.offset for place, committed in offsets.items() if committed.offset >= 0}


def _lost(bootstrap: str, prefix: str, offsets: Mapping[str, Ends], ends: Ends) -> Iterator[Line]:
    """Groups that have read, and of which Kafka does not know how far any more."""
    for place in _KEPT_IN_KAFKA:
        group, topic = place.group.format(prefix=prefix), place.reads.name(prefix)
        known = offsets.get(group, {})
        lost = sorted(
            wrote.partition
            for wrote, end in ends.items()
            if wrote.topic == place.wrote.name(prefix)
            and end
            and TopicPartition(topic, wrote.partition) not in known
        )
        if lost:
            yield fail(
                "readers",
                f"Kafka has forgotten how far {group} has read {topic} (partitions {', '.join(map(str, lost))}), as it "
                "does with a group that nobody was in for offsets.retention.minutes: whoever starts would begin anew",
                "start no runner before they are set (docs/operating/disaster-recovery.md#offsets-that-are-gone): "
                f"kafka-consumer-groups.sh --bootstrap-server {bootstrap} --group {group} --topic {topic} "
                "--reset-offsets …",
            )
