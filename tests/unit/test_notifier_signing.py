"""Signatures, against the official library of Standard Webhooks."""

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from sagahook_ingest.domain.signatures import Options, scheme_of
from sagahook_notifier.domain.signing import (
    InvalidSecret,
    check_secret,
    new_secret,
    public_key,
    signature_headers,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the specification's own example
BODY = '{"type":"task_completed","name":"Grüße"}'.encode()


def test_the_official_library_verifies_what_we_sign() -> None:
    headers = signature_headers([SECRET], "delivery-1", datetime.now(UTC), BODY)

    assert Webhook(SECRET).verify(BODY, headers) == {"type": "task_completed", "name": "Grüße"}


def test_the_official_library_refuses_another_body() -> None:
    headers = signature_headers([SECRET], "delivery-1", datetime.now(UTC), BODY)

    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)


def test_the_specifications_example_has_its_signature() -> None:
    at = datetime.fromtimestamp(1_614_265_330, UTC)

    headers = signature_headers([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begins with whsec_"),
        ("whsec_not base64!", "is base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), "holds 24 to 64 bytes"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "holds 24 to 64 bytes"),
        ("whsk_" + base64.b64encode(b"x" * 31).decode(), "holds 32 or 64 bytes"),
        ("whsk_é", "is base64"),
    ],
)
def test_a_bad_secret_is_refused_without_being_repeated(secret: str, complaint: str) -> None:
    with pytest.raises(InvalidSecret, match=complaint) as refused:
        check_secret(secret)

    assert secret.removeprefix("whsec_").removeprefix("whsk_") not in str(refused.value)


def test_while_secrets_rotate_a_receiver_verifies_by_any_of_them() -> None:
    further = new_secret("v1", b"y" * 32)

    headers = signature_headers([further, SECRET], "delivery-1", datetime.now(UTC), BODY)

    for secret in (SECRET, further):
        assert Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret("v1", b"z" * 32)).verify(BODY, headers)


def test_v1a_verifies_by_the_public_key_alone() -> None:
    secret, now = new_secret("v1a", b"y" * 32), datetime.now(UTC)
    shown = public_key(secret)
    assert shown is not None

    headers = signature_headers([secret], "delivery-1", now, BODY)

    kind, _, signature = headers["webhook-signature"].partition(",")
    assert kind == "v1a"
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(shown.removeprefix("whpk_")))
    key.verify(
        base64.b64decode(signature), b".".join([b"delivery-1", headers["webhook-timestamp"].encode(), BODY])
    )


def test_our_own_ingest_takes_what_is_signed_either_way() -> None:
    secret, now = new_secret("v1a", b"y" * 32), datetime.now(UTC)
    headers = signature_headers([secret, SECRET], "delivery-1", now, BODY)
    sent = {name.encode(): value.encode() for name, value in headers.items()}

    for receiver in (public_key(secret), SECRET):
        scheme_of("standard", [str(receiver)], Options()).verify(sent, BODY, now)


def test_a_secret_that_both_sides_share_has_no_public_key() -> None:
    assert public_key(SECRET) is None
    assert public_key("whsk_" + base64.b64encode(b"y" * 64).decode()) == public_key(
        new_secret("v1a", b"y" * 32)
    )
