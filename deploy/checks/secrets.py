"""Which Secrets there will be, and with which keys, though no manifest may hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from deploy.checks.manifests import Manifests

BY_HAND: Mapping[str, frozenset[str]] = {
    name: frozenset(keys)
    for name, keys in {
        "sagahook-database": {"url"},
        "sagahook-kafka": {"user", "password"},
        "sagahook-api-keys": {"keys"},
        "sagahook-secret-key": {"secret-key"},
        "sagahook-github": {"webhook-secret"},
        "sagahook-source-secrets": set[str](),
        "sagahook-backups": {"access-key-id", "secret-access-key"},
    }.items()
}
"""Those that people or their secret store make (docs/operating/kubernetes.md). Of sagahook-source-secrets any key will
do: it is mounted whole."""


def keys_of(manifests: Manifests, name: str) -> frozenset[str] | None:
    """None: nobody makes it."""
    if written := manifests.find("Secret", name):
        return frozenset({*written.get("data", {}), *written.get("stringData", {})})
    return _made_by_operators(manifests).get(name, BY_HAND.get(name))


def _made_by_operators(manifests: Manifests) -> dict[str, frozenset[str]]:
    """What Strimzi, CloudNativePG and cert-manager document."""
    made: dict[str, frozenset[str]] = {}
    for user in manifests.kind("KafkaUser"):
        made[user["metadata"]["name"]] = frozenset(
            {"ca.crt", "user.crt", "user.key", "user.p12", "user.password"}
        )
    for kafka in manifests.kind("Kafka"):
        made[f"{kafka['metadata']['name']}-cluster-ca-cert"] = frozenset({"ca.crt", "ca.p12", "ca.password"})
    for cluster in manifests.kind("Cluster"):
        name = cluster["metadata"]["name"]
        made[f"{name}-app"] = frozenset({"uri", "username", "password", "host", "port", "dbname"})
        made[f"{name}-ca"] = frozenset({"ca.crt", "ca.key"})
    for certificate in manifests.kind("Certificate"):
        made[certificate["spec"]["secretName"]] = frozenset({"tls.crt", "tls.key", "ca.crt"})
    return made


UNKNOWN = "example"
"""A secret of which nothing is known but that it is there."""


@cache
def sample(key: str) -> str:
    """What a secret with such a key looks like, so that settings can be read."""
    certificate, private = _certificate() if key.endswith((".crt", ".key")) else ("", "")
    return {
        "url": "postgresql://sagahook:example@database/sagahook",
        "keys": json.dumps({"reader": "0" * 64}),
        "secret-key": "x" * 32,
        "ca.crt": certificate,
        "user.crt": certificate,
        "user.key": private,
    }.get(key, UNKNOWN)


@cache
def _certificate() -> tuple[str, str]:
    """One that signs itself, and its key: PEM. Nobody is to trust it."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM).decode(), private.decode()
