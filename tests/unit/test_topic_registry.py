"""The registry of topics, and how `sagahook topics list` shows it."""

from datetime import timedelta

from typer.testing import CliRunner

from sagahook.cli.main import app
from sagahook_schemas.topics import (
    ALL_TOPICS,
    DEAD_LETTER_TOPICS,
    SAGA_COMMANDS,
    SAGA_EVENTS,
    SAGA_STATE,
    TOPICS,
)


def test_no_two_topics_share_a_name() -> None:
    assert len({topic.base for topic in ALL_TOPICS}) == len(ALL_TOPICS)


def test_every_topic_that_others_read_has_a_place_for_what_they_cannot_read() -> None:
    others = [topic for topic in TOPICS if topic is not SAGA_STATE]

    assert [topic.base for topic in DEAD_LETTER_TOPICS] == [f"{topic.base}.dlq" for topic in others]
    assert [topic.writers for topic in DEAD_LETTER_TOPICS] == [topic.readers for topic in others]


def test_a_dead_letter_topic_takes_every_record_that_its_source_takes() -> None:
    sizes = {topic.base: topic.config()["max.message.bytes"] for topic in ALL_TOPICS}

    assert all(sizes[topic.base] > sizes[topic.base.removesuffix(".dlq")] for topic in DEAD_LETTER_TOPICS)


def test_the_saga_log_is_kept_for_ever_and_its_snapshots_by_key() -> None:
    assert SAGA_EVENTS.config() | {"cleanup.policy": "delete", "retention.ms": "-1"} == SAGA_EVENTS.config()
    assert SAGA_STATE.config()["cleanup.policy"] == "compact"
    assert SAGA_COMMANDS.config()["retention.ms"] == str(timedelta(days=7) // timedelta(milliseconds=1))


def test_the_list_names_every_topic_with_its_key_retention_writers_and_readers() -> None:
    listed = CliRunner().invoke(app, ["topics", "list", "--prefix", "acme"])

    head, *rows = [line.split() for line in listed.stdout.splitlines()]
    assert head == ["NAME", "KEY", "RETENTION", "WRITERS", "READERS"]
    assert [row[0] for row in rows] == [f"acme.{topic.base}" for topic in ALL_TOPICS]
    assert [
        "acme.saga.commands",
        "saga_id",
        "7",
        "days",
        "saga-runner,",
        "tracker",
        "saga-runner",
    ] in rows
