"""What ingest takes from `saga.definitions`, and what it passes over."""

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from sagahook_ingest.adapters.views import apply_to_sources
from sagahook_ingest.domain.sources import KnownSources
from sagahook_schemas.base import Contract
from sagahook_schemas.commands import CancelSaga
from sagahook_schemas.definitions import ControlSet, SagaDefinition, TriggerDefinition
from sagahook_schemas.envelope import Envelope, Header

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Record:
    """As the tail gives it."""

    headers: list[Header]
    value: bytes | None
    key: bytes = b"key"
    offset: int = 7


def record(data: Contract) -> Record:
    envelope = Envelope(id="1", source="/test", type=data.ce_type, time=NOON)
    return Record(envelope.to_headers(), data.to_json())


def test_a_definition_makes_its_sources_known_and_a_pause_of_one_changes_nothing() -> None:
    sources = KnownSources({})
    apply = apply_to_sources(sources)
    with structlog.testing.capture_logs() as told:
        wants = TriggerDefinition(source="shop")
        apply(0, record(SagaDefinition(name="order", version=1, triggers=(wants,), steps=())))
        apply(0, record(ControlSet(kind="source", name="shop", paused=True, actor="ada", at=NOON)))
        apply(0, Record([], None, key=b"control/source/shop"))
    assert sources.get("shop") is not None
    assert [each["event"] for each in told] == ["sources.deployed"]


def test_what_does_not_belong_there_is_told_and_passed_over() -> None:
    apply = apply_to_sources(KnownSources({}))
    with structlog.testing.capture_logs() as told:
        apply(0, record(CancelSaga(actor="ada")))
    assert [(each["event"], each["offset"]) for each in told] == [("view.skipped", 7)]
