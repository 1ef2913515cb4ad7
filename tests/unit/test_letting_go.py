"""How an owner lets go of what was held: in the order of its start, a bounded number in one transaction."""

from datetime import UTC, datetime

import pytest

from sagahook.saga import Saga, SagaApp, StepContext, step
from sagahook_runner.adapters.records import Stamp
from sagahook_runner.domain.commands import Start
from sagahook_runner.domain.controls import Controls
from sagahook_runner.domain.shard import Definitions, Shard
from sagahook_runner.handlers.conductor import Conductors
from sagahook_runner.handlers.letting_go import LettingGo
from sagahook_runner.handlers.transaction import OwnerTransaction, Place
from sagahook_runner.settings import RunnerSettings
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.definitions import ControlSet

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Order(Saga):
    @step
    async def charge(self, ctx: StepContext) -> None: ...


@pytest.fixture
def place() -> Place:
    app = SagaApp([Order()])
    shard = Shard(Definitions(app.definitions()))
    settings = RunnerSettings(kafka="nowhere:9092", app="unused")
    conductors = Conductors(app, lambda partition, saga_id, command: None)
    return Place(0, 1, settings, app, shard, conductors, Controls())


def say(place: Place, *, paused: bool) -> None:
    place.controls.set(ControlSet(kind="definition", name="order", paused=paused, actor="ada", at=NOON))


def hold(place: Place, count: int) -> list[str]:
    """So many sagas, in the order of their start."""
    ids = [f"{number:08d}-0000-5000-8000-000000000000" for number in range(count, 0, -1)]
    for saga_id in ids:
        asked = StartSaga(
            name="order", version=1, source="shop", event_id=saga_id, correlation_id="c", context={}
        )
        place.shard.apply(saga_id, Start(asked, place.shard.held.next_place), NOON)
    return ids


def let_go(place: Place, letting_go: LettingGo, *, has_room: bool = True) -> list[str]:
    """Of one transaction, in its order."""
    before = place.shard.held.in_order()
    transaction = OwnerTransaction(place, Stamp(NOON), 0.5)
    letting_go.take(transaction, has_room=has_room)
    written = [record for record in transaction.records() if dict(record.headers or [])]
    told = [
        record.key.decode()
        for record in written
        if ("ce_type", b"sagahook.saga.let_go.v1") in (record.headers or [])
    ]
    assert told == [each for each in before if each not in set(place.shard.held.in_order())]
    return told


def test_what_started_first_goes_first_and_a_transaction_takes_its_share(place: Place) -> None:
    held = hold(place, 1_100)
    letting_go = LettingGo(place.shard, place.controls)

    assert letting_go.has_work(has_room=True)
    assert [let_go(place, letting_go) for _ in range(3)] == [held[:500], held[500:1_000], held[1_000:]]
    assert not letting_go.has_work(has_room=True)


def test_what_is_paused_stays_until_the_pause_ends(place: Place) -> None:
    held = hold(place, 2)
    say(place, paused=True)
    letting_go = LettingGo(place.shard, place.controls)

    assert let_go(place, letting_go) == []
    assert not letting_go.has_work(has_room=True)
    say(place, paused=False)
    assert letting_go.has_work(has_room=True)
    assert let_go(place, letting_go) == held


def test_while_nothing_more_can_run_nothing_is_let_go(place: Place) -> None:
    held = hold(place, 2)
    letting_go = LettingGo(place.shard, place.controls)

    assert let_go(place, letting_go, has_room=False) == []
    assert not letting_go.has_work(has_room=False)
    assert letting_go.has_work(has_room=True)
    assert let_go(place, letting_go) == held


def test_a_new_pause_holds_what_was_not_let_go_yet(place: Place) -> None:
    held = hold(place, 600)
    letting_go = LettingGo(place.shard, place.controls)

    assert let_go(place, letting_go) == held[:500]
    say(place, paused=True)
    assert let_go(place, letting_go) == []
    assert place.shard.held.in_order() == held[500:]
