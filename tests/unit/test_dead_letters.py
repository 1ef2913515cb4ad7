"""Which dead letters may be sent again, where to, and that each goes once."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sagahook_schemas.identity import partition_of
from sagahook_schemas.topics import ALL_TOPICS
from sagahook_tracker.domain.dead_letters import (
    DeadLetter,
    Wanted,
    asks_for_something,
    home_of,
    remedy,
    to_redrive,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def letter(offset: int, *, source: str | None = None, **fields: Any) -> DeadLetter:
    """In partition 1. source: by default one of its own."""
    given: dict[str, Any] = {
        "key": "s-1",
        "reason": "it did not fit",
        "consumer": "owners",
        "headers": {},
        "value": b"",
    }
    whence = f"t.saga.commands/1/{100 + offset}" if source is None else source
    return DeadLetter(partition=1, offset=offset, at=NOW, source=whence, **given | fields)


def places(letters: list[DeadLetter]) -> list[str]:
    return [each.place for each in letters]


def test_only_what_asks_for_something_is_sent_again() -> None:
    asking = [topic.base for topic in ALL_TOPICS if asks_for_something(topic.base)]

    assert asking == ["webhooks.commands", "saga.commands", "saga.replies"]
    assert asks_for_something("saga.steps.billing")


@pytest.mark.parametrize(
    ("topic", "what"),
    [
        ("saga.commands.dlq", "sagahook dlq redrive saga.commands.dlq"),
        ("webhooks.received.dlq", "/reprocess"),
        ("saga.events.dlq", "sagahook tracker rebuild"),
    ],
)
def test_each_topic_has_a_way_on(topic: str, what: str) -> None:
    assert what in remedy(topic)


def test_what_lies_in_a_wrong_partition_goes_to_the_one_of_its_key() -> None:
    right = partition_of("s-1", 8)

    assert home_of("saga.commands", b"s-1", (right + 1) % 8, 8) == right
    assert home_of("saga.steps.billing", b"s-1", (right + 1) % 8, 8) == right


@pytest.mark.parametrize("topic", ["saga.replies", "webhooks.commands"])
def test_where_the_key_decides_nothing_the_partition_stays(topic: str) -> None:
    assert [home_of(topic, b"s-1", partition, 8) for partition in range(8)] == list(range(8))


def test_one_that_was_sent_again_is_not_sent_a_second_time() -> None:
    waiting, sent = letter(0), letter(1, redriven_at=NOW)

    assert places(to_redrive([waiting, sent], Wanted())) == ["1/0"]


def test_a_record_that_was_put_aside_twice_is_sent_once() -> None:
    twice = [letter(0, source="t.saga.commands/1/7"), letter(1, source="t.saga.commands/1/7")]

    assert places(to_redrive(twice, Wanted())) == ["1/0"]
    marked = [twice[0], letter(1, source="t.saga.commands/1/7", redriven_at=NOW)]
    assert to_redrive(marked, Wanted()) == []


def test_letters_whose_consumers_did_not_say_where_they_stood_are_told_apart_by_their_places() -> None:
    assert places(to_redrive([letter(0, source=""), letter(1, source="")], Wanted())) == ["1/0", "1/1"]


def test_they_are_chosen_by_place_by_id_and_by_their_reason() -> None:
    letters = [
        letter(0, reason="it was too large"),
        letter(1, headers={"ce_id": "c-7"}),
        letter(2, headers={"ce_id": "c-8"}, reason="it was too large"),
    ]

    assert places(to_redrive(letters, Wanted(ids={"1/0"}))) == ["1/0"]
    assert places(to_redrive(letters, Wanted(ids={"c-7", "c-8"}))) == ["1/1", "1/2"]
    assert places(to_redrive(letters, Wanted(matching="too large"))) == ["1/0", "1/2"]
    assert places(to_redrive(letters, Wanted(ids={"c-8"}, matching="too large"))) == ["1/2"]
