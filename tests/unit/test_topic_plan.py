"""What has to be done to topics, decided from what Kafka has: nothing but this decides what `apply` does."""

import pytest

from sagahook.runtime.topic_plan import (
    Found,
    differences,
    is_endangered,
    plan_topics,
    settings_of,
    topics_of,
)
from sagahook_schemas.topics import (
    ALL_TOPICS,
    AUDIT,
    SAGA_COMMANDS,
    SAGA_EVENTS,
    SAGA_STATE,
    Topic,
    steps_topic,
)

PREFIX = "shop"


def found(topic: Topic, *, partitions: int = 4, copies: int = 3, **config: str) -> Found:
    """As `apply` makes it, but for the given settings: _ for . in their names."""
    given = {key.replace("_", "."): value for key, value in config.items()}
    return Found(partitions, copies, settings_of(topic, copies) | given)


def everything(**overrides: Found) -> dict[str, Found]:
    """All topics as they are made, but those that are given, by their base names: _ for . in them."""
    given = {key.replace("_", "."): value for key, value in overrides.items()}
    return {topic.name(PREFIX): given.get(topic.base, found(topic)) for topic in ALL_TOPICS}


def test_where_there_is_nothing_everything_is_made_with_the_usual_number_of_partitions() -> None:
    plan = plan_topics(PREFIX, {}, brokers=1)

    assert (plan.make, plan.partitions, plan.copies, plan.alter) == (ALL_TOPICS, 4, 1, {})


def test_where_everything_is_as_it_should_be_there_is_nothing_to_do() -> None:
    plan = plan_topics(PREFIX, everything(), brokers=3)

    assert (plan.steps, plan.is_done) == ((), True)


def test_what_is_missing_gets_as_many_partitions_as_the_rest_has() -> None:
    there = {AUDIT.name(PREFIX): found(AUDIT, partitions=12)}

    plan = plan_topics(PREFIX, there, brokers=3)

    assert (plan.partitions, len(plan.make), plan.refused) == (12, len(ALL_TOPICS) - 1, ())


def test_another_number_of_partitions_is_refused_with_the_way_out() -> None:
    [step] = plan_topics(
        PREFIX, everything(saga_events=found(SAGA_EVENTS, partitions=2)), brokers=3, partitions=4
    ).refused

    assert (step.topic, step.says.split(":")[0]) == ("shop.saga.events", "it has 2 partitions, not 4")
    assert "keep them (--partitions 2)" in (step.then or "")


def test_topics_that_do_not_agree_are_refused_also_when_no_number_is_asked_for() -> None:
    plan = plan_topics(PREFIX, everything(saga_events=found(SAGA_EVENTS, partitions=2)), brokers=3)

    [step] = plan.refused
    assert "shop.saga.events has 2" in step.says


def test_a_setting_that_differs_is_altered_and_others_are_left_alone() -> None:
    changed = found(SAGA_EVENTS, retention_ms="1000", segment_bytes="1")

    plan = plan_topics(PREFIX, everything(saga_events=changed), brokers=3)

    assert plan.alter == {"shop.saga.events": {"retention.ms": "-1"}}
    assert [step.verb for step in plan.steps] == ["alter"]


@pytest.mark.parametrize("longer", ["-1", str(10**12)])
def test_a_retention_that_somebody_made_longer_is_shortened_only_when_loss_is_allowed(longer: str) -> None:
    there = everything(audit=found(AUDIT, retention_ms=longer))

    refused, allowed = (
        plan_topics(PREFIX, there, brokers=3),
        plan_topics(PREFIX, there, brokers=3, allow_loss=True),
    )

    assert ([step.topic for step in refused.refused], refused.alter) == (["shop.audit"], {})
    assert allowed.alter == {"shop.audit": {"retention.ms": AUDIT.config()["retention.ms"]}}
    assert allowed.refused == ()


def test_what_compacts_a_topic_whose_old_records_go_by_themselves_is_not_undone_without_saying_so() -> None:
    there = everything(saga_commands=found(SAGA_COMMANDS, cleanup_policy="compact"))

    assert [step.topic for step in plan_topics(PREFIX, there, brokers=3).refused] == ["shop.saga.commands"]


def test_a_snapshot_topic_that_deletes_by_age_is_put_right_at_once() -> None:
    there = everything(saga_state=found(SAGA_STATE, cleanup_policy="delete"))

    assert plan_topics(PREFIX, there, brokers=3).alter == {"shop.saga.state": {"cleanup.policy": "compact"}}


def test_too_few_copies_are_named_and_hinder_nothing() -> None:
    plan = plan_topics(PREFIX, everything(audit=found(AUDIT, copies=1)), brokers=3)

    [step] = plan.steps
    assert (step.verb, step.topic, plan.is_done) == ("by hand", "shop.audit", True)


@pytest.mark.parametrize(
    ("copies", "in_sync", "wanted"),
    [(3, "1", "2"), (3, "2", None), (5, "3", None), (1, "2", "1"), (2, "2", None)],
    ids=["too few", "well", "more are well", "more than there are copies", "both of two"],
)
def test_so_many_copies_in_sync_that_one_broker_may_be_lost_and_records_are_still_taken(
    copies: int, in_sync: str, wanted: str | None
) -> None:
    topic = found(AUDIT, copies=copies, min_insync_replicas=in_sync)

    assert [each.wanted for each in differences(AUDIT, topic)] == ([] if wanted is None else [wanted])


def test_the_topics_of_participants_that_are_there_are_looked_after_too() -> None:
    billing = steps_topic("billing")
    there = everything() | {
        billing.name(PREFIX): found(billing, max_message_bytes="1"),
        "shop.saga.steps.NOT-OURS": found(billing),
        "shopping.saga.steps.other": found(billing),
    }

    plan = plan_topics(PREFIX, there, brokers=3)

    assert list(plan.alter) == [billing.name(PREFIX)]
    assert plan.make == (billing.dead_letters,)
    assert topics_of(PREFIX, there)[len(ALL_TOPICS) :] == (billing, billing.dead_letters)


def test_only_what_loses_records_that_are_kept_for_ever_is_a_danger() -> None:
    endangered = [
        is_endangered(topic, differences(topic, found(topic, retention_ms="1000")))
        for topic in (SAGA_EVENTS, SAGA_COMMANDS)
    ]

    assert endangered == [True, False]
    assert not is_endangered(SAGA_EVENTS, differences(SAGA_EVENTS, found(SAGA_EVENTS, max_message_bytes="1")))
