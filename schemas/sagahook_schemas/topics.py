"""The registry of topics: the one place for name, key, partitions, retention, limits, writers and readers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

DEFAULT_PREFIX = "sagahook"
DEFAULT_PARTITIONS = 4

FOREVER = timedelta(milliseconds=-1)
"""Kafka's `retention.ms=-1`."""

CONTEXT_LIMIT = 256 * 1024
"""Bytes of a saga's context, and of each step's result, as JSON."""

BODY_LIMIT = 25 * 1024 * 1024
"""The largest webhook body that a deployment may allow (GitHub's own limit)."""

_RECORD = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; every one has the deployment's number of partitions, because partition p of all of them
    belongs together. `max_bytes`: the largest record. `dead_letters`: where its consumers put what they
    cannot read. `public`: other systems may read it, and participants write theirs; the other topics are the services'
    own. `types`, of those that are public: what the CloudEvents types of the records begin with."""

    base: str
    key: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    holds: str
    compacted: bool = False
    retention: timedelta = FOREVER
    max_bytes: int = _RECORD
    types: tuple[str, ...] = ()
    public: bool = False

    def name(self, prefix: str) -> str:
        return f"{prefix}.{self.base}"

    @property
    def dead_letters(self) -> Topic:
        return Topic(
            base=f"{self.base}.dlq",
            key=self.key,
            writers=self.readers,
            readers=("operators",),
            holds=f"records of {self.base} that a consumer could not read or refused, with the reason",
            retention=timedelta(days=30),
            max_bytes=self.max_bytes + 64 * 1024,  # the record, with where it stood and why it was refused
        )

    def config(self) -> dict[str, str]:
        """The topic's settings in Kafka's own words."""
        settings = {
            "max.message.bytes": str(self.max_bytes + 64 * 1024),
            "message.timestamp.type": "CreateTime",
        }
        if self.compacted:
            # The lag is bounded so that a snapshot cannot be superseded a million times before it is cleaned;
            # tombstones outlive the longest restore.
            return settings | {
                "cleanup.policy": "compact",
                "max.compaction.lag.ms": str(3_600_000),
                "delete.retention.ms": str(86_400_000),
                "min.cleanable.dirty.ratio": "0.3",
            }
        retention = -1 if self.retention == FOREVER else int(self.retention.total_seconds() * 1000)
        return settings | {
            "cleanup.policy": "delete",
            "retention.ms": str(retention),
            "retention.bytes": "-1",
        }


WEBHOOKS_RECEIVED = Topic(
    "webhooks.received",
    key="event_id",
    writers=("ingest",),
    readers=("saga-runner", "tracker", "ingest"),
    holds="one record for each 202: the raw body, byte for byte, with its content type",
    max_bytes=BODY_LIMIT,
    types=("sagahook.webhook.received.",),
    public=True,
)
WEBHOOKS_COMMANDS = Topic(
    "webhooks.commands",
    key="event_id",
    writers=("tracker",),
    readers=("saga-runner",),
    holds="what the router is asked to do with a webhook once more: reprocess it",
    retention=timedelta(days=7),
)
WEBHOOKS_ROUTED = Topic(
    "webhooks.routed",
    key="event_id",
    writers=("saga-runner",),
    readers=("tracker", "saga-runner"),
    holds="which sagas a webhook asked for, or why none",
    types=("sagahook.webhook.routed.",),
    public=True,
)
SAGA_DEFINITIONS = Topic(
    "saga.definitions",
    key="saga name @ version",
    writers=("saga-runner", "tracker"),
    readers=("ingest", "tracker", "saga-runner"),
    holds="what is deployed; beside it, under control/…, which definitions and sources operators paused",
    compacted=True,
    types=("sagahook.definition.", "sagahook.control."),
    public=True,
)
SAGA_COMMANDS = Topic(
    "saga.commands",
    key="saga_id",
    writers=("saga-runner", "tracker"),
    readers=("saga-runner",),
    holds="what a saga's owner is asked to do",
    retention=timedelta(days=7),
)
SAGA_EVENTS = Topic(
    "saga.events",
    key="saga_id",
    writers=("saga-runner",),
    readers=("saga-runner", "tracker", "notifier"),
    holds="the saga log: the source of truth; any other system may read it too (read_committed)",
    types=("sagahook.saga.", "sagahook.step.", "sagahook.limit.", "sagahook.owner."),
    public=True,
)
SAGA_STATE = Topic(
    "saga.state",
    key="saga_id",
    writers=("saga-runner",),
    readers=("saga-runner",),
    holds="snapshots for a quick restart, some seconds behind the log; deleting them costs only time",
    compacted=True,
    max_bytes=8 * 1024 * 1024,
)
SAGA_REPLIES = Topic(
    "saga.replies",
    key="any",
    writers=("participants",),
    readers=("saga-runner",),
    holds="what participants answer, on any partition; the runner forwards it to saga.commands",
    retention=timedelta(days=7),
    types=("sagahook.participant.replied.",),
    public=True,
)
NOTIFICATIONS = Topic(
    "notifications",
    key="delivery id",
    writers=("notifier",),
    readers=("tracker",),
    holds="what became of each outbound webhook",
    retention=timedelta(days=30),
    types=("sagahook.delivery.",),
    public=True,
)

ERASURE_KEYS = Topic(
    "erasure.keys",
    key="data key id",
    writers=("ingest", "tracker"),
    readers=("ingest", "saga-runner", "tracker"),
    holds="the data keys of what can be erased, each sealed under a key of the deployment's; a tombstone erases",
    compacted=True,
)
AUDIT = Topic(
    "audit",
    key="record id",
    writers=("ingest", "tracker", "notifier"),
    readers=("tracker",),
    holds="refused calls, failed signatures and what operators did",
    retention=timedelta(days=90),
    types=("sagahook.audit.",),
    public=True,
)

TOPICS: tuple[Topic, ...] = (
    WEBHOOKS_RECEIVED,
    WEBHOOKS_COMMANDS,
    WEBHOOKS_ROUTED,
    SAGA_DEFINITIONS,
    SAGA_COMMANDS,
    SAGA_EVENTS,
    SAGA_STATE,
    SAGA_REPLIES,
    NOTIFICATIONS,
    AUDIT,
    ERASURE_KEYS,
)
DEAD_LETTER_TOPICS: tuple[Topic, ...] = tuple(
    # Only its own writer reads saga.state, and skips nothing.
    topic.dead_letters
    for topic in TOPICS
    if topic is not SAGA_STATE
)
ALL_TOPICS: tuple[Topic, ...] = TOPICS + DEAD_LETTER_TOPICS

_PARTICIPANT = re.compile(r"[a-z][a-z0-9-]{0,63}\Z")


def is_participant(name: str) -> bool:
    """Whether it can stand in a topic's name: lower-case letters, digits and -, at most 64, a letter first."""
    return _PARTICIPANT.match(name) is not None


def steps_topic(participant: str) -> Topic:
    """What one participant is asked to do. It is no part of ALL_TOPICS: the runner makes it, with its dead-letter
    topic, when a definition that names the participant is deployed. Raises ValueError."""
    if not is_participant(participant):
        raise ValueError(
            f"the participant's name {participant!r} must be lower-case letters, digits and -, begin with a letter "
            "and have at most 64 characters"
        )
    return Topic(
        f"saga.steps.{participant}",
        key="saga_id",
        writers=("saga-runner",),
        readers=("participants",),
        holds=f"steps that {participant} is asked to do or undo",
        retention=timedelta(days=7),
        types=("sagahook.participant.requested.",),
        public=True,
    )
