"""Who may call what."""

from hashlib import sha256

import pytest

from sagahook.runtime.keys import KeyHashes, Role, may

HASHES: KeyHashes = {
    role: sha256(f"{role}-key".encode()).hexdigest() for role in ("reader", "operator", "admin")
}


@pytest.mark.parametrize(
    ("key", "role", "allowed"),
    [
        ("reader-key", "reader", True),
        ("reader-key", "operator", False),
        ("reader-key", "admin", False),
        ("operator-key", "reader", True),
        ("operator-key", "operator", True),
        ("operator-key", "admin", False),
        ("admin-key", "reader", True),
        ("admin-key", "admin", True),
        ("unknown", "reader", False),
        ("", "reader", False),
        (HASHES["admin"], "admin", False),
    ],
)
def test_a_key_opens_its_own_role_and_those_below(key: str, role: Role, allowed: bool) -> None:
    assert may(HASHES, key, role) is allowed


def test_without_keys_nobody_may() -> None:
    assert not may({}, "", "reader")
