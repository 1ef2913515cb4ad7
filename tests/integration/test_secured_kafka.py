"""Brokers that ask for TLS, passwords and certificates: our clients get in as the settings say, and say why not."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError, KafkaError
from pydantic import SecretStr, ValidationError

from sagahook.runtime.kafka_reaching import why_away
from sagahook.runtime.kafka_settings import KafkaSettings
from sagahook.runtime.logging import configure_logging
from sagahook.runtime.migrations import migrate
from sagahook.runtime.settings_errors import explain
from sagahook.runtime.topics import TopicsMissing, ensure_topics, partition_count
from sagahook.runtime.transactions import OutRecord, TransactionalWriter
from sagahook.saga.brokers import Brokers, KafkaSecurity, Mechanism, client_options
from sagahook_schemas.topics import SAGA_EVENTS
from sagahook_tracker.adapters.schema import view_tables
from tests.certificates import authority, certificate_files
from tests.secured import (
    PASSWORD,
    USER,
    SecuredKafka,
    secured_kafka,
    server_context,
    tls_before,
    unsecured_token,
)
from tests.service_process import running

INGEST, RUNNER = ("sagahook_ingest",), ("sagahook_runner",)
PROJECTOR, API = ("sagahook_tracker", "project"), ("sagahook_tracker", "api")
WAYS: tuple[Mechanism, ...] = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER")


@pytest_asyncio.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredKafka]:
    async with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


async def why(brokers: Brokers) -> str:
    """What a service says that does not get in."""
    with pytest.raises(KafkaError) as refused:
        await partition_count(brokers, "nobody")
    return await why_away(brokers, refused.value)


async def gets_in(brokers: Brokers) -> bool:
    try:
        await partition_count(brokers, "nobody")
    except TopicsMissing:
        return True
    except KafkaConnectionError:
        return False
    raise AssertionError("there are topics of that prefix")


@pytest.mark.parametrize("mechanism", WAYS)
async def test_a_password_or_a_token_lets_in(secured: SecuredKafka, mechanism: Mechanism) -> None:
    password = unsecured_token() if mechanism == "OAUTHBEARER" else PASSWORD
    assert await gets_in(secured.with_password(mechanism, password))


async def test_a_certificate_lets_in_and_every_kind_of_client_works(secured: SecuredKafka) -> None:
    files = secured.client
    security = KafkaSecurity("SSL", ca_file=secured.ca, cert_file=files.certificate, key_file=files.key)
    brokers = Brokers(secured.by_certificate, security)
    await ensure_topics(brokers, "mutual", 1)
    writer = TransactionalWriter(brokers, "mutual-writer")
    await writer.start()
    topic = SAGA_EVENTS.name("mutual")
    await writer.commit([OutRecord(topic, 0, b"key", b"value", [], 0)], {}, "mutual-group")
    await writer.abandon()
    async with AIOKafkaConsumer(topic, **client_options(brokers), auto_offset_reset="earliest") as consumer:
        assert (await asyncio.wait_for(consumer.getone(), 10)).value == b"value"


async def test_who_shows_no_certificate_is_told_that_one_may_be_asked_for(secured: SecuredKafka) -> None:
    said = await why(Brokers(secured.by_certificate, KafkaSecurity("SSL", ca_file=secured.ca)))
    assert "SAGAHOOK_KAFKA_CERT_FILE" in said


async def test_brokers_that_another_authority_vouches_for_are_refused(
    secured: SecuredKafka, tmp_path: Path
) -> None:
    _, other = authority()
    (tmp_path / "other.crt").write_bytes(other.own())
    security = KafkaSecurity("SASL_SSL", user=USER, password=PASSWORD, ca_file=tmp_path / "other.crt")
    said = await why(Brokers(secured.by_password, security))
    assert "SAGAHOOK_KAFKA_CA_FILE" in said
    assert secured.by_password in said


async def test_brokers_under_a_name_that_they_do_not_vouch_for_are_refused(secured: SecuredKafka) -> None:
    port = secured.by_password.rpartition(":")[2]
    brokers = Brokers(f"127.0.0.2:{port}", secured.with_password("PLAIN").security)
    # Every address of 127.0.0.0/8 is this machine, but the broker listens at one alone.
    forwarding = await asyncio.start_server(_to(secured.by_password), "127.0.0.2", int(port))
    async with forwarding:
        assert "SAGAHOOK_KAFKA_CA_FILE" in await why(brokers)


def _to(address: str):  # type: ignore[no-untyped-def]  # what asyncio takes
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = address.rpartition(":")
        behind_reader, behind = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pump(reader, behind), _pump(behind_reader, writer), return_exceptions=True)

    return serve


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(64 * 1024):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize("mechanism", WAYS)
async def test_a_wrong_password_is_said_to_be_wrong_and_shown_nowhere(
    secured: SecuredKafka, mechanism: Mechanism, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    configure_logging("test", "DEBUG")
    try:
        brokers = secured.with_password(mechanism, "not-the-password")
        said = await why(brokers)
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    assert "SAGAHOOK_KAFKA_PASSWORD" in said
    assert mechanism in said
    told = said + capfd.readouterr().err + repr(brokers) + repr(brokers.security)
    assert "not-the-password" not in told


async def test_a_mechanism_that_the_brokers_do_not_have_is_named(secured: SecuredKafka) -> None:
    listener = Brokers(secured.kafka.bootstrap, KafkaSecurity("SASL_PLAINTEXT", user=USER, password=PASSWORD))
    assert "SAGAHOOK_KAFKA_SECURITY" in await why(listener)


async def test_without_tls_at_a_port_that_wants_it_the_protocol_is_doubted(secured: SecuredKafka) -> None:
    assert "SAGAHOOK_KAFKA_SECURITY=PLAINTEXT" in await why(Brokers(secured.by_password))
    tls = Brokers(secured.kafka.bootstrap, KafkaSecurity("SSL", ca_file=secured.ca))
    assert "SAGAHOOK_KAFKA_SECURITY=SSL" in await why(tls)


async def test_certificates_that_are_replaced_count_from_the_next_connection_on(
    secured: SecuredKafka, tmp_path: Path
) -> None:
    _, stranger = authority()
    shown = certificate_files(stranger, tmp_path, "sagahook")
    security = KafkaSecurity("SSL", ca_file=secured.ca, cert_file=shown.certificate, key_file=shown.key)
    brokers = Brokers(secured.by_certificate, security)
    assert not await gets_in(brokers)
    shutil.copy(secured.client.key, shown.key)
    shutil.copy(secured.client.certificate, shown.certificate)
    assert await gets_in(brokers)
    shown.certificate.write_text("half of a certif")
    assert await gets_in(brokers)  # by the last that could be read


async def test_a_password_in_a_file_is_read_anew_by_each_new_client(
    secured: SecuredKafka, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("the old one\n")
    settings = KafkaSettings(
        kafka=secured.by_password,
        kafka_security="SASL_SSL",
        kafka_ca_file=secured.ca,
        kafka_user=USER,
        kafka_password=SecretStr(f"file:{file}"),
    )
    assert not await gets_in(settings.brokers)
    file.write_text(f"{PASSWORD}\n")
    assert await gets_in(settings.brokers)
    file.unlink()
    assert await gets_in(settings.brokers)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_security": "SASL_SSL"}, "a user and a password"),
        ({"kafka_security": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"}, "a token"),
        ({"kafka_user": "me", "kafka_password": "geheim"}, "it must be SASL_SSL"),
        ({"kafka_ca_file": "/ca.crt"}, "it must be SSL, or SASL_SSL"),
        ({"kafka_security": "SSL", "kafka_ca_file": "/nowhere/ca.crt"}, "/nowhere/ca.crt cannot be used"),
        ({"kafka_security": "SSL", "kafka_key_file": "/client.key"}, "no certificate file"),
        (
            {"kafka_security": "SASL_SSL", "kafka_password": "env:NOBODY_SET_IT"},
            "env:NOBODY_SET_IT is not set",
        ),
        ({"kafka_security": "TLS"}, "SAGAHOOK_KAFKA_SECURITY"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_at_the_start(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        KafkaSettings.model_validate({"kafka": "kafka:9092", **given})
    assert said in explain(refused.value)
    assert "geheim" not in str(refused.value)


async def test_a_webhook_goes_the_whole_way_where_everything_is_secured(
    secured: SecuredKafka, database_url: str, tmp_path: Path
) -> None:
    server = certificate_files(secured.authority, tmp_path, "postgres")
    async with tls_before(database_url, server_context(server)) as secured_url:
        environment = {
            "SAGAHOOK_KAFKA": secured.by_password,
            "SAGAHOOK_KAFKA_SECURITY": "SASL_SSL",
            "SAGAHOOK_KAFKA_CA_FILE": str(secured.ca),
            "SAGAHOOK_KAFKA_USER": USER,
            "SAGAHOOK_KAFKA_PASSWORD": "env:THE_PASSWORD",
            "THE_PASSWORD": PASSWORD,
            "SAGAHOOK_TOPIC_PREFIX": "whole",
            "SAGAHOOK_APP": "tests.apps.effects",
            "EFFECTS_FILE": str(tmp_path / "effects"),
            "DATABASE_URL": secured_url,
            "SAGAHOOK_DATABASE_SSLMODE": "verify-full",
            "SAGAHOOK_DATABASE_SSLROOTCERT": str(secured.ca),
        }
        await ensure_topics(secured.with_password("SCRAM-SHA-512"), "whole", 1)
        await migrate(
            f"{secured_url}?sslmode=verify-full&sslrootcert={secured.ca}",
            "tracker",
            view_tables([]).migrations,
        )
        services = (INGEST, RUNNER, PROJECTOR, API)
        async with (
            running(tmp_path, environment, *services) as all_of_them,
            aiohttp.ClientSession() as session,
        ):
            for service in all_of_them:
                await service.until("/readyz", 200)
                assert await service.status("/startupz") == 200
            ingest, api = all_of_them[0].url, all_of_them[3].url
            async with session.post(f"{ingest}/webhooks/effects", json={"id": "1"}) as answer:
                accepted = await answer.json()
                assert answer.status == 202, accepted
            status = f"{api}/webhooks/effects/status/{accepted['correlation_id']}?wait=20"
            async with session.get(status) as answer:
                assert (await answer.json())["status"] == "completed"
