"""A member of a consumer group that keeps its offsets elsewhere."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer

from sagahook.runtime.even_assignor import EvenAssignor
from sagahook.runtime.polls import IDLE_MS
from sagahook.saga.brokers import client_options

_HEARTBEAT_MS = 500


def group_reader(bootstrap: str, group: str, session_ms: int) -> AIOKafkaConsumer:
    """It reads what is committed, and never chooses itself where to begin. session_ms: after which a dead member's
    partitions go to another."""
    # The assignor keeps its previous assignment in class attributes: a class of its own for each consumer
    # keeps the groups of one process apart.
    assignor = type("Even", (EvenAssignor,), {})
    return AIOKafkaConsumer(
        **client_options(bootstrap),
        client_id=group,
        group_id=group,
        partition_assignment_strategy=(assignor,),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        fetch_max_wait_ms=IDLE_MS,
        # A broker that does not know a new topic yet leaves the group without partitions until it is asked
        # again; aiokafka's own five minutes would be a long time to stand still.
        metadata_max_age_ms=5_000,
        session_timeout_ms=session_ms,
        # By a heartbeat a member hears that another has come or gone, and until it has, nobody reads.
        heartbeat_interval_ms=min(session_ms // 4, _HEARTBEAT_MS),
    )
