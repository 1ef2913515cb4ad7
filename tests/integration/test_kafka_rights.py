"""The rights that the manifests give to each service, and to a consumer, are enough for what it does on a broker that
asks, and no more."""

import asyncio
import json
import shlex
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from deploy.checks.rights import USERS, Right, rights
from sagahook.cli.doctor_kafka import check_kafka
from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.embedded.migrations import migrate_all
from sagahook.runtime.topics import ensure_topics
from sagahook.saga.brokers import Brokers, KafkaSecurity, client_options
from sagahook_schemas.topics import (
    AUDIT,
    NOTIFICATIONS,
    SAGA_COMMANDS,
    SAGA_EVENTS,
    SAGA_REPLIES,
    WEBHOOKS_COMMANDS,
    WEBHOOKS_RECEIVED,
    WEBHOOKS_ROUTED,
    Topic,
    steps_topic,
)
from tests.service_process import ServiceProcess, start_process

PREFIX, PASSWORD, PATIENCE = "asked", "a-password-of-the-tests", 30.0
PLACES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Delete": AclOperation.DELETE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
}
RUNS: dict[str, tuple[str, ...]] = {
    "ingest": ("sagahook_ingest",),
    "saga-runner": ("sagahook_runner",),
    "projector": ("sagahook_tracker", "project"),
    "tracker": ("sagahook_tracker", "api"),
    "notifier": ("sagahook_notifier", "run"),
    "notifier-api": ("sagahook_notifier", "api"),
}
ANY: Any = None
"""As a filter's text; its types know none but texts."""
ANY_RIGHT = AclBindingFilter(
    ResourceType.ANY, ANY, ResourcePatternType.ANY, ANY, ANY, AclOperation.ANY, AclPermissionType.ANY
)
ANALYTICS = yaml.safe_load(
    (Path(__file__).parents[2] / "examples" / "consuming" / "kafka-user.yaml").read_text()
)
USER_OF = {name: USERS[{"projector": "tracker", "notifier-api": "notifier"}.get(name, name)] for name in RUNS}


@dataclass(frozen=True)
class Asking:
    """A broker with an authorizer: its open listener may do everything, and each user what it was given."""

    kafka: EmbeddedKafka

    def as_user(self, user: str) -> Brokers:
        return Brokers(
            self.kafka.listener("USERS"),
            KafkaSecurity("SASL_PLAINTEXT", "PLAIN", user=user, password=PASSWORD),
        )

    async def has(self, topic: Topic, records: int) -> bool:
        return await self.written(topic) >= records

    async def written(self, topic: Topic) -> int:
        """The offset of its only partition's end."""
        place = TopicPartition(topic.name(PREFIX), 0)
        async with AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap) as consumer:
            end: int = (await consumer.end_offsets([place]))[place]
        return end


@pytest_asyncio.fixture(scope="module")
async def asking(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asking]:
    data = tmp_path_factory.mktemp("asking")
    users = (*USERS.values(), "analytics")
    accounts = " ".join(f'user_{user}="{PASSWORD}"' for user in users)
    login = f"org.apache.kafka.common.security.plain.PlainLoginModule required {accounts};"
    kafka = EmbeddedKafka(
        data,
        await prepare_kafka(),
        listeners={"USERS": "SASL_PLAINTEXT"},
        properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "listener.name.users.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.users.plain.sasl.jaas.config": login,
        },
    )
    await kafka.start()
    try:
        await ensure_topics(kafka.bootstrap, PREFIX, 1)
        await asyncio.to_thread(give, kafka.bootstrap)
        yield Asking(kafka)
    finally:
        await kafka.stop()


