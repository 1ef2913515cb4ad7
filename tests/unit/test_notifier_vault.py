"""Secrets at rest, and how they follow each other."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from sagahook_notifier.adapters.vault import Unreadable, Vault
from sagahook_notifier.domain.credentials import MOST_SECRETS, Credentials, Secret, TooManySecrets

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HELD = Credentials((Secret(SecretStr("whsec_first"), NOON),), {"X-Key": SecretStr("hunter2")})


def values(credentials: Credentials, at: datetime) -> list[str]:
    return [secret.get_secret_value() for secret in credentials.secrets_at(at)]


def test_what_is_sealed_opens_and_shows_nothing() -> None:
    vault = Vault(["a key of some length"])

    sealed = vault.seal("crm", HELD)

    assert vault.open("crm", sealed) == HELD
    assert b"whsec_first" not in sealed
    assert b"hunter2" not in sealed
    assert vault.seal("crm", HELD) != sealed


def test_a_second_key_takes_over_from_the_first() -> None:
    old = Vault(["the old key"]).seal("crm", HELD)

    both = Vault(["the new key", "the old key"])

    assert both.open("crm", old) == HELD
    assert Vault(["the new key"]).open("crm", both.seal("crm", HELD)) == HELD


@pytest.mark.parametrize(
    ("keys", "endpoint", "changed", "said"),
    [
        (["another key"], "crm", b"", "encrypted by a key that is not configured"),
        (["the key"], "billing", b"", "damaged, or not its own"),
        (["the key"], "crm", b"!", "damaged, or not its own"),
    ],
)
def test_what_does_not_open_says_why(keys: list[str], endpoint: str, changed: bytes, said: str) -> None:
    sealed = Vault(["the key"]).seal("crm", HELD)

    with pytest.raises(Unreadable, match=said):
        Vault(keys).open(endpoint, sealed + changed)


def test_a_rotated_secret_signs_beside_the_new_one_until_its_time_is_over() -> None:
    rotated = HELD.rotated(SecretStr("whsec_second"), NOON, NOON + HOUR)

    assert values(rotated, NOON) == ["whsec_second", "whsec_first"]
    assert values(rotated, NOON + HOUR) == ["whsec_second"]
    assert rotated.headers == HELD.headers


def test_without_an_overlap_the_old_secrets_end_at_once() -> None:
    twice = HELD.rotated(SecretStr("whsec_second"), NOON, NOON + HOUR)

    rotated = twice.rotated(SecretStr("whsec_third"), NOON, NOON)

    assert [secret.value.get_secret_value() for secret in rotated.secrets] == ["whsec_third"]


def test_a_further_rotation_prolongs_no_secret() -> None:
    once = HELD.rotated(SecretStr("whsec_second"), NOON, NOON + HOUR)

    twice = once.rotated(SecretStr("whsec_third"), NOON, NOON + 2 * HOUR)

    assert values(twice, NOON + HOUR) == ["whsec_third", "whsec_second"]
    assert values(twice, NOON + 2 * HOUR) == ["whsec_third"]


def test_a_secret_that_is_given_again_is_the_newest_once() -> None:
    rotated = HELD.rotated(SecretStr("whsec_first"), NOON, NOON + HOUR)

    assert values(rotated, NOON) == ["whsec_first"]


def test_no_more_secrets_sign_than_a_header_should_hold() -> None:
    held = HELD
    for number in range(MOST_SECRETS - 1):
        held = held.rotated(SecretStr(f"whsec_{number}"), NOON, NOON + HOUR)

    with pytest.raises(TooManySecrets, match="wait until one expires, or rotate with overlap 0"):
        held.rotated(SecretStr("whsec_last"), NOON, NOON + HOUR)
    assert len(held.rotated(SecretStr("whsec_last"), NOON + HOUR, NOON + 2 * HOUR).secrets) == 2


def test_nothing_of_it_is_shown_by_accident() -> None:
    assert "hunter2" not in repr(HELD)
    assert "whsec_first" not in repr(HELD)
