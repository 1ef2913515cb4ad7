"""Where the records of one generation of topics belong in the next."""

from collections import deque
from datetime import UTC, datetime

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from sagahook.cli.repartitioning.checking import Sequences
from sagahook.cli.repartitioning.generation import Refused
from sagahook.cli.repartitioning.reading import in_order
from sagahook.cli.repartitioning.rules import home_of, stays_behind, value_of, webhook_named
from sagahook.cli.repartitioning.taken import renamed
from sagahook_runner.adapters.records import OWNER_KEY
from sagahook_runner.domain.limits import LimitState, snapshots_of
from sagahook_schemas.commands import ReprocessWebhook
from sagahook_schemas.envelope import Envelope, Header
from sagahook_schemas.generations import filling_mark, moved_mark, next_generation, why_not
from sagahook_schemas.identity import limit_key, partition_of
from sagahook_schemas.topics import (
    SAGA_COMMANDS,
    SAGA_EVENTS,
    SAGA_REPLIES,
    SAGA_STATE,
    WEBHOOKS_COMMANDS,
)

SAGA = "6f4b2c0e-8f0a-5d1b-9b57-3a1d52c1e001"


def record(
    key: bytes | None,
    value: bytes | None = b"{}",
    headers: list[Header] | None = None,
    partition: int = 0,
    timestamp: int = 0,
) -> ConsumerRecord:
    sizes = (0, 0)
    return ConsumerRecord("t", partition, 0, timestamp, 0, key, value, 0, *sizes, tuple(headers or ()))


def reprocess(event_id: str, offset: int) -> ConsumerRecord:
    command = ReprocessWebhook(event_id=event_id, offset=offset, actor="ann", reason="")
    envelope = Envelope(
        id="c", source="/tests", type=command.ce_type, time=datetime.now(UTC), subject=event_id
    )
    return record(event_id.encode(), command.to_json(), envelope.to_headers())


@pytest.mark.parametrize(
    ("prefix", "following"), [("acme", "acme.g2"), ("acme.g2", "acme.g3"), ("acme.g9", "acme.g10")]
)
def test_a_generation_is_numbered_after_the_one_before(prefix: str, following: str) -> None:
    assert next_generation(prefix) == following


def test_topics_that_are_being_filled_or_have_moved_are_not_used_and_the_words_say_which_are() -> None:
    names = ["acme.saga.events", "acme.g2.saga.events"]

    assert why_not("acme", names) is None
    assert why_not("acme", [*names, filling_mark("acme.g2", "acme")]) is None
    assert "`sagahook topics repartition --prefix acme`" in str(
        why_not("acme.g2", [*names, filling_mark("acme.g2", "acme")])
    )
    assert "SAGAHOOK_TOPIC_PREFIX=acme.g2" in str(why_not("acme", [*names, moved_mark("acme", "acme.g2")]))
    assert why_not("acme.g2", [*names, moved_mark("acme", "acme.g2")]) is None


def test_everything_of_a_saga_is_where_its_id_belongs() -> None:
    for topic in (SAGA_EVENTS, SAGA_STATE, SAGA_COMMANDS):
        assert home_of(topic, record(SAGA.encode()), 5) == partition_of(SAGA, 5)


def test_the_runs_that_wait_for_a_limit_are_kept_where_the_limit_is() -> None:
    key = limit_key("order", "customer-7")
    limit = LimitState(key, "order", 2, {(SAGA, 1): 1}, {(SAGA, 2): 2})

    homes = {home_of(SAGA_STATE, record(name.encode()), 64) for name, _ in snapshots_of(limit)}

    assert homes == {partition_of(key, 64)}


def test_what_has_no_key_stays_together_with_what_it_was_with() -> None:
    assert [home_of(SAGA_REPLIES, record(None, partition=number), 2) for number in range(4)] == [0, 1, 0, 1]


def test_what_tells_of_an_old_partitions_owner_stays_behind() -> None:
    assert stays_behind(SAGA_EVENTS, b"owner/3")
    assert stays_behind(SAGA_STATE, OWNER_KEY)
    assert not stays_behind(SAGA_EVENTS, SAGA.encode())
    assert not stays_behind(SAGA_STATE, SAGA.encode())
    assert not stays_behind(SAGA_COMMANDS, OWNER_KEY)


def test_a_command_about_a_webhook_names_where_it_lies_now() -> None:
    for topic in (WEBHOOKS_COMMANDS, WEBHOOKS_COMMANDS.dead_letters):
        asked = reprocess("e-1", 17)
        assert webhook_named(asked) == "e-1"
        moved = ReprocessWebhook.model_validate_json(value_of(topic, asked, {"e-1": 4}) or b"")
        assert (moved.event_id, moved.offset, moved.actor) == ("e-1", 4, "ann")


def test_a_command_about_a_webhook_that_is_gone_and_what_nobody_can_read_stay_as_they_were() -> None:
    gone, unreadable = reprocess("e-1", 17), record(b"e-1", b"no command")

    assert value_of(WEBHOOKS_COMMANDS, gone, {}) == gone.value
    assert webhook_named(unreadable) is None
    assert value_of(WEBHOOKS_COMMANDS, unreadable, {"e-1": 4}) == b"no command"


def test_groups_that_are_named_after_the_topics_follow_them() -> None:
    assert renamed("acme-runner", "acme", "acme.g2") == "acme.g2-runner"
    assert renamed("acme.tracker", "acme", "acme.g2") == "acme.g2.tracker"
    assert renamed("acmebilling", "acme", "acme.g2") == "acmebilling"
    assert renamed("billing", "acme", "acme.g2") == "billing"


def test_partitions_are_read_together_by_time_and_each_in_its_own_order() -> None:
    places = [TopicPartition("t", number) for number in range(2)]
    first = deque(record(b"a", timestamp=at, partition=0) for at in (1, 5, 4))
    second = deque(record(b"b", timestamp=at, partition=1) for at in (2, 3))
    ahead = dict(zip(places, (first, second), strict=True))

    some = in_order(dict.fromkeys(places, 100), ahead)
    assert [(each.partition, each.timestamp) for each in some] == [(0, 1), (1, 2), (1, 3)]

    rest = in_order({}, ahead)
    assert [(each.partition, each.timestamp) for each in rest] == [(0, 5), (0, 4)]


def event(run: int, sequence: int) -> ConsumerRecord:
    headers = [("ce_sagaid", SAGA.encode()), ("ce_sagarun", b"%d" % run), ("ce_sequence", b"%d" % sequence)]
    return record(SAGA.encode(), headers=headers)


def test_a_gap_in_a_sagas_log_is_seen() -> None:
    sequences = Sequences(is_whole=True)
    for run, sequence in ((1, 1), (1, 2), (2, 1), (2, 2)):
        sequences.follow(event(run, sequence))
    for run, sequence in ((2, 2), (2, 4), (1, 3), (3, 2)):
        with pytest.raises(Refused, match=f"event {run}/{sequence} comes after"):
            sequences.follow(event(run, sequence))


def test_a_log_that_was_cut_begins_anywhere_and_one_that_was_not_with_the_first_event() -> None:
    Sequences(is_whole=False).follow(event(1, 7))
    with pytest.raises(Refused):
        Sequences(is_whole=True).follow(event(1, 7))
