"""Certificates that are made for one test: an authority, and what it vouches for."""

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass
class Authority:
    key: EllipticCurvePrivateKey
    name: x509.Name

    def signed(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> bytes:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
        )
        for extension in extensions:
            made = made.add_extension(extension, critical=False)
        return made.sign(self.key, SHA256()).public_bytes(Encoding.PEM)

    def own(self) -> bytes:
        """What one trusts it by, as PEM."""
        return self.signed(self.name, self.key, x509.BasicConstraints(ca=True, path_length=0))


@dataclass(frozen=True)
class Files:
    """PEM. both: the key and the certificate in one file, as Kafka wants them."""

    certificate: Path
    key: Path
    both: Path


def authority() -> tuple[ssl.SSLContext, Authority]:
    """What a client trusts it by, and the authority itself."""
    key = generate_private_key(SECP256R1())
    ours = Authority(key, _name("the tests' own authority"))
    return ssl.create_default_context(cadata=ours.own().decode()), ours


def certificate_files(by: Authority, folder: Path, name: str) -> Files:
    """Of whoever has that name, on this machine: also as `localhost` and 127.0.0.1."""
    key = generate_private_key(SECP256R1())
    names = x509.SubjectAlternativeName(
        [x509.DNSName(name), x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    )
    certificate = by.signed(_name(name), key, names)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = Files(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.pem")
    for file, content in (
        (files.certificate, certificate),
        (files.key, private),
        (files.both, private + certificate),
    ):
        file.touch(mode=0o600)
        file.write_bytes(content)
    return files


def certified(by: Authority, host: str) -> ssl.SSLContext:
    """A server's context with a certificate of that name."""
    key = generate_private_key(SECP256R1())
    certificate = by.signed(_name(host), key, x509.SubjectAlternativeName([x509.DNSName(host)]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "server.pem"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate)
        context.load_cert_chain(file)
    return context


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
