"""Where Kafka is, and how one gets in: the one place that says how every client of it connects."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from aiokafka.abc import AbstractTokenProvider

log = logging.getLogger("sagahook.brokers")

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"]

_Stamps = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How one gets into a cluster. Raises ValueError where the parts do not go together; it quotes no password.

    password: called for each new client, so that it may change; with OAUTHBEARER it is the token, asked for by each
    new connection. ca_file: PEM, the authorities that vouch for the brokers; none: the system's. cert_file, key_file:
    PEM, what this client shows of itself. The files are read again when they have changed, by the next connection.
    """

    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism = "SCRAM-SHA-512"
    user: str = ""
    password: str | Callable[[], str] = field(default="", repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if not self.is_encrypted and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError(
                f"there are certificates, but {self.protocol} uses none: it must be SSL, or SASL_SSL with a password"
            )
        if self.key_file and not self.cert_file:
            raise ValueError("there is a key file, but no certificate file that belongs to it")
        if self.has_password and not (self.password and (self.user or self.mechanism == "OAUTHBEARER")):
            wanted = "a token" if self.mechanism == "OAUTHBEARER" else "a user and a password"
            raise ValueError(f"{self.protocol} with {self.mechanism} needs {wanted}")
        if not self.has_password and (self.password or self.user):
            raise ValueError(
                f"there is a user or a password, but {self.protocol} uses none: it must be SASL_SSL (or SASL_PLAINTEXT)"
            )
        if self.is_encrypted:
            self.tls().read()

    @property
    def is_encrypted(self) -> bool:
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def has_password(self) -> bool:
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def secret(self) -> str:
        """The password, or the token, as it is now."""
        return self.password if isinstance(self.password, str) else self.password()

    def tls(self) -> Tls:
        return _tls(self.ca_file, self.cert_file, self.key_file)

    def options(self) -> dict[str, Any]:
        """For every client of aiokafka."""
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.is_encrypted:
            options["ssl_context"] = self.tls()
        if not self.has_password:
            return options
        options["sasl_mechanism"] = self.mechanism
        if self.mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = _token_provider(self.secret)
        else:
            options["sasl_plain_username"] = self.user
            options["sasl_plain_password"] = self.secret()
        return options


class Brokers(str):
    """Bootstrap servers, `host:port`, comma-separated, that know how one gets in. A plain string in its place means
    brokers without TLS and passwords, as those of the one-machine stack."""

    security: KafkaSecurity

    def __new__(cls, bootstrap: str, security: KafkaSecurity | None = None) -> Brokers:
        brokers = super().__new__(cls, bootstrap)
        brokers.security = security or KafkaSecurity()
        return brokers


def client_options(bootstrap: str) -> dict[str, Any]:
    """Where every client of aiokafka finds Kafka, and how it gets in. Raises ValueError where the password cannot be
    read."""
    security = bootstrap.security if isinstance(bootstrap, Brokers) else KafkaSecurity()
    return {"bootstrap_servers": str(bootstrap), **security.options()}


class Tls(ssl.SSLContext):
    """A client's context that reads its files again when they have changed, before the next connection.

    Each reading makes a context of its own, so that an authority that is gone is trusted no more. Where what is there
    cannot be read, half-way through a replacement, the last that could goes on.
    """

    _files: tuple[Path | None, Path | None, Path | None]
    _stamps: _Stamps
    _current: ssl.SSLContext

    def __new__(cls, ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> Tls:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made._files = (ca_file, cert_file, key_file)
        made._stamps = ()
        return made

    def read(self) -> None:
        """Raises ValueError, naming the file that cannot be used."""
        stamps = tuple(map(_stamp, self._files))
        if stamps != self._stamps:
            self._current = _read(*self._files)
            self._stamps = stamps

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """What asyncio and uvloop call for each connection."""
        try:
            self.read()
        except ValueError as unusable:
            log.error("certificates for Kafka were replaced by what cannot be used: %s", unusable)
        return self._current.wrap_bio(*arguments, **options)


@cache
def _tls(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> Tls:
    """One for all clients of a process."""
    return Tls(ca_file, cert_file, key_file)


def _read(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it verifies certificates and host names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
    else:
        with _naming("the authorities' file", ca_file):
            context.load_verify_locations(ca_file)
    if cert_file is not None:
        with _naming("the certificate, or its key,", cert_file, key_file):
            context.load_cert_chain(cert_file, key_file, _no_password)
    return context


@contextmanager
def _naming(what: str, *files: Path | None) -> Iterator[None]:
    """Around what reads files: raises ValueError with their names."""
    try:
        yield
    except OSError as failed:  # ssl.SSLError too
        names = " and ".join(str(file) for file in files if file is not None)
        raise ValueError(f"{what} {names} cannot be used ({failed.strerror or failed})") from None


def _no_password() -> str:
    """OpenSSL would ask for one on the terminal."""
    raise ValueError(
        "the key is encrypted: give it without a password, in a file that only this service can read"
    )


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    """What tells a file from what it was before, also where a symbolic link on the way to it is swapped."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found else None


def _token_provider(token: Callable[[], str]) -> AbstractTokenProvider:
    from aiokafka.abc import AbstractTokenProvider

    class Token(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
        async def token(self) -> str:
            return token()

    return Token()
