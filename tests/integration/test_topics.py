"""Topics on a real broker: made once, by nobody but `sagahook topics apply`, and never with two counts."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from typer.testing import CliRunner, Result

from sagahook.cli.main import app
from sagahook.runtime.topic_settings import set_topic_settings
from sagahook.runtime.topics import (
    TopicsMismatch,
    TopicsMissing,
    apply_topics,
    ensure_topics,
    look_at_topics,
    partition_count,
)
from sagahook_schemas.topics import ALL_TOPICS, SAGA_COMMANDS, SAGA_EVENTS, SAGA_STATE, Topic
from tests.tracker_harness import Wire

NOWHERE = "127.0.0.1:1"


@pytest_asyncio.fixture
async def admin(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    yield admin
    await admin.close()


async def partitions(admin: AIOKafkaAdminClient, prefix: str) -> dict[str, int]:
    """Of every topic of the prefix that there is."""
    topics = await admin.describe_topics()
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in topics
        if topic["topic"].startswith(f"{prefix}.")
    }


async def settings(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((_, _, _, _, entries),) = response.resources
    return {entry[0]: entry[1] for entry in entries}


async def sagahook(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["topics", *arguments])


async def make(admin: AIOKafkaAdminClient, prefix: str, topics: list[NewTopic]) -> None:
    """Kafka answers before everybody can see what it made."""
    await admin.create_topics(topics)
    wanted = {topic.name: topic.num_partitions for topic in topics}
    async with asyncio.timeout(30):
        while await partitions(admin, prefix) != wanted:
            await asyncio.sleep(0.05)


async def test_topics_are_made_once_and_saying_it_again_changes_nothing(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    made = await ensure_topics(kafka_bootstrap, topic_prefix, 3)
    again = await ensure_topics(kafka_bootstrap, topic_prefix, 3)

    assert (made, again) == (tuple(topic.name(topic_prefix) for topic in ALL_TOPICS), ())
    assert await partitions(admin, topic_prefix) == dict.fromkeys(made, 3)
    assert await partition_count(kafka_bootstrap, topic_prefix) == 3


@pytest.mark.parametrize("topic", [SAGA_EVENTS, SAGA_STATE, SAGA_COMMANDS], ids=lambda topic: topic.base)
async def test_a_topic_keeps_what_the_registry_says(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient, topic: Topic
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)

    found = await settings(admin, topic.name(topic_prefix))

    assert found | topic.config() == found


async def test_two_that_make_the_topics_at_once_both_succeed(kafka_bootstrap: str, topic_prefix: str) -> None:
    await asyncio.gather(*(ensure_topics(kafka_bootstrap, topic_prefix, 2) for _ in range(2)))

    assert await partition_count(kafka_bootstrap, topic_prefix) == 2


async def test_another_partition_count_is_refused_and_makes_nothing(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    events = SAGA_EVENTS.name(topic_prefix)
    await make(admin, topic_prefix, [NewTopic(events, 2, 1)])

    with pytest.raises(TopicsMismatch, match=f"{events} has 2 partitions, not 5: keep 2"):
        await ensure_topics(kafka_bootstrap, topic_prefix, 5)

    assert await partitions(admin, topic_prefix) == {events: 2}


async def test_topics_that_do_not_agree_are_refused(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    state = SAGA_STATE.name(topic_prefix)
    topics = [NewTopic(topic.name(topic_prefix), 1 + (topic is SAGA_STATE), 1) for topic in ALL_TOPICS]
    await make(admin, topic_prefix, topics)

    with pytest.raises(TopicsMismatch, match=f"must all have the same number of partitions .*{state}: 2"):
        await partition_count(kafka_bootstrap, topic_prefix)


async def test_more_copies_than_brokers_are_refused_in_kafkas_own_words(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    with pytest.raises(TopicsMismatch, match="InvalidReplicationFactor"):
        await ensure_topics(kafka_bootstrap, topic_prefix, 1, replication_factor=99)


async def test_missing_topics_say_what_to_run_and_are_not_made_by_asking(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    command = f"run `sagahook topics apply --kafka {kafka_bootstrap} --prefix {topic_prefix}`"

    with pytest.raises(TopicsMissing, match=command):
        await partition_count(kafka_bootstrap, topic_prefix)

    assert await partitions(admin, topic_prefix) == {}


async def test_a_producer_cannot_make_a_topic(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, request_timeout_ms=500)
    await producer.start()
    try:
        with pytest.raises(KafkaError):
            await producer.send_and_wait(SAGA_EVENTS.name(topic_prefix), b"{}")
    finally:
        await producer.stop()

    assert await partitions(admin, topic_prefix) == {}


async def test_the_command_makes_topics_and_says_how_many(kafka_bootstrap: str, topic_prefix: str) -> None:
    apply = ("apply", "--kafka", kafka_bootstrap, "--prefix", topic_prefix)

    first, second = await sagahook(*apply, "--partitions", "2"), await sagahook(*apply)
    other = await sagahook(*apply, "--partitions", "3")

    count = len(ALL_TOPICS)
    assert first.exit_code == 0, first.output
    assert f"{count} topics made, 0 altered, 0 were there, 2 partitions each\n" in first.stdout
    assert (second.exit_code, second.stdout) == (
        0,
        f"0 topics made, 0 altered, {count} were there, 2 partitions each\n",
    )
    assert (other.exit_code, other.stdout) == (1, "")
    assert "it has 2 partitions, not 3" in other.stderr


async def test_the_command_sets_what_somebody_changed_and_leaves_what_is_no_business_of_ours(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    options = ("--kafka", kafka_bootstrap, "--prefix", topic_prefix)
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    changed = {SAGA_EVENTS.name(topic_prefix): {"retention.ms": "1000", "segment.ms": "123456"}}
    assert await set_topic_settings(admin, changed) == {}

    plan = await sagahook("plan", *options, "--json")
    of_both = await look_at_topics(kafka_bootstrap, topic_prefix)
    await asyncio.gather(*(apply_topics(kafka_bootstrap, topic_prefix, of_both) for _ in range(2)))
    after = await sagahook("plan", *options)

    assert plan.exit_code == 2
    assert [(step["verb"], step["topic"]) for step in json.loads(plan.stdout)["steps"]] == [
        ("alter", SAGA_EVENTS.name(topic_prefix))
    ]
    assert (after.exit_code, after.stdout.partition(":")[0]) == (0, "nothing to do")
    kept = await settings(admin, SAGA_EVENTS.name(topic_prefix))
    assert (kept["retention.ms"], kept["segment.ms"]) == ("-1", "123456")


async def test_a_retention_that_was_made_longer_is_refused_unless_loss_is_allowed(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    options = ("--kafka", kafka_bootstrap, "--prefix", topic_prefix)
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)
    await set_topic_settings(admin, {SAGA_COMMANDS.name(topic_prefix): {"retention.ms": "-1"}})

    refused, allowed = await sagahook("apply", *options), await sagahook("apply", *options, "--allow-loss")

    assert refused.exit_code == 1
    assert f"{SAGA_COMMANDS.name(topic_prefix)}: retention.ms is -1, not 604800000" in refused.stderr
    assert allowed.exit_code == 0, allowed.output
    kept = await settings(admin, SAGA_COMMANDS.name(topic_prefix))
    assert kept["retention.ms"] == "604800000"


async def test_settings_that_kafka_refuses_are_told_in_its_own_words(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1)

    refused = await set_topic_settings(admin, {SAGA_EVENTS.name(topic_prefix): {"retention.ms": "long"}})

    assert list(refused) == [SAGA_EVENTS.name(topic_prefix)]
    assert "InvalidConfig" in refused[SAGA_EVENTS.name(topic_prefix)]


async def test_the_list_tells_the_registry_and_what_is_there(kafka_bootstrap: str, topic_prefix: str) -> None:
    await ensure_topics(kafka_bootstrap, topic_prefix, 1, topics=[SAGA_EVENTS])

    listed = await sagahook("list", "--kafka", kafka_bootstrap, "--prefix", topic_prefix)

    lines = {line.split()[0]: line.split()[-2:] for line in listed.stdout.splitlines()}
    assert len(lines) == 1 + len(ALL_TOPICS)
    assert lines[SAGA_EVENTS.name(topic_prefix)] == ["1", "1"]
    assert lines[SAGA_STATE.name(topic_prefix)] == ["missing", "-"]


async def test_the_command_says_where_no_kafka_answers(topic_prefix: str) -> None:
    away = await sagahook("apply", "--kafka", NOWHERE, "--prefix", topic_prefix)

    assert away.exit_code == 1
    assert f"sagahook: Kafka at {NOWHERE} does not answer" in away.stderr


async def test_the_command_waits_for_a_kafka_that_is_still_starting(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    wire = Wire(f"kafka://{kafka_bootstrap}")
    await wire.mend()
    await wire.cut()
    address = wire.url.rpartition("@")[2]
    applying = asyncio.create_task(
        sagahook("apply", "--kafka", address, "--prefix", topic_prefix, "--wait", "60", "--partitions", "1")
    )
    await asyncio.sleep(0.2)
    assert not applying.done()
    await wire.mend()

    applied = await applying

    await wire.cut()
    assert applied.exit_code == 0, applied.output
    assert await partition_count(kafka_bootstrap, topic_prefix) == 1
