"""Signatures, against the official library of Standard Webhooks."""

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from sagahook_notifier.domain.signing import InvalidSecret, signature_headers, signing_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the specification's own example
BODY = '{"type":"task_completed","name":"Grüße"}'.encode()


def test_the_official_library_verifies_what_we_sign() -> None:
    headers = signature_headers(SECRET, "delivery-1", datetime.now(UTC), BODY)

    assert Webhook(SECRET).verify(BODY, headers) == {"type": "task_completed", "name": "Grüße"}


def test_the_official_library_refuses_another_body() -> None:
    headers = signature_headers(SECRET, "delivery-1", datetime.now(UTC), BODY)

    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)


def test_the_specifications_example_has_its_signature() -> None:
    at = datetime.fromtimestamp(1_614_265_330, UTC)

    headers = signature_headers(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begins with whsec_"),
        ("whsec_not base64!", "is base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), "holds 24 to 64 bytes"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "holds 24 to 64 bytes"),
    ],
)
def test_a_bad_secret_is_refused_without_being_repeated(secret: str, complaint: str) -> None:
    with pytest.raises(InvalidSecret, match=complaint) as refused:
        signing_key(secret)

    assert secret.removeprefix("whsec_") not in str(refused.value)
