"""A participant as another team would write it: confluent-kafka and sqlite3, nothing of sagahook.

Environment: KAFKA, PREFIX, DATABASE (a file), WORK_SECONDS for each request. Its replies have the saga's id as their
key and are partitioned as Java's client does it, so that they come to other partitions than the saga's own.
"""

import json
import os
import sqlite3
import time
from typing import Any

from confluent_kafka import Consumer, Producer

TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, attempt INTEGER, answer TEXT);
CREATE TABLE IF NOT EXISTS closed (key TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS effects (key TEXT, what TEXT);
"""


def main() -> None:
    database = sqlite3.connect(os.environ["DATABASE"])
    database.executescript(TABLES)
    kafka = {"bootstrap.servers": os.environ["KAFKA"]}
    consumer = Consumer(
        {
            **kafka,
            "group.id": "billing",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6_000,
        }
    )
    producer = Producer({**kafka, "acks": "all", "partitioner": "murmur2_random", "linger.ms": 0})
    prefix = os.environ["PREFIX"]
    consumer.subscribe([f"{prefix}.saga.steps.billing"])
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        request = json.loads(message.value() or b"")
        reply = {name: request[name] for name in ("saga_id", "run", "step", "phase", "attempt")}
        with database:  # what was answered is remembered in the transaction of the effect
            reply |= done_once(database, request)
        producer.produce(f"{prefix}.saga.replies", json.dumps(reply).encode(), key=request["saga_id"])
        producer.flush()
        consumer.commit(message=message, asynchronous=False)


def done_once(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    key, attempt = request["idempotency_key"], request["attempt"]
    known = database.execute("SELECT attempt, answer FROM answers WHERE key = ?", (key,)).fetchone()
    if known is not None:
        answer: dict[str, Any] = json.loads(known[1])
        if "result" in answer or attempt <= known[0]:
            return answer
    if request["phase"] == "compensation":
        database.execute("INSERT OR IGNORE INTO closed VALUES (?)", (request["action_key"],))
    elif database.execute("SELECT 1 FROM closed WHERE key = ?", (key,)).fetchone():
        return {"error": "CompensatedBefore: it was undone before it was done", "retryable": False}
    answer = do(database, request)
    database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, attempt, json.dumps(answer)))
    return answer


def do(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    time.sleep(float(os.environ.get("WORK_SECONDS", "0")))
    step, phase, does = request["step"], request["phase"], request["data"]["does"]
    if does == "flaky" and request["attempt"] == 1:
        return {"error": "Busy: come again", "retryable": True, "retry_after": 0.2}
    if step == "ship" and does in ("refused", "stuck"):
        return {"error": "NoStock: sold out", "retryable": False}
    if phase == "compensation" and does == "stuck":
        return {"error": "Booked: the month is closed", "retryable": False}
    undone = request["result"]["id"] if phase == "compensation" and request["result"] else ""
    database.execute(
        "INSERT INTO effects VALUES (?, ?)", (request["idempotency_key"], f"{phase} {step} {undone}".strip())
    )
    return {"result": None if phase == "compensation" else {"id": f"{step}-{request['data']['id']}"}}


if __name__ == "__main__":
    main()
