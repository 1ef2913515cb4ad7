"""How every saga ended, in a table of one's own, once each: plain confluent-kafka and SQLite.

    KAFKA=localhost:9092 python -m sagahook_consuming.outcomes

Environment: KAFKA, PREFIX (`sagahook`), GROUP (`outcomes`), DATABASE (`outcomes.db`). Ctrl-C or SIGTERM ends it.

A batch is written in one transaction, and only then are its offsets committed. Whoever dies in between reads the batch
again: `ce_id` is the primary key, and so nothing counts twice.
"""

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from typing import cast

from confluent_kafka import Consumer, KafkaException, Message

TABLE = """
CREATE TABLE IF NOT EXISTS outcomes (
    event_id TEXT PRIMARY KEY, at TEXT, saga_id TEXT, run INTEGER, name TEXT, outcome TEXT, error TEXT
)
"""
OUTCOMES = {
    "sagahook.saga.completed.v1": "completed",
    "sagahook.saga.rolled_back.v1": "rolled back",
    "sagahook.saga.failed.v1": "failed",
}
Row = tuple[str, str, str, int, str, str, str | None]


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get("KAFKA", "localhost:9092"),
            "group.id": os.environ.get("GROUP", "outcomes"),
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([f"{os.environ.get('PREFIX', 'sagahook')}.saga.events"])
    with closing(sqlite3.connect(os.environ.get("DATABASE", "outcomes.db"))) as database:
        database.execute(TABLE)
        try:
            while True:
                follow(consumer, database)
        except KeyboardInterrupt:
            consumer.close()


def follow(consumer: Consumer, database: sqlite3.Connection) -> None:
    """One batch."""
    messages = consumer.consume(500, timeout=1.0)
    if not messages:
        return
    with database:
        database.executemany("INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)", rows(messages))
    consumer.commit(asynchronous=False)
    sys.stdout.write(f"{len(messages)} records more\n")
    sys.stdout.flush()


def rows(messages: Iterable[Message]) -> Iterable[Row]:
    for message in messages:
        if error := message.error():
            raise KafkaException(error)
        headers = attributes(message)
        outcome = OUTCOMES.get(headers["ce_type"])
        if outcome is None:
            continue  # the log tells much more, and new types come at any time
        data = json.loads(message.value() or b"")
        yield (
            headers["ce_id"],
            headers["ce_time"],
            headers["ce_sagaid"],
            int(headers["ce_sagarun"]),
            data["name"],
            outcome,
            data.get("error"),
        )


def attributes(message: Message) -> dict[str, str]:
    """The headers of a record of sagahook's: all of them are text."""
    headers = cast("list[tuple[str, bytes]]", message.headers())
    return {name: value.decode() for name, value in headers}


if __name__ == "__main__":
    main()
