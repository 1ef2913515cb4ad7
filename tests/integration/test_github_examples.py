"""Every example payload that GitHub publishes, signed by GitHub's own library, through ingest into a real log."""

import asyncio
import random
import uuid
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest_asyncio
from aiokafka import ConsumerRecord
from orjson import loads
from pydantic import SecretStr

from sagahook.runtime.sources import Source
from sagahook.runtime.topics import ensure_topics
from sagahook_schemas.definitions import TriggerDefinition
from sagahook_schemas.envelope import Envelope
from tests.ingest_harness import PARTITIONS, Answer, Log, ServedIngest, deploy, serving, settings_for
from tests.node_tools import run_script

EXAMPLES = 329
"""How many there are in the version that tests/node/package.json pins."""

QUEUED: dict[str, set[str]] = {
    "pull_request": {"opened", "synchronize", "reopened", "ready_for_review"},
    "check_run": {"completed"},
    "check_suite": {"completed"},
    "push": {"refs/heads/main", "refs/heads/master"},
    "installation": set(),
    "installation_repositories": set(),
    "ping": set(),
}
"""Of the events that api.md §2 names: the actions, or the refs, that start sagas. The others are only recorded."""

SECRET = "It's a Secret to Everybody"
PATH = "/api/v1/webhooks/github"


@dataclass(frozen=True)
class Delivery:
    event: str
    id: str
    body: bytes
    signature: str

    @property
    def headers(self) -> dict[str, str]:
        """As GitHub sends them."""
        return {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Event": self.event,
            "X-GitHub-Delivery": self.id,
            "X-Hub-Signature-256": self.signature,
        }

    @property
    def action(self) -> Any:
        return loads(self.body).get("action")

    @property
    def outcome(self) -> str:
        """Of an event in QUEUED."""
        fields = loads(self.body)
        return "queued" if {fields.get("action"), fields.get("ref")} & QUEUED[self.event] else "ignored"

    def altered(self, dice: random.Random) -> "Delivery":
        """One byte of the body is another."""
        at = dice.randrange(len(self.body))
        other = (self.body[at] + dice.randrange(1, 256)) % 256
        return replace(self, body=self.body[:at] + bytes([other]) + self.body[at + 1 :])


Answers = list[Answer]
"""One for each delivery, in their order."""


@dataclass
class Played:
    """What was sent, in this order, and how it was answered."""

    deliveries: list[Delivery]
    altered_before: Answers = field(default_factory=list)
    sent: Answers = field(default_factory=list)
    altered_after: Answers = field(default_factory=list)
    replayed: Answers = field(default_factory=list)
    log: list[ConsumerRecord] = field(default_factory=list)


async def published_examples() -> list[Delivery]:
    printed = await run_script("github_examples.mjs", GITHUB_WEBHOOK_SECRET=SECRET)
    examples = [loads(line) for line in printed.splitlines()]
    return [
        Delivery(each["event"], each["delivery"], b64decode(each["body"]), each["signature"])
        for each in examples
    ]


async def post_all(ingest: ServedIngest, deliveries: list[Delivery]) -> Answers:
    return await asyncio.gather(*(ingest.post(PATH, each.body, each.headers) for each in deliveries))


@pytest_asyncio.fixture(scope="module")
async def log(kafka_bootstrap: str, module_prefix: str) -> Log:
    log = Log(kafka_bootstrap, module_prefix)
    await ensure_topics(kafka_bootstrap, log.prefix, PARTITIONS)
    await deploy(kafka_bootstrap, log.prefix, TriggerDefinition(source="github"))
    return log


@pytest_asyncio.fixture(scope="module")
async def ingest(log: Log) -> AsyncIterator[ServedIngest]:
    github = Source(scheme="github", secrets=(SecretStr(SECRET),))
    async with serving(settings_for(log.bootstrap, log.prefix, sources={"github": github})) as served:
        yield served


@pytest_asyncio.fixture(scope="module")
async def played(ingest: ServedIngest, log: Log) -> Played:
    dice = random.Random(5)
    played = Played(await published_examples())
    altered = [delivery.altered(dice) for delivery in played.deliveries]
    played.altered_before = await post_all(ingest, altered)
    played.sent = await post_all(ingest, played.deliveries)
    played.altered_after = await post_all(ingest, altered)
    played.replayed = await post_all(ingest, played.deliveries)
    played.log = await log.read()
    return played


def test_there_are_as_many_as_the_pinned_version_has(played: Played) -> None:
    assert len(played.deliveries) == EXAMPLES
    assert len({delivery.id for delivery in played.deliveries}) == EXAMPLES


def test_each_is_accepted_as_the_contract_has_it(played: Played) -> None:
    for delivery, answer in zip(played.deliveries, played.sent, strict=True):
        assert answer.status == 200, (delivery.event, answer.body)
        told = answer.body
        assert told.keys() >= {"status", "delivery_id", "event_type", "correlation_id", "result"}
        assert (told["status"], told["delivery_id"], told["event_type"]) == (
            "accepted",
            delivery.id,
            delivery.event,
        )
        assert told["result"].keys() == {"status", "task_id", "action"}
        assert told["result"]["status"] in ("queued", "ignored")
        assert told["result"]["action"] == delivery.action
    assert len({answer.body["result"]["task_id"] for answer in played.sent}) == EXAMPLES


def test_those_that_the_contract_names_are_queued_for_a_saga_that_wants_all_of_them(played: Played) -> None:
    for delivery, answer in zip(played.deliveries, played.sent, strict=True):
        if delivery.event in QUEUED:
            assert answer.body["result"]["status"] == delivery.outcome, (delivery.event, delivery.action)


def test_each_altered_by_a_byte_is_refused_before_and_after_its_delivery_id_is_known(played: Played) -> None:
    assert Counter(answer.status for answer in played.altered_before) == {401: EXAMPLES}
    assert Counter(answer.status for answer in played.altered_after) == {401: EXAMPLES}


def test_each_replayed_is_a_conflict(played: Played) -> None:
    assert Counter(answer.status for answer in played.replayed) == {409: EXAMPLES}


def test_each_lies_in_the_log_once_and_byte_for_byte_as_it_was_sent(played: Played) -> None:
    held = {
        envelope.correlation_id: (envelope.subject, record.value)
        for record in played.log
        for envelope in [Envelope.from_headers(record.headers)]
    }
    assert held == {
        answer.body["correlation_id"]: (delivery.event, delivery.body)
        for delivery, answer in zip(played.deliveries, played.sent, strict=True)
    }
    assert len(played.log) == EXAMPLES


def test_neither_the_secret_nor_a_signature_is_in_the_log(played: Played) -> None:
    signatures = {delivery.signature.removeprefix("sha256=").encode() for delivery in played.deliveries}
    for record in played.log:
        headers = b"\n".join(value for _, value in record.headers)
        assert SECRET.encode() not in headers
        assert not any(signature in headers for signature in signatures)


async def test_of_two_connections_with_a_delivery_at_the_same_instant_one_is_accepted(
    ingest: ServedIngest, log: Log, played: Played
) -> None:
    before = await log.size()
    again = [replace(delivery, id=str(uuid.uuid4())) for delivery in played.deliveries[:50]]
    answers = await post_all(ingest, [each for delivery in again for each in (delivery, delivery)])
    pairs = [
        sorted((first.status, second.status))
        for first, second in zip(answers[::2], answers[1::2], strict=True)
    ]
    assert pairs == [[200, 409]] * len(again)
    assert await log.size() == before + len(again)
