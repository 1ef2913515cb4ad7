"""What people are shown of bodies and contexts."""

import pytest

from sagahook_schemas.base import JsonValue
from sagahook_tracker.domain.redaction import is_secret, redacted, redacted_text


@pytest.mark.parametrize(
    "name",
    ["password", "clientSecret", "api_key", "X-Hub-Signature-256", "accessToken", "card_number", "APIKey"],
)
def test_a_name_that_says_secret_is_one(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["total_tokens", "idempotency_key", "keyboard", "secretary", "order_id", "key"]
)
def test_a_name_that_only_sounds_like_one_is_none(name: str) -> None:
    assert not is_secret(name)


def test_secrets_are_left_out_at_any_depth_and_all_else_stays() -> None:
    body: JsonValue = {
        "user": {"password": "hunter2", "name": "Ada"},
        "items": [{"token": ["x"]}, 1],
        "secret": None,
    }
    assert redacted(body) == {
        "user": {"password": "***", "name": "Ada"},
        "items": [{"token": "***"}, 1],
        "secret": None,
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("401 for Bearer abcdef123456", "401 for Bearer ***"),
        ("postgresql://me:hunter2@db/x", "postgresql://***@db/x"),
        ("GET https://x.test/a?id=1&access_token=abc&b=2", "GET https://x.test/a?id=1&access_token=***&b=2"),
        ("used ghp_0123456789abcdef", "used ***"),
        ("Declined: amount=42 is too much", "Declined: amount=42 is too much"),
    ],
)
def test_secrets_in_a_text_are_known_by_their_look(text: str, shown: str) -> None:
    assert redacted_text(text) == shown
