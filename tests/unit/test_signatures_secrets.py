"""Secrets that have not the form of their scheme are refused when they are configured, and never repeated."""

import base64
from typing import get_args

import pytest

from sagahook.runtime.sources import SchemeName
from sagahook_ingest.domain.signatures import Options, scheme_of
from tests.unit.vectors.signatures import OPTIONS, SECRETS


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


KEY = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")


@pytest.mark.parametrize("name", sorted(set(get_args(SchemeName)) - {"none"}))
class TestEveryScheme:
    def test_it_needs_a_secret(self, name: SchemeName) -> None:
        with pytest.raises(ValueError, match=f"the scheme {name} needs at least one secret"):
            scheme_of(name, [], OPTIONS.get(name, Options()))

    def test_an_empty_one_is_none(self, name: SchemeName) -> None:
        with pytest.raises(ValueError, match="secret 2 is empty"):
            scheme_of(name, [SECRETS[name][0], ""], OPTIONS.get(name, Options()))

    def test_there_may_be_ten(self, name: SchemeName) -> None:
        scheme_of(name, [SECRETS[name][0]] * 10, OPTIONS.get(name, Options()))
        with pytest.raises(ValueError, match="at most 10 secrets, not 11"):
            scheme_of(name, [SECRETS[name][0]] * 11, OPTIONS.get(name, Options()))

    def test_what_is_no_text_is_refused(self, name: SchemeName) -> None:
        """A lone surrogate: how Python reads a byte of the environment that is no UTF-8."""
        with pytest.raises(ValueError, match="secret") as refused:
            scheme_of(name, ["0815\udcff4711"], OPTIONS.get(name, Options()))
        assert "0815" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "secret", "complaint"),
    [
        ("standard", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "must begin with whsec_"),
        ("standard", "hush", "must begin with whsec_"),
        ("standard", "whsec_", "must begin with whsec_"),
        ("standard", "whsec_not base64!", "must be base64 after whsec_"),
        ("standard", "whsec_" + b64(b"k" * 23), "must hold 24 to 64 bytes after whsec_, not 23"),
        ("standard", "whsec_" + b64(b"k" * 65), "must hold 24 to 64 bytes after whsec_, not 65"),
        ("standard", "whpk_" + b64(b"k" * 31), "public key has 32 bytes, not 31"),
        ("standard", "whsk_" + b64(b"k" * 33), "secret key has 32 or 64 bytes, not 33"),
        ("standard", "whsk_" + b64(KEY + b"k" * 32), "do not belong together"),
        ("bearer", "two words", "must be visible ASCII"),
        ("bearer", "schlüssel", "must be visible ASCII"),
        ("api_key", "line\nbreak", "must be visible ASCII"),
        ("basic", "line\nbreak", "has control characters"),
    ],
)
def test_a_secret_of_another_form_is_refused_without_being_repeated(
    name: SchemeName, secret: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        scheme_of(name, [secret], OPTIONS.get(name, Options()))
    assert str(refused.value).startswith("secret 1")
    content = secret.removeprefix("whsec_")
    assert not content or content not in str(refused.value)


def test_base64_without_its_padding_is_a_secret_too() -> None:
    padded = b64(b"k" * 25)
    assert padded.endswith("=")
    for secret in ("whsec_" + padded, "whsec_" + padded.rstrip("=")):
        scheme_of("standard", [secret], Options())


def test_an_ed25519_secret_key_may_be_the_seed_alone() -> None:
    scheme_of("standard", ["whsk_" + b64(KEY)], Options())


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("hmac", Options(), "needs header"),
        ("hmac", Options(header="X Signature"), "is no name of a header"),
        ("hmac", Options(header="X-Signature:\r\nX-Other"), "is no name of a header"),
        ("hmac", Options(header="X-Signature", prefix="vé="), "prefix must be printable ASCII"),
        ("api_key", Options(header=""), "is no name of a header"),
        ("api_key", Options(prefix="Token\n"), "prefix must be printable ASCII"),
        ("basic", Options(), "needs username"),
        ("basic", Options(username="a:b"), "neither a colon"),
        ("basic", Options(username="a\0b"), "neither a colon"),
    ],
)
def test_an_option_that_no_header_can_hold_is_refused(
    name: SchemeName, options: Options, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        scheme_of(name, ["k"], options)
