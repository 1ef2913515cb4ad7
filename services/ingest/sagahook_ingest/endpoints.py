"""The endpoints that take webhooks: each from a checked request to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from sagahook.runtime.ids import new_event_id
from sagahook.runtime.logging import get_logger
from sagahook_ingest import metrics
from sagahook_ingest.answers import Answer, Refused, refused
from sagahook_ingest.domain import github
from sagahook_ingest.domain.reading import (
    Event,
    Item,
    Request,
    read_event,
    read_items,
    webhook_of,
    webhook_of_item,
)
from sagahook_ingest.domain.refusals import Refusal, Replayed, Unavailable
from sagahook_ingest.domain.sources import KnownSource
from sagahook_ingest.domain.webhook import Webhook
from sagahook_ingest.handlers import Receipt, Receiver
from sagahook_schemas.base import JsonValue
from sagahook_schemas.identity import webhook_task_id

log = get_logger(__name__)

MESSAGE = "Event queued for processing"
_CHALLENGE_LIMIT = 1_000

Endpoint = Callable[[Request, Receiver, str, int], Awaitable[Answer]]
"""Of a request, with the correlation id that it has, given or made, and the most events that a batch may have.
Raises Refusal, Unavailable."""


class Begun(NamedTuple):
    """A webhook to be published, and what its sender is told when Kafka has it; `answer` raises Refusal."""

    webhook: Webhook
    answer: Callable[[Receipt], Answer]


Begin = Callable[[Request, str], Begun | Answer]
"""What an endpoint for one webhook does before Kafka has it, or its answer at once. Raises Refusal."""


async def one(request: Request, receiver: Receiver, correlation_id: str, limit: int) -> Answer:
    """`POST /webhooks/{source}` (api.md §1)."""
    if request.is_batch_of_events:
        return await batch(request, receiver, correlation_id, limit)
    return await _taken(begin_one(request, correlation_id), receiver)


async def from_github(request: Request, receiver: Receiver, correlation_id: str, limit: int) -> Answer:
    """`POST /api/v1/webhooks/github` (api.md §2)."""
    return await _taken(begin_github(request, correlation_id), receiver)


async def _taken(begun: Begun | Answer, receiver: Receiver) -> Answer:
    if isinstance(begun, Answer):
        return begun
    return begun.answer(await receiver.receive(begun.webhook))


def begin_one(request: Request, correlation_id: str) -> Begun | Answer:
    event = read_event(request)
    if request.source.scheme_name == "slack":
        challenge = _challenge(request, event, correlation_id)
        if challenge is not None:
            return challenge
    return Begun(webhook_of(request, event, correlation_id), partial(_accepted, request.source.name))


def _accepted(source: str, receipt: Receipt) -> Answer:
    return Answer(
        202,
        {
            "status": "accepted",
            "source": source,
            "message": MESSAGE,
            "correlation_id": receipt.correlation_id,
            "event_id": receipt.event_id,
        },
        receipt.correlation_id,
        accepted=not receipt.duplicate,
        duplicates=receipt.duplicate,
    )


def begin_github(request: Request, correlation_id: str) -> Begun:
    event = read_event(request)
    webhook = webhook_of(request, event, correlation_id)
    for name, value in (("X-GitHub-Event", webhook.event_type), ("X-GitHub-Delivery", webhook.delivery_id)):
        if not value:
            raise Refusal(400, f"The header {name} is missing or empty: GitHub sends it with every webhook")
    webhook.recorded_only = github.recorded_only(webhook.event_type, event.value)
    return Begun(webhook, partial(_accepted_from_github, request.source, webhook, event.value))


def _accepted_from_github(
    source: KnownSource, webhook: Webhook, event: JsonValue, receipt: Receipt
) -> Answer:
    if receipt.duplicate:
        raise Replayed(webhook.delivery_id, receipt.event_id, receipt.correlation_id)
    queued = not webhook.recorded_only and source.wants(webhook.event_type)
    return Answer(
        200,
        {
            "status": "accepted",
            "delivery_id": webhook.delivery_id,
            "event_type": webhook.event_type,
            "correlation_id": receipt.correlation_id,
            "event_id": receipt.event_id,
            "result": {
                "status": "queued" if queued else "ignored",
                "task_id": webhook_task_id(webhook.source, webhook.delivery_id),
                "action": github.action_of(event),
            },
        },
        receipt.correlation_id,
        accepted=1,
    )


async def batch(request: Request, receiver: Receiver, correlation_id: str, limit: int) -> Answer:
    """`POST /webhooks/{source}/batch`: each event with an outcome of its own.

    202 where all are accepted, 207 where not. Where none could be taken now, and so all of it is to be sent again,
    503 for all of it: many senders take a 207 for a success.
    """
    items = read_items(request, limit)
    outcomes = await asyncio.gather(*(_item(request, receiver, item) for item in items))
    worst = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    if outcomes and len(worst) == len(outcomes) and all(one.status == 503 for one in worst):
        raise Unavailable(worst[0].error, retry_after=int(worst[0].headers["Retry-After"]))
    receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    duplicates = sum(receipt.duplicate for receipt in receipts)
    for each in worst:
        metrics.WEBHOOK_ERRORS.labels(request.source.name, str(each.status)).inc()
    return Answer(
        207 if worst else 202,
        {
            "status": "accepted" if not worst else "partly_accepted" if receipts else "refused",
            "source": request.source.name,
            "accepted": len(receipts),
            "refused": len(worst),
            "results": [_told(index, outcome) for index, outcome in enumerate(outcomes)],
        },
        correlation_id,
        accepted=len(receipts) - duplicates,
        duplicates=duplicates,
    )


async def _item(request: Request, receiver: Receiver, item: Item) -> Receipt | Refused:
    correlation_id = request.correlation_id or new_event_id()
    try:
        return await receiver.receive(webhook_of_item(request, item, correlation_id))
    except Exception as raised:
        told = refused(raised, correlation_id)
        if told.status == 500:
            log.error(
                "webhook.failed",
                source=request.source.name,
                correlation_id=correlation_id,
                exc_info=raised,
            )
        return told


def _told(index: int, outcome: Receipt | Refused) -> dict[str, Any]:
    if isinstance(outcome, Receipt):
        return {
            "index": index,
            "status": "accepted",
            "status_code": 202,
            "event_id": outcome.event_id,
            "correlation_id": outcome.correlation_id,
        }
    told: dict[str, Any] = {
        "index": index,
        "status": "unavailable" if outcome.status >= 500 else "refused",
        "status_code": outcome.status,
        "correlation_id": outcome.correlation_id,
        "error": outcome.error,
    }
    if "Retry-After" in outcome.headers:
        told["retry_after"] = int(outcome.headers["Retry-After"])
    return told


def _challenge(request: Request, event: Event, correlation_id: str) -> Answer | None:
    """Slack asks once, when a URL is set up, whether it is ours: docs.slack.dev, `url_verification`. It is signed like
    every request of Slack's; nothing happened that a saga could be for, so nothing is recorded. Raises Refusal."""
    asked = event.value
    if not isinstance(asked, dict) or asked.get("type") != "url_verification":
        return None
    challenge = asked.get("challenge")
    if not isinstance(challenge, str) or not 0 < len(challenge) <= _CHALLENGE_LIMIT:
        raise Refusal(400, f"The challenge must be 1 to {_CHALLENGE_LIMIT} characters")
    metrics.HANDSHAKES.labels(request.source.name, "challenge").inc()
    return Answer(200, {"challenge": challenge}, correlation_id)
