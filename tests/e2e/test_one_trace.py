"""One webhook's trace on real services: from its POST through Kafka to attempts, compensations and webhooks out."""

import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.databases import open_database
from tests.otlp_receiver import Collector, Value, tree
from tests.traced_world import SOURCE_SECRET, World, traced_world

GOLDEN = Path(__file__).parent / "golden" / "one_trace.txt"
WRITE = "SAGAHOOK_WRITE_GOLDEN"
UNRECORDED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

_VARYING = {
    "sagahook.saga.id",
    "sagahook.event.id",
    "sagahook.delivery.id",
    "messaging.message.id",
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "server.port",
    "net.peer.port",
}


@pytest_asyncio.fixture(scope="module")
async def world(
    kafka_bootstrap: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("traced")
    async with open_database(postgres_url) as database_url:
        prefix = database_url.rpartition("/")[2]
        async with traced_world(kafka_bootstrap, prefix, database_url, folder) as opened:
            yield opened


async def test_a_webhook_its_attempts_their_undoing_and_the_webhook_out_are_one_tree(world: World) -> None:
    """The runner is killed while the second step's first attempt hangs: what follows belongs to the same trace."""
    first = await world.runners.start_runner()
    world.receiver.answer("/hook", 500, 204)
    status, accepted = await world.post(
        "traced",
        {"id": "o-1", "key": "key-in-a-query", "card": "4111111111111111"},
        **{"X-Correlation-ID": "of-o-1"},
    )
    assert (status, accepted["correlation_id"]) == (202, "of-o-1")
    await world.runners.wait_for_effects(1)  # the attempt that hangs
    await world.collector.until(_has("step reserve", "batch webhooks.received"))
    first.kill()
    await first.wait()
    await world.runners.start_runner()
    await world.receiver.wait_for(2, seconds=60)
    await world.collector.until(lambda seen: len(seen.named("deliver task_failed")) == 2)
    [root] = world.collector.named("POST /webhooks/{source}")
    trace = world.collector.trace(root.trace_id)
    read = tree(trace, lambda name, value: _shown(world.prefix, name, value)).replace(
        world.prefix, "sagahook"
    )
    if os.environ.get(WRITE):
        GOLDEN.write_text(read)
    assert read == GOLDEN.read_text()


async def test_a_batch_and_the_records_that_it_was_for_are_linked(world: World) -> None:
    batches = [each for each in world.collector.spans if each.name.startswith("batch ")]
    assert {each.kind for each in batches} == {"consumer"}
    assert all(each.parent_id == "" and each.attributes["messaging.batch.message_count"] for each in batches)
    [of_webhooks] = [each for each in batches if each.name == f"batch {world.prefix}.webhooks.received"]
    [sent] = [each for each in world.collector.spans if each.name.startswith("send ")]
    [processed] = [
        each
        for each in world.collector.trace(sent.trace_id)
        if each.name.endswith("webhooks.received") and each.kind == "consumer"
    ]
    assert of_webhooks.links == ((sent.trace_id, sent.span_id),)
    assert processed.links == ((of_webhooks.trace_id, of_webhooks.span_id),)
    assert of_webhooks.began_ns <= processed.began_ns <= processed.ended_ns <= of_webhooks.ended_ns
    of_events = [each for each in batches if each.name == f"batch {world.prefix}.saga.events"]
    assert {trace for each in of_events for trace, _ in each.links} == {sent.trace_id}


async def test_what_the_sender_does_not_record_leaves_no_span_and_keeps_its_trace(world: World) -> None:
    status, _ = await world.post("plain", {"id": "p-1"}, traceparent=UNRECORDED)
    assert status == 202
    [told] = await world.receiver.wait_for(1, "/told")
    sent, received = UNRECORDED.split("-"), told.headers["traceparent"].split("-")
    assert (received[1], received[3]) == (sent[1], sent[3])
    # A recorded webhook behind it has arrived at the collector: so would have what was recorded of this one.
    await world.post("plain", {"id": "p-2"})
    await world.collector.until(lambda seen: len(seen.named("step write")) == 1)
    assert world.collector.trace(sent[1]) == []


async def test_the_lines_of_every_service_say_which_saga_and_which_trace(world: World) -> None:
    status, _ = await world.post(
        "traced", {"id": "o-2"}, **{"Idempotency-Key": "k", "X-Correlation-ID": "of-o-2"}
    )
    assert status == 202
    status, _ = await world.post(
        "traced", {"id": "o-3"}, **{"Idempotency-Key": "k", "X-Correlation-ID": "of-o-3"}
    )
    assert status == 422
    [refused] = [line for line in world.lines("ingest") if line["event"] == "webhook.refused"]
    assert refused["correlation_id"] == "of-o-3"
    of_refused = {"sagahook.correlation_id": "of-o-3", "http.response.status_code": 422}
    await world.collector.until(
        lambda seen: any(each.attributes.items() >= of_refused.items() for each in seen.spans)
    )
    [request] = [each for each in world.collector.spans if each.attributes.items() >= of_refused.items()]
    assert refused["trace_id"] == request.trace_id

    [step] = world.collector.named("step write")
    written = [line for line in world.lines("runner") if line["event"] == "written by an action"]
    [line] = [each for each in written if each["trace_id"] == step.trace_id]
    assert line["span_id"] == step.span_id
    assert line["saga_id"] == step.attributes["sagahook.saga.id"]
    assert (line["run"], line["step"], line["attempt"], line["service"]) == (1, "write", 1, "saga-runner")
    assert line["correlation_id"] == step.attributes["sagahook.correlation_id"]

    failed = world.collector.named("deliver task_failed")[0]
    [told] = [line for line in world.lines("notifier") if line["event"] == "delivery.attempt_failed"]
    assert (told["trace_id"], told["correlation_id"]) == (failed.trace_id, "of-o-1")
    assert told["delivery"] == failed.attributes["sagahook.delivery.id"]
    assert told["saga_id"] == failed.attributes["sagahook.saga.id"]


async def test_no_payload_secret_or_signature_is_in_a_span_or_a_line(world: World) -> None:
    said = b"".join(world.collector.bodies).decode(errors="replace")
    said += "".join(file.read_text() for file in world.folder.glob("*.log"))
    hidden = [
        SOURCE_SECRET.removeprefix("whsec_"),
        "4111111111111111",
        "key-in-a-query",
        "the-endpoints-own-secret",
    ]
    hidden += [signature.removeprefix("v1,") for signature in world.signatures]
    hidden += [each.headers["webhook-signature"].removeprefix("v1,") for each in world.receiver.at("/hook")]
    assert len(hidden) > 6
    assert [each for each in hidden if each in said] == []


def _has(*names: str) -> Callable[[Collector], bool]:
    def has(collector: Collector) -> bool:
        seen = Counter(re.sub(r"t_\w+\.", "", each.name) for each in collector.spans)
        return all(seen[name] for name in names)

    return has


def _shown(prefix: str, name: str, value: Value) -> Value | None:
    if name in _VARYING:
        return "…"
    if isinstance(value, str) and re.match(r"https?://", value):
        return re.sub(r"//127\.0\.0\.1:\d+", "//host", value)
    return value
