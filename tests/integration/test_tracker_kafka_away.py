"""An operator's command while Kafka is away."""

import hashlib

from tests.tracker_harness import Wire, open_tracker
from tests.tracker_log import SagaLog

KEY = "an operator's key"
HASHES = {"operator": hashlib.sha256(KEY.encode()).hexdigest()}


async def test_a_command_that_kafka_did_not_take_is_503_and_says_when_to_ask_again(
    kafka_bootstrap: str, topic_prefix: str, database_url: str
) -> None:
    nobody_there = Wire("kafka://127.0.0.1:1")
    await nobody_there.mend()
    await nobody_there.cut()
    away = nobody_there.url.removeprefix("kafka://")
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url, api_keys=HASHES) as tracker:
        async with tracker.projecting():
            await tracker.log.write(SagaLog("s-1").started("e-1", "c-1").written)
            await tracker.until_caught_up()
        async with tracker.told_otherwise(kafka=away).api() as api:
            headers = {"Authorization": f"Bearer {KEY}"}
            code, body, answered = await api.post("/api/v1/sagas/s-1:cancel", {"actor": "a"}, headers=headers)
    assert (code, answered["Retry-After"]) == (503, "1")
    assert away in body["error"]
