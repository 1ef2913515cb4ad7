"""Webhooks that an operator has routed again: each of their sagas runs once more, and a command that comes twice, or
around a crash, does nothing twice."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from sagahook.runtime.ids import new_event_id
from sagahook_schemas.commands import ReprocessWebhook
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import WEBHOOKS_COMMANDS, WEBHOOKS_RECEIVED, WEBHOOKS_ROUTED
from tests.runner_harness import PARTITIONS, LogEvent, RunnerHarness, poll
from tests.runner_log import following, whole_topic


class Asked(NamedTuple):
    id: str
    event_id: str
    offset: int


async def received(runners: RunnerHarness) -> dict[str, int]:
    """Each webhook's offset by its event id."""
    async with whole_topic(runners, WEBHOOKS_RECEIVED.name(runners.prefix)) as records:
        return {record.key.decode(): record.offset for record in records}


async def ask(runners: RunnerHarness, asked: Iterable[Asked]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=runners.bootstrap)
    await producer.start()
    for command_id, event_id, offset in asked:
        command = ReprocessWebhook(actor="ada", reason="the bank was away", event_id=event_id, offset=offset)
        envelope = Envelope(
            command_id,
            "/tests",
            command.ce_type,
            datetime.now(UTC),
            correlation_id=event_id,
            extensions=(("webhooksource", "effects"),),
        )
        await producer.send(
            WEBHOOKS_COMMANDS.name(runners.prefix),
            key=event_id.encode(),
            value=command.to_json(),
            headers=envelope.to_headers(),
            partition=partition_of(event_id, PARTITIONS),
        )
    await producer.stop()


async def routes(runners: RunnerHarness) -> list[LogEvent]:
    async with runners.reader(WEBHOOKS_ROUTED) as consumer:
        found: list[LogEvent] = []
        while polled := await poll(consumer):
            found += polled
        return found


async def test_its_saga_runs_once_more_under_the_same_id_and_names_the_command(
    runners: RunnerHarness,
) -> None:
    await runners.start_runner()
    (event_id,) = await runners.publish([{"id": 1}])
    async with following(runners) as log:
        await log.until_ended(1)
        (offset,) = (await received(runners)).values()
        gone = Asked(new_event_id(), event_id, offset + 1_000)
        again = Asked(new_event_id(), event_id, offset)
        await ask(runners, [gone, again, again])
        await log.until_ended(2)
        await ask(runners, [Asked(new_event_id(), event_id, offset)])
        await log.until_ended(3)
    started = [event for event in log.events if event.kind == "saga.started"]
    assert len({event.envelope.saga_id for event in started}) == 1
    assert [event.envelope.run for event in started] == [1, 2, 3]
    assert {event.data["event_id"] for event in started} == {event_id}
    assert [event.data.get("reprocess") for event in started][:2] == [None, again.id]
    log.assert_sound()
    told = {each.envelope.causation_id: each.data for each in await routes(runners)}
    assert told[event_id].get("reprocess") is None
    assert told[again.id]["reprocess"] == again.id
    assert told[again.id]["sagas"] == told[event_id]["sagas"]
    assert told[gone.id]["outcome"] == "failed"
    assert "no longer has the event" in told[gone.id]["reason"]
    assert len(runners.effects()) == 3 * 6  # begun and done, of three steps


async def test_each_runs_once_more_when_its_command_comes_twice_and_the_runner_is_killed_meanwhile(
    runners: RunnerHarness,
) -> None:
    first = await runners.start_runner()
    await runners.publish([{"id": number} for number in range(30)])
    async with following(runners) as log:
        await log.until_ended(30)
        asked = [Asked(new_event_id(), *each) for each in (await received(runners)).items()]
        await ask(runners, asked)
        await log.until_ended(35)
        await runners.start_runner()
        first.kill()
        await first.wait()
        await ask(runners, asked)
        await log.until_ended(60)
        # What comes after everything in its partition: nothing more is on its way.
        last = [Asked(new_event_id(), each.event_id, each.offset) for each in asked]
        await ask(runners, last)
        await log.until_ended(90)
    runs = [(e.envelope.saga_id, e.envelope.run) for e in log.events if e.kind == "saga.started"]
    assert sorted(runs) == sorted({(saga, run) for saga, _ in runs for run in (1, 2, 3)})
    log.assert_sound()
