"""Which dead letters may be sent to where they came from once more, and which of them are meant. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import SAGA_COMMANDS, SAGA_REPLIES, WEBHOOKS_COMMANDS

SUFFIX = ".dlq"

_STEPS = "saga.steps."
_ASKING = frozenset({SAGA_COMMANDS.base, SAGA_REPLIES.base, WEBHOOKS_COMMANDS.base})


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """reason: why `consumer`, a group, did not take it. source: where it stood: topic, partition, offset, "" where its
    consumer did not say. headers: as they were, without those that tell of its death. redriven_at: when it was sent
    to where it came from again; None: it was not."""

    partition: int
    offset: int
    at: datetime
    key: str | None
    reason: str
    consumer: str
    source: str
    headers: Mapping[str, str]
    value: bytes
    redriven_at: datetime | None = None

    @property
    def place(self) -> str:
        """Among the dead letters: partition and offset."""
        return f"{self.partition}/{self.offset}"

    @property
    def identity(self) -> str:
        """The same of letters that are one record, put aside twice: its consumer may crash between that and moving its
        offset."""
        return self.source or f"@{self.place}"

    @property
    def event_id(self) -> str:
        """The record's `ce_id`, "" where it has none."""
        return self.headers.get("ce_id", "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; each of the given must hold. ids: places, or ids of records. matching: part of the
    reason."""

    ids: Collection[str] = ()
    matching: str | None = None

    def wants(self, letter: DeadLetter) -> bool:
        if self.ids and letter.place not in self.ids and letter.event_id not in self.ids:
            return False
        return self.matching is None or self.matching in letter.reason


def asks_for_something(topic: str) -> bool:
    """Whether the topic's records only ask for something, and so may be asked again: who is asked knows whether it was
    done. All others tell what happened, and are written by their owner alone. topic: without prefix, not the `.dlq`."""
    return topic in _ASKING or topic.startswith(_STEPS)


def home_of(topic: str, key: bytes, partition: int, partitions: int) -> int:
    """The partition of the topic that its rule says. One that lay in a wrong partition is put right by that; where the
    key decides nothing (replies) or the partition is part of what is asked (reprocess), it is the one that it had."""
    if topic == SAGA_COMMANDS.base or topic.startswith(_STEPS):
        return partition_of(key.decode(errors="replace"), partitions)
    return partition


def to_redrive(letters: Sequence[DeadLetter], wanted: Wanted) -> list[DeadLetter]:
    """Those that are meant and were not sent again, each record once, in their order."""
    done = {letter.identity for letter in letters if letter.redriven_at is not None}
    chosen: dict[str, DeadLetter] = {}
    for letter in letters:
        if letter.identity not in done and wanted.wants(letter):
            chosen.setdefault(letter.identity, letter)
    return list(chosen.values())


def remedy(topic: str) -> str:
    """What a person does about what a dead-letter topic holds."""
    of = topic.removesuffix(SUFFIX)
    if asks_for_something(of):
        return f"when its reason is mended: sagahook dlq redrive {topic} --all   (or --id, or --matching; --dry-run)"
    if of == "webhooks.received":
        return "when its reason is mended: POST /api/v1/webhooks/events/EVENT_ID/reprocess"
    return (
        "it stands in the log as it was: run a version that can read it, then sagahook tracker rebuild (its consumer "
        "says whose views lack it)"
    )
