"""What is lost with PostgreSQL comes back: the notifier's tables of their back-up, the views of the log.

`python -m bench.drill` does the same, and more, to whole servers with all services.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import asyncpg

from sagahook.embedded.migrations import migrate_all
from sagahook.runtime.database import open_pool
from sagahook_tracker.verifying import verify
from tests.backups import back_up, restore
from tests.databases import open_database, open_migrated_database
from tests.notifier_api import open_api
from tests.notifier_harness import COMPLETED, Deployment, deploy, open_receiver, started, verified
from tests.tracker_harness import open_tracker
from tests.tracker_stories import interesting


async def finish(deployment: Deployment, saga_id: str, deliveries: int) -> None:
    """A saga that completes, and is told of; deliveries: so many there are by then."""
    await deployment.log.write(saga_id, started(saga_id), COMPLETED)
    await deployment.wait_until_finished(deliveries)


async def test_a_notifier_goes_on_from_its_back_up_and_repeats_only_what_the_back_up_does_not_know(
    kafka_bootstrap: str, topic_prefix: str, postgres_url: str, tmp_path: Path
) -> None:
    dump = tmp_path / "notifier.dump"
    async with (
        open_receiver() as receiver,
        open_migrated_database(postgres_url) as lost,
        deploy(kafka_bootstrap, topic_prefix, lost) as deployment,
    ):
        async with open_api(lost, kafka=kafka_bootstrap, topic_prefix=topic_prefix) as api:
            shop = await api.add(url=f"{receiver.url}/hook", event_types=["saga.completed"])
        async with deployment.running():
            await finish(deployment, "before", 1)
            await back_up(lost, dump)
            await finish(deployment, "after", 2)

        async with open_database(postgres_url) as new, asyncpg.create_pool(new, min_size=0) as pool:
            await restore(new, dump)
            await migrate_all(new)
            restored = replace(deployment, database_url=new, pool=pool)
            async with restored.running():
                await finish(restored, "later", 3)

    for arrival in receiver.arrivals:
        verified(arrival, shop["secret"])
    of = {arrival.delivery_id: arrival.payload["data"]["task_id"] for arrival in receiver.arrivals}
    times = Counter(arrival.delivery_id for arrival in receiver.arrivals)
    assert {of[id]: count for id, count in times.items()} == {"before": 1, "after": 2, "later": 1}


async def test_views_that_are_gone_come_of_the_log_by_what_an_empty_database_is_given_anyway(
    kafka_bootstrap: str, topic_prefix: str, database_url: str
) -> None:
    async with open_tracker(kafka_bootstrap, topic_prefix, database_url) as tracker:
        await tracker.log.write(interesting())
        async with tracker.projecting():
            await tracker.until_caught_up()
        before = await tracker.rows()
        connection = await asyncpg.connect(database_url)
        await connection.execute("DROP SCHEMA tracker CASCADE")
        await connection.close()

        await migrate_all(database_url)
        async with tracker.projecting():
            await tracker.until_caught_up()

        assert await tracker.rows() == before
        pool = await open_pool(tracker.settings)
        report = await verify(tracker.settings, pool)
        await pool.close()
        assert report.count == 0
