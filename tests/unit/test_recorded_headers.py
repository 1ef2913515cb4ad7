"""What of a request's headers gets into the log, and what must not."""

from datetime import UTC, datetime

import pytest

from sagahook.runtime.sources import Source
from sagahook_ingest.domain.recorded import MOST_BYTES, MOST_HEADERS, Recorder
from sagahook_ingest.domain.sources import known_source
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.webhooks import HTTP_HEADERS, received_headers, request_headers

SECRET = "do-not-keep-4f1c"


def kept(*headers: tuple[str, str], source: Source | None = None) -> dict[str, str] | None:
    recorder = known_source("shop", source or Source()).recorder
    written = recorder.record([(name.encode(), value.encode("latin-1")) for name, value in headers])
    return request_headers([(HTTP_HEADERS, written)])


def test_harmless_headers_are_kept_as_they_were_sent() -> None:
    sent = {
        "user-agent": "GitHub-Hookshot/044aadd (a comment that is longer than most)",
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-order-region": "eu",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }

    assert kept(*sent.items()) == sent


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-hub-signature-256",
        "stripe-signature",
        "x-shopify-hmac-sha256",
        "x-gitlab-token",
        "x-api-key",
        "paypal-transmission-sig",
        "idempotency-key",
        "x-notify-url",
        "referer",
        "x-forwarded-client-cert",
        "x-amzn-oidc-data",
    ],
)
def test_of_a_header_that_sounds_like_a_credential_only_the_name_is_kept(name: str) -> None:
    assert kept((name, SECRET)) == {name: "***"}


@pytest.mark.parametrize(
    "value",
    [
        "Bearer abc.def",
        "Basic dXNlcjpwYXNz",
        "eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "https://ada:pw@shop.example/",
        "/hook?access_token=abc",
    ],
)
def test_a_value_that_looks_like_a_credential_is_not_kept_under_any_unknown_name(value: str) -> None:
    assert kept(("x-trello-webhook", value)) == {"x-trello-webhook": "***"}


def test_what_a_source_signs_with_or_has_as_its_key_is_not_kept_whatever_it_is_called() -> None:
    source = Source.model_validate(
        {"scheme": "hmac", "secrets": ["s3cret"], "header": "X-Stamp", "idempotency_key": "header:X-Order"}
    )

    assert kept(("x-stamp", "abc"), ("x-order", "7"), source=source) == {"x-stamp": "***", "x-order": "***"}


def test_the_timestamp_and_the_id_beside_a_signature_are_kept() -> None:
    source = Source.model_validate(
        {"scheme": "standard", "secrets": ["whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"]}
    )

    assert kept(("webhook-id", "msg_1"), ("webhook-signature", "v1,abc"), source=source) == {
        "webhook-id": "msg_1",
        "webhook-signature": "***",
    }


def test_a_header_that_was_sent_twice_is_one_with_both_values() -> None:
    assert kept(("accept", "a/b"), ("accept", "c/d")) == {"accept": "a/b, c/d"}


def test_a_value_that_is_no_utf8_is_kept_and_read() -> None:
    assert kept(("x-name", "Zoë")) == {"x-name": "Zoë"}


def test_their_number_and_size_are_bounded() -> None:
    many = Recorder().record([(b"x-%d" % number, b"1") for number in range(MOST_HEADERS + 10)])
    large = Recorder().record([(b"via", b"v" * 1_000)] * 20)
    long = Recorder().record([(b"via", b"v" * 1_025)])

    assert len(request_headers([(HTTP_HEADERS, many)]) or ()) == MOST_HEADERS
    assert MOST_BYTES - 1_100 < len(large) <= MOST_BYTES
    assert long == b"via\n***"


def test_names_that_senders_make_up_do_not_fill_the_memory() -> None:
    recorder = Recorder(limit=10)
    for number in range(100):
        recorder.record([(b"x-%d" % number, b"1")])

    assert len(recorder._allowed) <= 10
    assert recorder.record([(b"authorization", b"x")]) == b"authorization\n***"


def test_readers_of_the_envelope_do_not_see_them() -> None:
    headers = received_headers(
        event_id="e-1",
        source="shop",
        event_type="",
        time=datetime(2026, 1, 5, tzinfo=UTC),
        correlation_id="c-1",
        content_type="application/json",
        traceparent="",
        extensions=(),
        http_headers=b"x-name\n\xff",
    )

    assert Envelope.from_headers(headers).extension(HTTP_HEADERS) == ""
    assert request_headers(headers) == {"x-name": "ÿ"}
    assert request_headers(headers[:-1]) is None
