"""What the notifier's metrics say there is, on a real database."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest_asyncio
from prometheus_client import REGISTRY

from sagahook_notifier.adapters.dispatch_store import DispatchStore
from sagahook_notifier.adapters.survey_store import SurveyStore
from sagahook_notifier.adapters.targets import Targets
from sagahook_notifier.adapters.vault import Vault
from sagahook_notifier.handlers.dependency import Dependency
from sagahook_notifier.handlers.survey import Survey
from tests.dispatch_harness import World, world
from tests.notifier_harness import SECRET_KEY


@pytest_asyncio.fixture
async def here(database_url: str) -> AsyncIterator[World]:
    async with world(database_url, dispatchers=0) as made:
        yield made


async def looked(here: World) -> None:
    deliveries = DispatchStore(here.pool, Targets(Vault([SECRET_KEY])))
    await Survey(SurveyStore(here.pool), deliveries, Dependency("PostgreSQL"), here.clock).look()


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"sagahook_notifier_{name}", labels)


async def test_endpoints_are_counted_by_what_is_the_matter_with_them(here: World) -> None:
    await here.endpoints("well", "well-too", "failing", "disabled", "off", "removed")
    for change in (
        "INSERT INTO notifier.endpoint_health (endpoint_id, open_until) VALUES ('failing', now())",
        "UPDATE notifier.endpoints SET disabled_at = now() WHERE id = 'disabled'",
        "UPDATE notifier.endpoints SET enabled = FALSE WHERE id = 'off'",
        "UPDATE notifier.endpoints SET deleted_at = now() WHERE id = 'removed'",
    ):
        await here.pool.execute(change)
    await looked(here)
    states = ("well", "circuit_open", "disabled", "off")
    assert [value("endpoints", state=state) for state in states] == [2, 1, 1, 1]
    await here.pool.execute("UPDATE notifier.endpoints SET disabled_at = NULL")
    await looked(here)
    assert [value("endpoints", state=state) for state in states] == [3, 1, 0, 1]


async def test_a_delivery_is_late_from_when_it_could_have_been_sent(here: World) -> None:
    await looked(here)
    assert (value("waiting"), value("late_seconds"), value("outbox")) == (0, 0, 0)
    await here.endpoints("hook", "failing")
    await here.add("hook", 3)
    await here.add("failing")
    here.advance(90)
    await looked(here)
    assert (value("waiting"), value("late_seconds")) == (4, 90)
    # What is under way, and what waits for an open circuit, is not late.
    soon = here.clock.now() + timedelta(seconds=10)
    await here.pool.execute(
        "UPDATE notifier.deliveries SET leased_until = $1 WHERE endpoint_id = 'hook'", soon
    )
    await here.pool.execute(
        "INSERT INTO notifier.endpoint_health (endpoint_id, open_until) VALUES ('failing', $1)", soon
    )
    await looked(here)
    assert (value("waiting"), value("late_seconds")) == (4, 0)


async def test_outcomes_that_kafka_does_not_have_yet_are_counted(here: World) -> None:
    await here.pool.execute(
        "INSERT INTO notifier.outbox (keys, headers, payloads) SELECT '{d}', '{h}', '{p}' FROM generate_series(1, 2)"
    )
    await looked(here)
    assert value("outbox") == 2
