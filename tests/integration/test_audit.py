"""The topic `audit` on a real broker: operators' acts are never lost, refusals are told within bounds."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sagahook.runtime.audit import OTHERS, Audit
from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import SystemClock
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.topics import AUDIT
from tests.runner_harness import PARTITIONS, LogEvent, RunnerHarness, poll


async def told(bootstrap: str, prefix: str, folder: Path, calls: int) -> list[LogEvent]:
    """The records that tell of so many calls."""
    found: list[LogEvent] = []
    async with RunnerHarness(bootstrap, prefix, folder).reader(AUDIT) as consumer, asyncio.timeout(20):
        while sum(each.data["count"] for each in found) < calls:
            found += await poll(consumer)
    return found


async def test_an_act_is_in_the_log_when_it_is_answered(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    audit = Audit(kafka_bootstrap, topic_prefix, "tracker", SystemClock())

    await audit.acted(
        action="saga.cancel",
        target="s-1",
        actor="ada",
        role="operator",
        reason="it is wrong",
        client="192.0.2.8",
        correlation_id="c-1",
    )
    await audit.close()

    (act,) = await told(kafka_bootstrap, topic_prefix, tmp_path, 1)
    assert (act.data["outcome"], act.data["actor"], act.data["target"]) == ("done", "ada", "s-1")
    assert (act.envelope.subject, act.envelope.correlation_id) == ("saga.cancel", "c-1")
    assert datetime.fromisoformat(act.data["at"]) <= datetime.now(UTC)


async def test_an_act_that_kafka_does_not_take_is_not_answered_well(topic_prefix: str) -> None:
    audit = Audit("127.0.0.1:1", topic_prefix, "tracker", SystemClock())

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await audit.acted(action="saga.cancel", target="s-1", actor="ada", role="operator")


async def test_refusals_that_are_alike_are_one_record_and_a_flood_of_others_is_summed(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    audit = Audit(kafka_bootstrap, topic_prefix, "ingest", SystemClock())
    running = asyncio.create_task(audit.run())

    for number in range(5_000):
        audit.refused(
            action="webhook.receive",
            target="stripe",
            reason=f"The timestamp is {number} seconds old",
            client="192.0.2.7",
        )
    for number in range(5_000):
        audit.refused(action="webhook.receive", target="shop", reason="bad", client=f"192.0.2.{number}")

    found = await told(kafka_bootstrap, topic_prefix, tmp_path, 10_000)
    running.cancel()
    await asyncio.wait({running})
    by_target = {each.data["target"]: each.data for each in found}
    assert by_target["stripe"]["count"] == 5_000
    assert by_target["stripe"]["reason"] == "The timestamp is 0 seconds old"
    assert by_target["stripe"]["until"] >= by_target["stripe"]["at"]
    assert by_target[OTHERS]["count"] > 4_000
    assert len(found) < 110


async def test_what_was_refused_just_before_the_end_is_told(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, PARTITIONS)
    audit = Audit(kafka_bootstrap, topic_prefix, "ingest", SystemClock())
    running = asyncio.create_task(audit.run())
    await asyncio.sleep(0)
    audit.refused(action="webhook.receive", target="shop", reason="bad signature")
    running.cancel()
    await asyncio.wait({running})

    assert [each.data["reason"] for each in await told(kafka_bootstrap, topic_prefix, tmp_path, 1)] == [
        "bad signature"
    ]
