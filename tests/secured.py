"""Kafka and PostgreSQL that let nobody in without TLS and a password or a certificate, for the tests.

Kafka is the real broker. The embedded PostgreSQL is built without TLS, so what a client meets in front of it is a
terminator of ours, as it would meet PgBouncer: TLS, certificates and names are real, and so is the database behind.
"""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.saga.brokers import Brokers, KafkaSecurity, Mechanism
from tests.certificates import Authority, Files, authority, certificate_files

USER, PASSWORD = "sagahook", "a-password-of-the-tests"

_SECURED, _MUTUAL = "SECURED", "MUTUAL"
_MECHANISMS = {
    "plain": f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
    "scram-sha-512": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "scram-sha-256": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    "oauthbearer": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    'unsecuredLoginStringClaim_sub="broker";',
}
_SSL_REQUEST = bytes((0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F))


@dataclass(frozen=True)
class SecuredKafka:
    """ca: a file with the authority that vouches for it. client: what it lets in by certificate."""

    kafka: EmbeddedKafka
    authority: Authority
    ca: Path
    client: Files

    @property
    def by_password(self) -> str:
        """The listener that asks for a password."""
        return self.kafka.listener(_SECURED)

    @property
    def by_certificate(self) -> str:
        return self.kafka.listener(_MUTUAL)

    def with_password(self, mechanism: Mechanism, password: str = PASSWORD) -> Brokers:
        security = KafkaSecurity("SASL_SSL", mechanism, user=USER, password=password, ca_file=self.ca)
        return Brokers(self.by_password, security)


@asynccontextmanager
async def secured_kafka(folder: Path) -> AsyncIterator[SecuredKafka]:
    """One broker with a listener for each way in, and one that is open."""
    _, ours = authority()
    ca = folder / "ca.crt"
    ca.write_bytes(ours.own())
    server, client = (certificate_files(ours, folder, name) for name in ("kafka", "sagahook"))
    prefix = f"listener.name.{_SECURED.lower()}"
    mechanisms = {f"{prefix}.{name}.sasl.jaas.config": line for name, line in _MECHANISMS.items()}
    kafka = EmbeddedKafka(
        folder / "kafka",
        await prepare_kafka(),
        heap_mb=320,
        listeners={_SECURED: "SASL_SSL", _MUTUAL: "SSL"},
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(server.both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(ca),
            f"listener.name.{_MUTUAL.lower()}.ssl.client.auth": "required",
            f"{prefix}.sasl.enabled.mechanisms": ",".join(name.upper() for name in _MECHANISMS),
            **mechanisms,
        },
    )
    (folder / "kafka").mkdir()
    await kafka.start()
    try:
        await asyncio.to_thread(_let_in, kafka.bootstrap)
        yield SecuredKafka(kafka, ours, ca, client)
    finally:
        await kafka.stop()


def _let_in(bootstrap: str) -> None:
    """SCRAM's users are in the cluster, not in its configuration."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        user: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(USER, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
        ]
        for done in admin.alter_user_scram_credentials(user).values():
            done.result(timeout=10)


def unsecured_token() -> str:
    """What Kafka's own validator takes where nobody configured another: a token that nobody signed."""
    now = int(time.time())
    claims = {"sub": USER, "iat": now, "exp": now + 600}
    return f"{_part({'alg': 'none'})}.{_part(claims)}."


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


@asynccontextmanager
async def tls_before(postgres_url: str, context: ssl.SSLContext) -> AsyncIterator[str]:
    """The URL of the same database behind TLS. Whoever asks for no TLS is let go."""
    parts = urlsplit(postgres_url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(context)
            behind_reader, behind = await asyncio.open_connection(parts.hostname, parts.port)
            await asyncio.gather(_pump(reader, behind), _pump(behind_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # a client that was refused, or left
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    account = f"{parts.username}:{parts.password}"
    try:
        yield parts._replace(netloc=f"{account}@127.0.0.1:{port}").geturl()
    finally:
        server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def server_context(files: Files, *, clients_of: Path | None = None) -> ssl.SSLContext:
    """clients_of: the authority whose certificates clients must show; none: no certificate is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    if clients_of is not None:
        context.load_verify_locations(clients_of)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
