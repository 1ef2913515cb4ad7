"""The records of the owners of a new generation's partitions: as if one had taken each of them over, and let go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from sagahook.cli.repartitioning.generation import Generation, Refused
from sagahook.cli.repartitioning.taken import settings_of
from sagahook.runtime.transactions import OutRecord
from sagahook_runner.adapters.attempt import AttemptKey
from sagahook_runner.adapters.owner_record import OwnerRecord
from sagahook_runner.adapters.records import EventRecords, Stamp
from sagahook_schemas.identity import partition_of
from sagahook_schemas.sagas import AttemptInFlight, OwnerAcquired, OwnerReleased

_INSTANCE = "sagahook topics repartition"


def check_owners(released: Mapping[int, OwnerReleased], owners: Mapping[int, OwnerRecord]) -> None:
    """Whether the snapshots of each partition tell all that its log does. Raises Refused."""
    for partition, event in released.items():
        owner = owners.get(partition)
        if owner is None or not (owner.is_readable and owner.released and owner.epoch == event.epoch):
            raise Refused(
                f"the snapshots of partition {partition} are not those that its owner left, or another version's: "
                "start a runner of this version, wait until it is ready, and stop it by SIGTERM; then say it again"
            )


def owners_records(
    new: Generation,
    released: Mapping[int, OwnerReleased],
    owners: Mapping[int, OwnerRecord],
    latest: int,
    ends: list[int],
) -> Iterator[OutRecord]:
    """For each partition. Their epoch is above every one that was copied, and what runs begin with above every run that
    was forgotten anywhere. latest: the newest time that was copied, epoch milliseconds. ends: of `saga.events`; the
    snapshots tell everything before."""
    epoch = 1 + max(event.epoch for event in released.values())
    first_run = max(owner.first_run for owner in owners.values())
    running = [each for event in released.values() for each in event.in_flight]
    stamp = Stamp(max(datetime.now(UTC), datetime.fromtimestamp(latest / 1000, UTC)), epoch)
    settings = settings_of(new.bootstrap, new.prefix)
    for number in range(new.partitions):
        in_flight = tuple(each for each in running if partition_of(each.saga_id, new.partitions) == number)
        left = OwnerRecord(epoch, _INSTANCE, True, _keys(in_flight), first_run, ends[number])
        records = EventRecords(settings, number, stamp)
        acquired = OwnerAcquired(
            partition=number, epoch=epoch, instance=_INSTANCE, first_run=first_run, in_flight=in_flight
        )
        yield records.owner(acquired, b"")[0]
        yield from records.owner(
            OwnerReleased(partition=number, epoch=epoch, in_flight=in_flight), left.to_json()
        )


def _keys(in_flight: tuple[AttemptInFlight, ...]) -> frozenset[AttemptKey]:
    return frozenset(AttemptKey.of(each.saga_id, each.run, each) for each in in_flight)
