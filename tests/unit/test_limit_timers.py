"""What a limit's owner is woken by."""

from datetime import UTC, datetime, timedelta

from sagahook_runner.domain.shard import Definitions, Shard
from sagahook_runner.domain.timers import RateDue
from sagahook_schemas.commands import ReleaseSlot, RequestSlot
from sagahook_schemas.definitions import RateLimit, SagaDefinition, TriggerDefinition
from sagahook_schemas.sagas import SlotGranted

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEY = "limit/order"
WAITING = 50


def rated() -> Shard:
    """One start a second, and many that wait."""
    trigger = TriggerDefinition(source="shop", rate_limit=RateLimit(count=1, per=1))
    shard = Shard(Definitions([SagaDefinition(name="order", version=1, triggers=(trigger,), steps=())]))
    for number in range(WAITING + 1):
        shard.apply_to_limit(KEY, RequestSlot(saga_id=f"saga-{number}", run=1, name="order"), NOW)
    return shard


def test_however_many_wait_for_a_rate_one_timer_lets_the_next_one_in() -> None:
    shard = rated()
    now, woken, granted = NOW, 0, []
    while (due := shard.timers.next_due()) is not None:
        now = max(now, due)
        popped = shard.timers.pop_due(now)
        assert popped == (KEY, RateDue(KEY))
        woken += 1
        applied = shard.apply_to_limit(KEY, None, now)
        granted += [(event.saga_id, now) for event in applied.events if isinstance(event, SlotGranted)]
        for saga_id, _ in granted[-1:]:
            shard.apply_to_limit(KEY, ReleaseSlot(saga_id=saga_id, run=1), now)
    assert granted == [(f"saga-{n}", NOW + timedelta(seconds=n)) for n in range(1, WAITING + 1)]
    assert woken == WAITING


def test_a_limit_is_forgotten_only_when_nobody_needs_it_and_its_whole_burst_is_there_again() -> None:
    shard = rated()
    assert shard.forget_limits(NOW + timedelta(days=1)) == []
    for number in range(WAITING + 1):
        shard.apply_to_limit(KEY, ReleaseSlot(saga_id=f"saga-{number}", run=1), NOW)
    assert shard.forget_limits(NOW) == []
    assert shard.forget_limits(NOW + timedelta(seconds=1)) == [KEY]
    assert shard.limits == {}
