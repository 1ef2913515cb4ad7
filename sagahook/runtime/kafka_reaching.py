"""Why Kafka cannot be reached: its client says only that it cannot."""

from __future__ import annotations

import asyncio
import ssl

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

from sagahook.saga.brokers import Brokers, KafkaSecurity, client_options

_TRY_MS = 3_000


async def answers(client: AIOKafkaClient, seconds: float = 1.0) -> bool:
    """Whether the cluster answers a client now. aiokafka reconnects by itself, and tells nobody that it must."""
    try:
        return bool(await asyncio.wait_for(client.force_metadata_update(), seconds))
    except (TimeoutError, KafkaError, OSError):
        return False


async def why_away(bootstrap: str, error: BaseException) -> str:
    """What to tell people of a client that failed so: what happened and, where there is something to do, what.

    It tries for itself, 3 s for each server at most. It never tells a password.
    """
    options = client_options(bootstrap)
    security = bootstrap.security if isinstance(bootstrap, Brokers) else KafkaSecurity()
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers"), randomize=False):
        try:
            connection = await create_conn(host, port, request_timeout_ms=_TRY_MS, **options)
        except (KafkaError, OSError, ValueError) as reason:
            return f"Kafka at {host}:{port} {_said(reason, security)}"
        connection.close()
        if security.has_password and security.mechanism == "OAUTHBEARER":
            # aiokafka does not look at what the brokers answer to a token, and they answer nothing any more.
            return f"Kafka at {host}:{port} {_said(SaslAuthenticationFailed(), security)}"
    return str(error) or repr(error)


def _said(reason: Exception, security: KafkaSecurity) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"is not who it should be ({reason.verify_message or reason}): name the authority that vouches for it in "
            "SAGAHOOK_KAFKA_CA_FILE, and the brokers as their certificates do in SAGAHOOK_KAFKA"
        )
    if isinstance(reason, ssl.SSLError):
        return (
            f"makes no TLS connection ({reason.reason or reason}): is SAGAHOOK_KAFKA_SECURITY={security.protocol} "
            f"right for this port?{_certificate(security)}"
        )
    if isinstance(reason, SaslAuthenticationFailed):
        who = "the token" if security.mechanism == "OAUTHBEARER" else f"{security.user!r} with this password"
        return (
            f"does not let {who} in by {security.mechanism}: correct SAGAHOOK_KAFKA_USER, SAGAHOOK_KAFKA_PASSWORD "
            "or SAGAHOOK_KAFKA_SASL_MECHANISM"
        )
    if isinstance(reason, UnsupportedSaslMechanismError):
        return f"knows no {security.mechanism}: set SAGAHOOK_KAFKA_SASL_MECHANISM to one that it has"
    if isinstance(reason, KafkaError | ConnectionResetError | TimeoutError):
        return (
            f"was reached, but ended the connection or said nothing: is SAGAHOOK_KAFKA_SECURITY={security.protocol} "
            f"right for this port?{_certificate(security)}"
        )
    return f"cannot be reached ({reason}): is SAGAHOOK_KAFKA right, and does it run?"


def _certificate(security: KafkaSecurity) -> str:
    if security.is_encrypted and security.cert_file is None:
        return " Where it asks for a certificate: SAGAHOOK_KAFKA_CERT_FILE and SAGAHOOK_KAFKA_KEY_FILE"
    return ""