def give(bootstrap: str) -> None:
    """To each user what the manifests give it."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    bindings = [
        binding
        for service, user in USERS.items()
        for right in rights(service, PREFIX)
        for binding in bound(user, right)
    ]
    bindings += [binding for right in of_manifest(ANALYTICS) for binding in bound("analytics", right)]
    for done in admin.create_acls(bindings).values():
        done.result(timeout=10)
    # The controller has them; the broker, which is asked, learns of them a moment later.
    while len(admin.describe_acls(ANY_RIGHT).result(timeout=10)) < len(set(bindings)):
        time.sleep(0.05)


def of_manifest(user: Any) -> Iterable[Right]:
    for each in user["spec"]["authorization"]["acls"]:
        resource = each["resource"]
        name = resource["name"].replace("sagahook.", f"{PREFIX}.")
        yield Right(
            resource["type"], name, tuple(each["operations"]), prefix=resource["patternType"] == "prefix"
        )


def bound(user: str, right: Right) -> Iterable[AclBinding]:
    pattern = ResourcePatternType.PREFIXED if right.prefix else ResourcePatternType.LITERAL
    for operation in right.operations:
        yield AclBinding(
            PLACES[right.resource],
            right.name or "kafka-cluster",
            pattern,
            f"User:{user}",
            "*",
            OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )


@asynccontextmanager
async def receiver(heard: list[Any]) -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    serving = web.AppRunner(app)
    await serving.setup()
    try:
        site = web.TCPSite(serving, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{serving.addresses[0][1]}/"
    finally:
        await serving.cleanup()


@asynccontextmanager
async def services(folder: Path, kafka: Asking, environment: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """Their URLs, once all are ready."""
    started: dict[str, ServiceProcess] = {}
    async with AsyncExitStack() as opened:
        for name, command in RUNS.items():
            user = {"SAGAHOOK_KAFKA_USER": USER_OF[name]}
            started[name] = await start_process(folder, environment | user, *command)
            opened.push_async_callback(started[name].kill)
        for each in started.values():
            await each.until("/readyz", 200)
        yield {name: each.url for name, each in started.items()}


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():
            await asyncio.sleep(0.1)


async def answer_as_the_participant(kafka: Asking) -> None:
    """Both steps of the saga, in turn."""
    topic = steps_topic("billing").name(PREFIX)
    bootstrap = kafka.kafka.bootstrap
    async with (
        AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
        ) as requests,
        AIOKafkaProducer(bootstrap_servers=bootstrap) as replies,
    ):
        for _ in range(2):
            asked = json.loads((await requests.getone()).value)
            copied = {name: asked[name] for name in ("saga_id", "run", "step", "phase", "attempt")}
            reply = json.dumps({**copied, "result": None}).encode()
            await replies.send_and_wait(SAGA_REPLIES.name(PREFIX), reply)


def environment(asking: Asking, database_url: str, receiver_url: str) -> dict[str, str]:
    endpoint = {"id": "crm", "url": receiver_url, "secret": f"whsec_{b64encode(b'k' * 32).decode()}"}
    keys = {role: sha256(role.encode()).hexdigest() for role in ("reader", "operator")}
    return {
        "SAGAHOOK_KAFKA": asking.kafka.listener("USERS"),
        "SAGAHOOK_KAFKA_SECURITY": "SASL_PLAINTEXT",
        "SAGAHOOK_KAFKA_SASL_MECHANISM": "PLAIN",
        "SAGAHOOK_KAFKA_PASSWORD": PASSWORD,
        "SAGAHOOK_TOPIC_PREFIX": PREFIX,
        "SAGAHOOK_APP": "tests.apps.billed",
        "DATABASE_URL": database_url,
        "SECRET_KEY": "a-long-random-text-of-the-tests",
        "SAGAHOOK_NOTIFY_ALLOW_PRIVATE": "true",
        "SAGAHOOK_ENDPOINTS": json.dumps([endpoint]),
        "SAGAHOOK_API_KEYS": json.dumps(keys),
    }


@pytest.mark.long  # six processes; that the rights are the registry's is shown by tests/unit/test_manifests.py
async def test_they_are_enough_for_a_webhook_from_end_to_end_and_for_operators_calls(
    asking: Asking, database_url: str, tmp_path: Path
) -> None:
    heard: list[Any] = []
    await migrate_all(database_url)
    async with (
        receiver(heard) as url,
        services(tmp_path, asking, environment(asking, database_url, url)) as urls,
        aiohttp.ClientSession() as http,
    ):
        api = urls["tracker"]
        async with http.post(f"{urls['ingest']}/webhooks/billed", json={"id": "1", "does": "ok"}) as answer:
            accepted = await answer.json()
            assert answer.status == 202, accepted
        await asyncio.wait_for(answer_as_the_participant(asking), PATIENCE)
        status = f"{api}/webhooks/billed/status/{accepted['correlation_id']}?wait=20"
        async with http.get(status) as answer:
            assert (await answer.json())["status"] == "completed"
        await eventually(lambda: asking.has(NOTIFICATIONS, 1))
        assert heard
        routed = await asking.written(WEBHOOKS_ROUTED)
        again = f"{api}/api/v1/webhooks/events/{accepted['event_id']}/reprocess"
        async with http.post(again, headers={"Authorization": "Bearer operator"}) as answer:
            assert answer.status == 200, await answer.text()
        assert await asking.has(WEBHOOKS_COMMANDS, 1)
        assert await asking.has(AUDIT, 1)
        await eventually(lambda: asking.has(WEBHOOKS_ROUTED, routed + 1))


async def test_a_service_may_not_touch_what_is_not_its_own(asking: Asking) -> None:
    place = TopicPartition(SAGA_EVENTS.name(PREFIX), 0)
    ingest = asking.as_user(USERS["ingest"])
    async with AIOKafkaConsumer(**client_options(ingest)) as consumer:
        consumer.assign([place])
        consumer.seek(place, 0)
        with pytest.raises(TopicAuthorizationFailedError):
            await consumer.getone()
    notifier = asking.as_user(USERS["notifier"])
    async with AIOKafkaProducer(**client_options(notifier)) as producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(SAGA_COMMANDS.name(PREFIX), b"do something", partition=0)


async def test_an_operators_are_enough_for_the_doctor_and_for_the_topics(asking: Asking) -> None:
    operator = asking.as_user(USERS["operators"])
    found = await check_kafka(operator, PREFIX, writes=True, production=True)
    # One broker is none for production; what it says of that it can only say if it may look.
    assert {line.check for line in found.lines if line.verdict == "fail"} <= {"kafka", "topics", "brokers"}
    assert "broker clock" in {line.check for line in found.lines}
    assert await ensure_topics(operator, PREFIX, 1) == ()


async def test_a_consumers_are_enough_to_follow_the_saga_log_and_nothing_else(asking: Asking) -> None:
    log, bodies = SAGA_EVENTS.name(PREFIX), WEBHOOKS_RECEIVED.name(PREFIX)
    async with AIOKafkaProducer(bootstrap_servers=asking.kafka.bootstrap) as owner:
        await owner.send_and_wait(log, b"an event", partition=0)
    analytics = client_options(asking.as_user("analytics"))
    async with AIOKafkaConsumer(
        log,
        **analytics,
        group_id="analytics-outcomes",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        assert (await asyncio.wait_for(consumer.getone(), PATIENCE)).topic == log
        await consumer.commit()
    stranger = AIOKafkaConsumer(bodies, **analytics, group_id="analytics-bodies")
    with pytest.raises(TopicAuthorizationFailedError):
        await stranger.start()
    await stranger.stop()
    async with AIOKafkaProducer(**analytics) as producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(log, b"never happened", partition=0)


@pytest.mark.long  # Kafka's own program, twice
async def test_the_commands_of_the_page_about_consuming_give_a_reader_its_rights(asking: Asking) -> None:
    page = (Path(__file__).parents[2] / "docs" / "consuming.md").read_text()
    commands = [line for line in page.splitlines() if line.startswith("kafka-acls.sh ")]
    here = {"kafka:9092": asking.kafka.bootstrap, "sagahook.": f"{PREFIX}.", "User:analytics": "User:reader"}
    for command in commands:
        _, *words = shlex.split(reduce(lambda text, shown: text.replace(shown, here[shown]), here, command))
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagahook.cli.main", "kafka", "acls", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await program.communicate()
        assert program.returncode == 0, said.decode()

    of_reader = AclBindingFilter(
        ResourceType.ANY,
        ANY,
        ResourcePatternType.ANY,
        "User:reader",
        ANY,
        AclOperation.ANY,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient({"bootstrap.servers": asking.kafka.bootstrap, "log_level": 0})
    given: list[AclBinding] = []
    while len(given) < len(commands):  # the broker learns of them a moment after the controller
        given = await asyncio.to_thread(admin.describe_acls(of_reader).result, 10)
    assert {(each.name, each.resource_pattern_type, each.operation) for each in given} == {
        (SAGA_EVENTS.name(PREFIX), ResourcePatternType.LITERAL, AclOperation.READ),
        ("analytics", ResourcePatternType.PREFIXED, AclOperation.READ),
    }
