"""The records that travel: every example ever published is read, and what is written is read back the same."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagahook_schemas.base import Contract
from sagahook_schemas.codec import CONTRACTS, Undecodable, decode, decode_data
from sagahook_schemas.envelope import Envelope, Header, InvalidEnvelope
from sagahook_schemas.jsonschema import ENVELOPE, json_schemas
from sagahook_schemas.steps import StepCompleted
from sagahook_schemas.webhooks import RECEIVED, received_envelope, received_headers

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"
PATHS = {str(path.relative_to(EXAMPLES)): path for path in sorted(EXAMPLES.glob("*/*/*.json"))}
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
COMPLETED = StepCompleted.ce_type


def envelope(**given: Any) -> Envelope:
    small: dict[str, Any] = {"id": "1", "source": "/test", "type": COMPLETED, "time": NOON}
    return Envelope(**(small | given))


def within(part: Any, whole: Any) -> bool:
    """Everything that `part` says, `whole` says too."""
    if isinstance(part, dict):
        return all(name in whole and within(value, whole[name]) for name, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(within, part, whole))
    return bool(part == whole)


# --- contracts


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_an_example_survives_reading_and_writing_whole(path: Path) -> None:
    ce_type = f"{path.parts[-3]}.{path.parts[-2]}"
    headers = envelope(type=ce_type).to_headers()

    _, data = decode(headers, path.read_bytes())
    _, again = decode(headers, data.to_json())

    assert again == data
    assert within(json.loads(path.read_bytes()), json.loads(data.to_json()))


def test_every_type_says_whose_it_is_and_its_version() -> None:
    assert [
        name for name in CONTRACTS if not re.fullmatch(r"sagahook\.[a-z]+\.[a-z_]+\.v[1-9]\d*", name)
    ] == []


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS.keys())
def test_a_reader_ignores_fields_that_it_does_not_know_yet(contract: type[Contract]) -> None:
    example = next(path for path in PATHS.values() if path.parts[-3] == contract.ce_type.rpartition(".")[0])
    known = json.loads(example.read_bytes())

    data = decode_data(contract.ce_type, json.dumps(known | {"from_the_future": {"a": 1}}).encode())

    assert data == decode_data(contract.ce_type, example.read_bytes())


def test_a_null_inside_a_result_is_kept() -> None:
    completed = StepCompleted(
        step="charge", phase="action", attempt=1, result={"receipt": None, "tries": [None]}
    )

    assert decode_data(COMPLETED, completed.to_json()) == completed


def test_a_second_claim_to_a_type_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match=re.escape(COMPLETED)):
        type("Again", (Contract,), {"ce_type": COMPLETED, "__module__": __name__})


@pytest.mark.parametrize(
    ("ce_type", "value", "said"),
    [
        ("sagahook.step.vanished.v1", b"{}", "no contract is known for the type 'sagahook.step.vanished.v1'"),
        (RECEIVED, b"{}", "no contract is known"),
        (COMPLETED, None, "has no value"),
        (COMPLETED, b"", "does not fit: the value: Invalid JSON"),
        (COMPLETED, b"[]", "does not fit: the value"),
        (COMPLETED, b'{"step": "charge", "phase": "action"}', "does not fit: attempt: Field required"),
        (COMPLETED, b'{"step": "charge", "phase": "undo", "attempt": 1}', "does not fit: phase"),
        (COMPLETED, b'{"step": "\xff", "phase": "action", "attempt": 1}', "does not fit"),
        (COMPLETED, b"[" * 100_000, "does not fit"),
    ],
)
def test_a_record_that_no_contract_fits_is_undecodable_and_says_why(
    ce_type: str, value: bytes | None, said: str
) -> None:
    with pytest.raises(Undecodable, match=re.escape(said)):
        decode_data(ce_type, value)


def test_a_misfit_is_told_without_the_data_in_it() -> None:
    with pytest.raises(Undecodable) as refused:
        decode_data(COMPLETED, b'{"step": "charge", "phase": "sk_live_secret", "attempt": 1}')

    assert "sk_live_secret" not in str(refused.value)


# --- envelope

HEADERS = json_schemas()[ENVELOPE]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMED = TEXT.filter(bool)
COUNTS = st.integers(0, 2**40)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# Envelopes hold milliseconds.
TIMES = st.datetimes(datetime(2000, 1, 2), datetime(2999, 12, 30), timezones=ZONES).map(
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
# No attribute of CloudEvents or ours has a name of these letters.
EXTENSIONS = st.dictionaries(st.text("xyz", min_size=1, max_size=5), TEXT, max_size=3)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    saga_id = draw(TEXT)
    return Envelope(
        id=draw(NAMED),
        source=draw(NAMED),
        type=draw(NAMED),
        time=draw(TIMES),
        subject=draw(TEXT),
        correlation_id=draw(TEXT),
        causation_id=draw(TEXT),
        saga_id=saga_id,
        run=draw(COUNTS) if saga_id else 0,
        sequence=draw(COUNTS),
        epoch=draw(COUNTS),
        traceparent=draw(TEXT),
        content_type=draw(NAMED),
        extensions=tuple(draw(EXTENSIONS).items()),
    )


@given(envelopes())
def test_an_envelope_is_read_from_its_headers_as_it_was_written(written: Envelope) -> None:
    assert Envelope.from_headers(written.to_headers()) == written


@given(envelopes())
def test_the_headers_are_those_that_the_envelopes_schema_describes(written: Envelope) -> None:
    headers = {name: value.decode() for name, value in written.to_headers()}

    assert set(HEADERS["required"]) <= headers.keys()
    for name, value in headers.items():
        described = HEADERS["properties"].get(name)
        if described is None:
            assert any(re.search(pattern, name) for pattern in HEADERS["patternProperties"])
        else:
            assert re.search(described.get("pattern", ""), value)
            assert value == described.get("const", value)


def test_headers_of_others_are_passed_over_and_foreign_attributes_are_extensions() -> None:
    headers = [*envelope().to_headers(), ("x-trace", b"1"), ("ce_partitionkey", b"p")]

    assert Envelope.from_headers(headers) == envelope(extensions=(("partitionkey", "p"),))


@pytest.mark.parametrize("required", ["ce_id", "ce_source", "ce_type", "ce_time"])
def test_headers_without_a_required_attribute_are_no_envelope(required: str) -> None:
    headers = [header for header in envelope().to_headers() if header[0] != required]

    with pytest.raises(InvalidEnvelope, match=f"the header {required} is missing"):
        Envelope.from_headers(headers)


@pytest.mark.parametrize(
    "malformed",
    [
        ("ce_time", b"yesterday"),
        ("ce_time", b"2026-01-05T12:00:00"),
        ("ce_sequence", b"first"),
        ("ce_subject", b"\xff"),
        ("ce_subject", None),
    ],
)
def test_a_malformed_header_is_no_envelope(malformed: Header) -> None:
    with pytest.raises(InvalidEnvelope, match="malformed"):
        Envelope.from_headers([*envelope().to_headers(), malformed])


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"event_type": "paid", "traceparent": "00-1-2-03", "content_type": "text/json"},
        {"extensions": {"idempotencykeyhash": "ab12", "bodyhash": "cd34", "deliveryid": "größe"}},
        {"extensions": {"recordedonly": "ping", "cloudevent": "{}", "notifyurl": "http://a.example/"}},
    ],
)
def test_the_headers_of_a_webhook_are_those_of_its_envelope(told: dict[str, Any]) -> None:
    names = {
        "idempotencykeyhash": "idempotency_key_hash",
        "bodyhash": "body_hash",
        "deliveryid": "delivery_id",
        "recordedonly": "recorded_only",
        "cloudevent": "cloud_event",
        "notifyurl": "notify_url",
    }
    common: dict[str, Any] = {
        "event_id": "e-1",
        "source": "stripe",
        "event_type": "",
        "time": NOON,
        "correlation_id": "c-1",
        "content_type": "application/json",
        "traceparent": "",
    } | {name: value for name, value in told.items() if name != "extensions"}
    extensions: dict[str, str] = told.get("extensions", {})
    renamed: dict[str, Any] = {names[name]: value for name, value in extensions.items()}
    envelope = received_envelope(**common, **renamed)
    assert received_headers(**common, extensions=extensions.items()) == envelope.to_headers()


def test_a_webhooks_envelope_names_its_source_twice_and_holds_no_key() -> None:
    received = received_envelope(
        event_id="e-1",
        source="stripe",
        event_type="charge.succeeded",
        time=NOON,
        correlation_id="c-1",
        content_type="application/json",
        idempotency_key_hash="ab12",
        body_hash="cd34",
        delivery_id="evt_1",
        recorded_only="ping is recorded only",
        cloud_event='{"id":"1"}',
    )

    assert dict(received.to_headers()) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"/webhooks/stripe",
        "ce_type": b"sagahook.webhook.received.v1",
        "ce_time": b"2026-01-05T12:00:00.000Z",
        "content-type": b"application/json",
        "ce_subject": b"charge.succeeded",
        "ce_correlationid": b"c-1",
        "ce_webhooksource": b"stripe",
        "ce_idempotencykeyhash": b"ab12",
        "ce_bodyhash": b"cd34",
        "ce_deliveryid": b"evt_1",
        "ce_recordedonly": b"ping is recorded only",
        "ce_cloudevent": b'{"id":"1"}',
    }
