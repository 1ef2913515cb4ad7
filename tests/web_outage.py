"""An application that is an ingest while its Kafka is not ready, and then away: whichever server it runs in."""

import asyncio
from pathlib import Path

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.runtime.topics import ensure_topics
from tests.ingest_harness import PARTITIONS, Answer, Log
from tests.processes import halted
from tests.web_harness import Server, serving, told


async def go_through_an_outage(
    server: tuple[str, ...], folder: Path, *, handing_on: str | None = None, **settings: str
) -> None:
    """A broker of its own, without topics, then with them, then silent: each time it is 503, and then accepted by the
    same workers. handing_on: below which prefix it hands webhooks on, to an ingest that is away all the time.
    settings: what else the application is told."""
    kafka = EmbeddedKafka(folder / "kafka", await prepare_kafka())
    try:
        await kafka.start()
        environment = told(
            kafka.bootstrap,
            "away",
            SAGAHOOK_PUBLISH_TIMEOUT="1",
            SAGAHOOK_SOURCES='{"parcels": {}}',
            SAGAHOOK_URL="http://127.0.0.1:9",
            **settings,
        )
        async with serving(server, environment, folder / "server.log", ready=None) as application:
            await application.until("/whoami", 200)
            assert is_try_again(await application.post("/webhooks/parcels", {"parcel": "too soon"}))
            assert (await application.ask("GET", "/health")).status == 503
            await ensure_topics(kafka.bootstrap, "away", PARTITIONS)
            await until_accepted(application)
            assert (await application.ask("GET", "/health")).status == 200
            workers = application.workers()
            with halted(kafka.pid):
                assert is_try_again(await application.post("/webhooks/parcels", {"parcel": "late"}))
                assert is_try_again(await application.post("/send", {"parcel": "late too"}))
            last = await until_accepted(application)
            assert application.workers() == workers
            assert (await Log(kafka.bootstrap, "away").find(last.body["event_id"])).value
            if handing_on is not None:
                nobody = await application.post(f"{handing_on}/webhooks/parcels", {"parcel": "to nobody"})
                assert is_try_again(nobody)
    finally:
        await kafka.stop()


def is_try_again(answer: Answer) -> bool:
    return (
        answer.status == 503 and int(answer.headers["Retry-After"]) > 0 and answer.body["status_code"] == 503
    )


async def until_accepted(application: Server) -> Answer:
    async with asyncio.timeout(60):
        while (answer := await application.post("/webhooks/parcels", {"parcel": "again"})).status != 202:
            assert is_try_again(answer)
            await asyncio.sleep(0.1)
    return answer
