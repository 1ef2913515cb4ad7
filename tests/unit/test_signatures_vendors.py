"""Messages that the vendors' own libraries sign pass here, and what we sign passes there."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
import shopify_app
import standardwebhooks
import stripe
import svix.webhooks
from slack_sdk.signature import SignatureVerifier

from sagahook.runtime.sources import SchemeName
from sagahook_ingest.domain.signatures import Unsigned
from tests.unit.vectors.signatures import SECRETS, a_scheme, as_received

BODIES = [
    b"{}",
    json.dumps({"id": "evt_1", "object": "event", "type": "paid"}).encode(),
    json.dumps({"text": "grüße \u2028 🎉", "n": 1.5}, ensure_ascii=False, indent=2).encode(),
    b'{"padding": "' + b"x" * 100_000 + b'"}',
]
every_body = pytest.mark.parametrize("body", BODIES, ids=["empty", "small", "not ASCII", "large"])

Headers = dict[str, str]


class Vendor(NamedTuple):
    """signs None: the vendor's library can only verify."""

    scheme: SchemeName
    signs: Callable[[str, bytes, datetime], Headers] | None
    verifies: Callable[[str, bytes, Headers], bool]


def standard_signs(secret: str, body: bytes, at: datetime) -> Headers:
    signature = standardwebhooks.Webhook(secret).sign("msg_1", at, body.decode())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


def standard_verifies(secret: str, body: bytes, headers: Headers) -> bool:
    try:
        standardwebhooks.Webhook(secret).verify(body, headers)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def svix_signs(secret: str, body: bytes, at: datetime) -> Headers:
    signature = svix.webhooks.Webhook(secret).sign("msg_1", at, body.decode())
    return {"svix-id": "msg_1", "svix-timestamp": str(int(at.timestamp())), "svix-signature": signature}


def svix_verifies(secret: str, body: bytes, headers: Headers) -> bool:
    try:
        svix.webhooks.Webhook(secret).verify(body, headers)
    except svix.webhooks.WebhookVerificationError:
        return False
    return True


def stripe_signs(secret: str, body: bytes, at: datetime) -> Headers:
    timestamp = int(at.timestamp())
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp)
    return {"Stripe-Signature": header}


def stripe_verifies(secret: str, body: bytes, headers: Headers) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body.decode(), headers["Stripe-Signature"], secret, 300)
    except stripe.SignatureVerificationError:
        return False
    return True


def slack_signs(secret: str, body: bytes, at: datetime) -> Headers:
    timestamp = str(int(at.timestamp()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=timestamp, body=body)
    assert signature is not None
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}


def slack_verifies(secret: str, body: bytes, headers: Headers) -> bool:
    return SignatureVerifier(secret).is_valid_request(body, headers)


def shopify_verifies(secret: str, body: bytes, headers: Headers) -> bool:
    app = shopify_app.ShopifyApp(client_id="app", client_secret=secret)
    return app.verify_webhook_req(
        {"method": "POST", "url": "https://example.com/", "headers": headers, "body": body.decode()}
    ).ok


VENDORS = {
    "standardwebhooks": Vendor("standard", standard_signs, standard_verifies),
    "svix": Vendor("standard", svix_signs, svix_verifies),
    "stripe": Vendor("stripe", stripe_signs, stripe_verifies),
    "slack_sdk": Vendor("slack", slack_signs, slack_verifies),
    "shopify_app": Vendor("shopify", None, shopify_verifies),
}
every_vendor = pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS.keys())
every_signing_vendor = pytest.mark.parametrize(
    "vendor",
    [vendor for vendor in VENDORS.values() if vendor.signs],
    ids=[name for name, vendor in VENDORS.items() if vendor.signs],
)


@every_signing_vendor
@every_body
def test_what_the_vendor_signs_passes_here_and_nothing_else_of_it(vendor: Vendor, body: bytes) -> None:
    assert vendor.signs is not None
    now = datetime.now(UTC)
    secret, other = SECRETS[vendor.scheme]
    headers = as_received(vendor.signs(secret, body, now))
    a_scheme(vendor.scheme, secret).verify(headers, body, now)
    a_scheme(vendor.scheme, other, secret).verify(headers, body, now)
    for scheme, sent in [
        (a_scheme(vendor.scheme, secret), body + b" "),
        (a_scheme(vendor.scheme, other), body),
    ]:
        with pytest.raises(Unsigned):
            scheme.verify(headers, sent, now)


@every_vendor
@every_body
def test_what_we_sign_passes_there_and_nothing_else_of_it(vendor: Vendor, body: bytes) -> None:
    secret, other = SECRETS[vendor.scheme]
    headers = a_scheme(vendor.scheme, secret).sign(body, datetime.now(UTC), "msg_1")
    assert vendor.verifies(secret, body, headers)
    assert not vendor.verifies(secret, body + b" ", headers)
    assert not vendor.verifies(other, body, headers)


@pytest.mark.parametrize("unusable", ["two words", "line\nbreak", "grüße", "x" * 256, "a.1614265330"])
def test_an_id_that_would_not_be_one_further_on_is_refused_though_it_is_signed(unusable: str) -> None:
    secret, now = SECRETS["standard"][0], datetime.now(UTC)
    signature = standardwebhooks.Webhook(secret).sign(unusable, now, "{}")
    headers = {
        "webhook-id": unusable,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    with pytest.raises(Unsigned, match="webhook-id must be"):
        a_scheme("standard", secret).verify(as_received(headers), b"{}", now)


@pytest.mark.parametrize("header", ["webhook-signature", "svix-signature"])
def test_a_list_of_signatures_means_the_same_there(header: str) -> None:
    secret, other = SECRETS["standard"]
    now = datetime.now(UTC)
    ours, theirs = standard_signs(secret, b"{}", now), standard_signs(other, b"{}", now)
    both = f"{theirs['webhook-signature']} {ours['webhook-signature']}"
    headers = {
        name.replace("webhook-", header.partition("signature")[0]): value
        for name, value in {**ours, "webhook-signature": both}.items()
    }
    a_scheme("standard", secret).verify(as_received(headers), b"{}", now)
    assert svix_verifies(secret, b"{}", headers)
