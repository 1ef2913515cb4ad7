"""The disaster recovery drill (docs/operating/disaster-recovery.md), on servers of its own with the real services.

    python -m bench.drill

PostgreSQL is lost and comes back of its back-up and the log; `saga.state` is lost and comes back of the log; Kafka is
killed and goes on from a copy of its disk. Each part says what it found, and raises where that is not as it should be.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka.admin import AIOKafkaAdminClient

from bench.drill_services import Services
from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.embedded.postgres import EmbeddedPostgres
from sagahook_schemas.topics import SAGA_STATE
from tests.backups import back_up, restore
from tests.notifier_harness import Receiver, open_receiver, verified

PREFIX = "drill"
FINAL_SECONDS = 120.0


@dataclass
class World:
    """orders: ids of those that were sent, by whether they wait for a signal."""

    folder: Path
    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres
    receiver: Receiver
    http: aiohttp.ClientSession
    orders: dict[str, bool] = field(default_factory=dict)
    correlations: dict[str, str] = field(default_factory=dict)
    secret: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What every command and service is told."""
        return {
            "SAGAHOOK_KAFKA": self.kafka.bootstrap,
            "SAGAHOOK_TOPIC_PREFIX": PREFIX,
            "DATABASE_URL": self.postgres.url,
            "SAGAHOOK_APP": "bench.drill_app",
            "EFFECTS_FILE": str(self.folder / "effects"),
        }

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        services = Services(self.environment, self.folder / "logs")
        try:
            await services.start()
            yield services
        finally:
            await services.stop()

    async def sagahook(self, *words: str) -> tuple[int, str]:
        """The exit code of a command, and what it said."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagahook.cli.main", *words),
            env={**os.environ, **self.environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def order(self, services: Services, count: int, *, waits: bool = False) -> None:
        for _ in range(count):
            id = f"o-{len(self.orders)}"
            async with self.http.post(
                f"{services.api}/webhooks/drill", json={"id": id, "waits": waits}
            ) as answer:
                check(answer.status == 202, f"a webhook was answered {answer.status}")
                self.correlations[id] = (await answer.json())["correlation_id"]
            self.orders[id] = waits

    async def until_completed(self, services: Services, ids: list[str]) -> None:
        deadline = time.monotonic() + FINAL_SECONDS
        for id in ids:
            url = f"{services.api}/webhooks/drill/status/{self.correlations[id]}"
            status = ""
            while status != "completed":
                check(time.monotonic() < deadline, f"{id} is {status!r} after {FINAL_SECONDS:.0f} s")
                async with self.http.get(url, params={"wait": "5"}) as answer:
                    status = (await answer.json()).get("status", "")
                    if answer.status != 200:  # the views are behind
                        await asyncio.sleep(0.2)

    def effects(self) -> Counter[str]:
        return Counter((self.folder / "effects").read_text().splitlines())

    def arrived(self) -> Counter[str]:
        """How often each delivery came; the secret of the endpoint verifies all of them."""
        for arrival in self.receiver.arrivals:
            verified(arrival, self.secret)
        return Counter(arrival.delivery_id for arrival in self.receiver.arrivals)


def check(is_well: bool, otherwise: str) -> None:
    if not is_well:
        raise AssertionError(otherwise)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


async def prepare(world: World) -> None:
    for words in (("topics", "apply", "--partitions", "4"), ("migrate",)):
        code, said = await world.sagahook(*words)
        check(code == 0, said)


async def lose_postgresql(world: World) -> None:
    print("PostgreSQL is lost", flush=True)
    dump = world.folder / "notifier.dump"
    async with world.services() as services:
        asked = {"url": f"{world.receiver.url}/hook", "event_types": ["task_completed"]}
        world.secret = (await services.ask(world.http, "POST", "/api/v1/endpoints", asked))["secret"]
        await world.order(services, 20)
        await world.until_completed(services, list(world.orders))
        await world.receiver.wait_for(20)
        await services.until_recorded(world.http, 20)
        await back_up(world.postgres.url, dump)
        await world.order(services, 10)
        await world.order(services, 10, waits=True)
        await world.until_completed(services, [id for id, waits in world.orders.items() if not waits])
        await world.receiver.wait_for(30)
        known = world.arrived()

        os.kill(world.postgres.pid or 0, signal.SIGQUIT)
        await world.postgres.wait()
        shutil.rmtree(world.folder / "postgres")
        await world.order(services, 5)
        say("the server is killed and its disk deleted; 5 webhooks are answered 202 meanwhile")

    began = time.monotonic()
    await world.postgres.start()
    await restore(world.postgres.url, dump)
    code, said = await world.sagahook("migrate")
    check(code == 0, said)
    async with world.services() as services:
        await world.until_completed(services, [id for id, waits in world.orders.items() if not waits])
        say(
            f"restored, migrated, and every order's status is as before after {time.monotonic() - began:.1f} s"
        )
        await world.receiver.wait_for(30 + 10 + 5)
        await services.until_recorded(world.http, 35)
        again = {id: count for id, count in world.arrived().items() if count > 1}
        check(len(again) == 10 and set(again) <= set(known), f"sent again: {again}")
        say(
            "of 30 deliveries before the loss the 10 after the back-up came once more, under their ids; all verify"
        )
        await verify(world)


async def verify(world: World) -> None:
    code, said = await world.sagahook("tracker", "verify")
    check(code == 0, said)
    say(f"sagahook tracker verify: {said.strip()}")


async def lose_snapshots(world: World) -> None:
    print("saga.state is lost", flush=True)
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka.bootstrap)
    await admin.start()
    await admin.delete_topics([SAGA_STATE.name(PREFIX)])
    await admin.close()
    began = time.monotonic()
    code, said = await world.sagahook("topics", "apply")
    check(code == 0, said)
    before = world.effects()
    async with world.services() as services:
        waiting = [id for id, waits in world.orders.items() if waits]
        bulk: dict[str, Any] = {
            "action": "signal",
            "signal": "released",
            "filter": {"name": "order", "state": "EXECUTING"},
            "actor": "drill",
        }
        found = (await services.ask(world.http, "POST", "/api/v1/sagas:bulk", bulk))["count"]
        check(found == len(waiting), f"{found} of {len(waiting)} wait")
        await services.ask(world.http, "POST", "/api/v1/sagas:bulk", bulk | {"confirm": found})
        await world.until_completed(services, waiting)
        await verify(world)
    after = world.effects()
    check(len(after) == len(before) + len(waiting), f"{len(after) - len(before)} new effects")
    check(set(after.values()) == {1}, f"applied twice: {[key for key, count in after.items() if count > 1]}")
    say(
        f"{len(waiting)} orders that waited completed after {time.monotonic() - began:.1f} s; no effect twice"
    )


async def lose_kafka(world: World) -> None:
    print("Kafka is killed, and its disk restored elsewhere", flush=True)
    os.kill(world.kafka.pid or 0, signal.SIGKILL)
    await world.kafka.wait()
    shutil.copytree(world.folder / "kafka", world.folder / "kafka-restored")
    shutil.rmtree(world.folder / "kafka")
    began = time.monotonic()
    world.kafka = EmbeddedKafka(world.folder / "kafka-restored", await prepare_kafka())
    await world.kafka.start()
    async with world.services() as services:
        await world.order(services, 10)
        await world.until_completed(services, list(world.orders))
        say(f"10 orders more ran to their end, {time.monotonic() - began:.1f} s after")
        code, said = await world.sagahook("doctor", "--url", services.api)
        check(code == 0, said)
        say("sagahook doctor: nothing fails")
        await verify(world)


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world_kafka = EmbeddedKafka(folder / "kafka", await prepare_kafka())
        postgres = EmbeddedPostgres(folder / "postgres")
        async with open_receiver() as receiver, aiohttp.ClientSession() as http:
            world = World(folder, world_kafka, postgres, receiver, http)
            try:
                await asyncio.gather(world.kafka.start(), postgres.start())
                await prepare(world)
                for part in (lose_postgresql, lose_snapshots, lose_kafka):
                    await part(world)
            finally:
                await asyncio.gather(world.kafka.stop(), postgres.stop())


if __name__ == "__main__":
    asyncio.run(main())
