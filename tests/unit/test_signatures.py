"""Signatures of webhooks: what each vendor documents passes, and nothing that differs from it does."""

import json
import re
import tomllib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from sagahook.runtime.sources import OPTIONS as SOURCE_OPTIONS
from sagahook.runtime.sources import SchemeName, Source
from sagahook_ingest.domain.refusals import Refusal
from sagahook_ingest.domain.signatures import DEFAULT_FIELDS, Options, Unsigned, scheme_of
from sagahook_ingest.domain.signatures.ed25519 import public_key, secret_key
from tests.unit.vectors.signatures import (
    NOW,
    SECRETS,
    SHOWING,
    SIGNING,
    TIMED,
    VECTORS,
    Vector,
    a_scheme,
    as_received,
)

BODY = '{"type": "order.paid", "grüße": "\u2028"}'.encode()
EVERY = get_args(SchemeName)
every_vector = pytest.mark.parametrize("vector", VECTORS, ids=str)
every_scheme = pytest.mark.parametrize("name", EVERY)
every_signing_scheme = pytest.mark.parametrize("name", SIGNING)
every_timed_scheme = pytest.mark.parametrize("name", TIMED)
every_checking_scheme = pytest.mark.parametrize("name", SIGNING + SHOWING)


def changes(value: bytes) -> list[bytes]:
    """The value with each one of its bytes changed, one less, and one more."""
    flipped = [value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :] for at in range(len(value))]
    return [*flipped, value[:-1], value + b"0"]


class TestVectors:
    @every_vector
    def test_what_the_vendor_documents_passes(self, vector: Vector) -> None:
        vector.verify()

    @pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector.scheme in SIGNING], ids=str)
    def test_with_any_byte_of_the_body_changed_it_does_not(self, vector: Vector) -> None:
        for body in changes(vector.body):
            with pytest.raises(Unsigned):
                replace(vector, body=body).verify()

    @every_vector
    def test_with_any_byte_of_a_header_changed_it_does_not(self, vector: Vector) -> None:
        for name, value in vector.headers.items():
            start = value.find(vector.proves_nothing) if vector.proves_nothing else len(value)
            for changed in changes(value[:start]):
                with pytest.raises(Unsigned):
                    vector.with_header(name, changed + value[start:]).verify()

    @every_vector
    def test_with_a_header_missing_or_empty_it_does_not(self, vector: Vector) -> None:
        for name in vector.headers:
            others = {key: value for key, value in vector.headers.items() if key != name}
            for headers in (others, {**others, name: b""}):
                with pytest.raises(Unsigned, match="is missing or empty"):
                    replace(vector, headers=headers).verify()

    @every_vector
    def test_by_another_secret_it_does_not(self, vector: Vector) -> None:
        with pytest.raises(Unsigned):
            replace(vector, secrets=SECRETS[vector.scheme][1:]).verify()

    @every_vector
    def test_the_secret_may_be_any_of_several(self, vector: Vector) -> None:
        replace(vector, secrets=(SECRETS[vector.scheme][1], *vector.secrets)).verify()

    @every_vector
    def test_we_sign_as_the_vendor_does(self, vector: Vector) -> None:
        scheme = scheme_of(vector.scheme, vector.secrets, vector.options)
        if vector.secrets[0].startswith("whpk_"):
            with pytest.raises(ValueError, match="public key, which cannot sign"):
                scheme.sign(vector.body, vector.at, "id")
            return
        signed = as_received(scheme.sign(vector.body, vector.at, "msg_p5jXN8AQM9LWM0D4loKWxJek"))
        expected = {
            name.replace(b"svix-", b"webhook-"): value.removesuffix(vector.proves_nothing)
            for name, value in vector.headers.items()
        }
        assert expected.items() <= signed.items()

    def test_each_scheme_that_signs_has_one_but_shopify_which_publishes_none(self) -> None:
        assert {vector.scheme for vector in VECTORS} == {*SIGNING, *SHOWING} - {"shopify", "api_key"}


def test_each_example_of_the_reference_is_a_source() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/signatures.md").read_text()
    examples = tomllib.loads("\n".join(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)))
    assert {source["scheme"] for source in examples.values()} == {*SIGNING, *SHOWING}
    for source in examples.values():
        Source.model_validate(source)


@pytest.mark.parametrize(
    "vector",
    json.loads((Path(__file__).parent / "vectors/rfc8032.json").read_bytes()),
    ids=lambda v: v["name"],
)
def test_ed25519_is_that_of_rfc_8032(vector: dict[str, str]) -> None:
    message, signature = bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
    signs = secret_key(bytes.fromhex(vector["secret_key"]))
    public = public_key(bytes.fromhex(vector["public_key"]))
    assert signs.sign(message) == signature
    assert public.verifies(signature, message)
    assert signs.public.verifies(signature, message)
    assert not public.verifies(signature, message + b"\0")


class TestEveryScheme:
    @every_scheme
    def test_what_it_signs_it_verifies(self, name: SchemeName) -> None:
        scheme = a_scheme(name)
        scheme.verify(as_received(scheme.sign(BODY, NOW, "delivery-1")), BODY, NOW)

    @every_scheme
    def test_it_reads_only_the_headers_that_it_names(self, name: SchemeName) -> None:
        scheme = a_scheme(name)
        headers = as_received(scheme.sign(BODY, NOW, "delivery-1"))
        scheme.verify({key: value for key, value in headers.items() if key in scheme.reads}, BODY, NOW)

    @every_signing_scheme
    def test_an_empty_body_is_signed_like_any_other(self, name: SchemeName) -> None:
        scheme = a_scheme(name)
        scheme.verify(as_received(scheme.sign(b"", NOW, "delivery-1")), b"", NOW)

    @every_signing_scheme
    def test_the_body_is_bytes_not_text(self, name: SchemeName) -> None:
        scheme, body = a_scheme(name), bytes(range(256))
        headers = as_received(scheme.sign(body, NOW, "delivery-1"))
        scheme.verify(headers, body, NOW)
        with pytest.raises(Unsigned):
            scheme.verify(headers, body.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), NOW)

    @every_checking_scheme
    def test_the_first_secret_signs_and_each_verifies(self, name: SchemeName) -> None:
        old, new = SECRETS[name]
        headers = as_received(a_scheme(name, new, old).sign(BODY, NOW, "delivery-1"))
        a_scheme(name, new).verify(headers, BODY, NOW)
        a_scheme(name, old, new).verify(headers, BODY, NOW)
        with pytest.raises(Unsigned):
            a_scheme(name, old).verify(headers, BODY, NOW)

    @every_timed_scheme
    def test_a_message_of_exactly_the_tolerance_passes_and_an_older_one_does_not(
        self, name: SchemeName
    ) -> None:
        scheme = a_scheme(name)
        headers = as_received(scheme.sign(BODY, NOW, "delivery-1"))
        scheme.verify(headers, BODY, NOW + timedelta(seconds=300))
        with pytest.raises(Unsigned, match="301 seconds old, and this source takes 300"):
            scheme.verify(headers, BODY, NOW + timedelta(seconds=301))

    @every_timed_scheme
    def test_a_message_too_far_in_the_future_is_refused_as_well(self, name: SchemeName) -> None:
        scheme = a_scheme(name)
        headers = as_received(scheme.sign(BODY, NOW, "delivery-1"))
        scheme.verify(headers, BODY, NOW - timedelta(seconds=300))
        with pytest.raises(Unsigned, match="301 seconds in the future"):
            scheme.verify(headers, BODY, NOW - timedelta(seconds=301))

    @every_timed_scheme
    def test_the_tolerance_is_the_sources_own(self, name: SchemeName) -> None:
        scheme = scheme_of(name, SECRETS[name], Options(tolerance=timedelta(seconds=1.5)))
        headers = as_received(scheme.sign(BODY, NOW, "delivery-1"))
        scheme.verify(headers, BODY, NOW + timedelta(seconds=1))
        with pytest.raises(Unsigned):
            scheme.verify(headers, BODY, NOW + timedelta(seconds=2))

    @every_checking_scheme
    def test_its_refusal_is_a_401_that_quotes_no_secret_and_no_signature(self, name: SchemeName) -> None:
        scheme = a_scheme(name)
        headers = as_received(scheme.sign(BODY, NOW, "delivery-1"))
        for key in scheme.reads & headers.keys():
            value = headers[key] + b"x"
            with pytest.raises(Refusal) as refused:
                scheme.verify({**headers, key: value}, BODY, NOW)
            assert isinstance(refused.value, Unsigned)
            assert refused.value.status == 401
            told = refused.value.error + refused.value.headers["WWW-Authenticate"]
            assert SECRETS[name][0] not in told
            assert value.decode() not in told

    @every_checking_scheme
    def test_it_shows_no_secret_when_it_is_printed(self, name: SchemeName) -> None:
        scheme = a_scheme(name)
        assert SECRETS[name][0] not in f"{scheme!r} {scheme}"

    def test_each_has_its_default_fields(self) -> None:
        assert DEFAULT_FIELDS.keys() == set(EVERY) == SOURCE_OPTIONS.keys()


class TestGitHub:
    def test_sha_1_alone_is_refused_and_the_error_says_what_to_send(self) -> None:
        headers = {b"x-hub-signature": b"sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"}
        with pytest.raises(Unsigned, match=r"SHA-1 .* is not enough: send X-Hub-Signature-256"):
            a_scheme("github", "It's a Secret to Everybody").verify(headers, b"Hello, World!", NOW)

    def test_beside_sha_256_it_is_ignored(self) -> None:
        scheme = a_scheme("github")
        headers = as_received(scheme.sign(BODY, NOW, "delivery-1"))
        scheme.verify({**headers, b"x-hub-signature": b"sha1=wrong"}, BODY, NOW)


class TestStripe:
    def test_any_of_several_signatures_passes(self) -> None:
        """While the endpoint's secret is rolled, Stripe sends one for each live secret."""
        header = a_scheme("stripe").sign(BODY, NOW, "")["Stripe-Signature"]
        timestamp, signature = header.split(",")
        several = f"{timestamp},v1={'0' * 64},{signature},v1={'1' * 64}".encode()
        a_scheme("stripe").verify({b"stripe-signature": several}, BODY, NOW)

    def test_another_scheme_than_v1_is_ignored_even_where_its_signature_is_right(self) -> None:
        header = a_scheme("stripe").sign(BODY, NOW, "")["Stripe-Signature"]
        for downgraded in (header.replace("v1=", "v0="), header.replace("v1=", "v2=")):
            with pytest.raises(Unsigned):
                a_scheme("stripe").verify({b"stripe-signature": downgraded.encode()}, BODY, NOW)

    def test_only_the_first_timestamp_counts(self) -> None:
        """A second one could otherwise make an old message new; Stripe's library reads it so."""
        old = NOW - timedelta(days=1)
        header = a_scheme("stripe").sign(BODY, old, "")["Stripe-Signature"]
        now = int(NOW.timestamp())
        for crafted in (f"{header},t={now}", f"t={now},{header}"):
            with pytest.raises(Unsigned):
                a_scheme("stripe").verify({b"stripe-signature": crafted.encode()}, BODY, NOW)
        new = a_scheme("stripe").sign(BODY, NOW, "")["Stripe-Signature"]
        a_scheme("stripe").verify({b"stripe-signature": f"{new},t=1".encode()}, BODY, NOW)

    @pytest.mark.parametrize("lacking", [b"t=1767323045", b"v1=00", b"nothing of it"])
    def test_what_it_lacks_is_said(self, lacking: bytes) -> None:
        with pytest.raises(Unsigned, match="t=TIMESTAMP and at least one v1=SIGNATURE"):
            a_scheme("stripe").verify({b"stripe-signature": lacking}, BODY, NOW)


class TestStandardWebhooks:
    def test_any_signature_of_a_list_passes_whichever_its_kind(self) -> None:
        message = next(vector for vector in VECTORS if vector.name == "Standard Webhooks v1")
        asymmetric = next(vector for vector in VECTORS if vector.secrets[0].startswith("whpk_"))
        key = b"webhook-signature"
        both = b"v1,wrong v9,unknown %b %b" % (message.headers[key], asymmetric.headers[key])
        message.with_header(key, both).verify()
        asymmetric.with_header(key, both).verify()
        replace(message, secrets=message.secrets + asymmetric.secrets).with_header(key, both).verify()

    def test_a_signature_under_the_other_kinds_name_is_none(self) -> None:
        for vector in VECTORS:
            if vector.scheme != "standard" or b"webhook-signature" not in vector.headers:
                continue
            kind, signature = vector.headers[b"webhook-signature"].split(b",")
            other = (b"v1" if kind == b"v1a" else b"v1a") + b"," + signature
            with pytest.raises(Unsigned):
                vector.with_header(b"webhook-signature", other).verify()

    def test_both_families_of_headers_may_be_sent_if_they_agree(self) -> None:
        headers = as_received(a_scheme("standard").sign(BODY, NOW, "delivery-1"))
        svix = {key.replace(b"webhook-", b"svix-"): value for key, value in headers.items()}
        a_scheme("standard").verify({**headers, **svix}, BODY, NOW)

    @pytest.mark.parametrize("alien", [b"webhook-id", b"webhook-timestamp", b"webhook-signature"])
    def test_a_header_that_contradicts_the_signed_one_is_refused(self, alien: bytes) -> None:
        """An id that is not signed, beside the one that is, would let a replay pass for a new delivery."""
        headers = as_received(a_scheme("standard").sign(BODY, NOW, "delivery-1"))
        svix = {key.replace(b"webhook-", b"svix-"): value for key, value in headers.items()}
        with pytest.raises(Unsigned, match="differ"):
            a_scheme("standard").verify({**svix, alien: b"1"}, BODY, NOW)

    def test_no_part_of_the_body_can_be_moved_into_the_id(self) -> None:
        """`id.timestamp.body` could be cut elsewhere where the body begins with digits and a full stop."""
        body = b"%d.5" % NOW.timestamp()
        headers = as_received(a_scheme("standard").sign(body, NOW, "delivery-1"))
        moved = {
            b"webhook-id": b"%b.%b" % (headers[b"webhook-id"], headers[b"webhook-timestamp"]),
            b"webhook-timestamp": b"%d" % NOW.timestamp(),
            b"webhook-signature": headers[b"webhook-signature"],
        }
        a_scheme("standard").verify(headers, body, NOW)
        with pytest.raises(Unsigned, match="hold no timestamp"):
            a_scheme("standard").verify(moved, b"5", NOW)

    def test_a_full_stop_in_an_id_is_no_harm_by_itself(self) -> None:
        scheme = a_scheme("standard")
        scheme.verify(as_received(scheme.sign(BODY, NOW, "orders.paid.a1")), BODY, NOW)

    def test_a_secret_key_that_is_not_the_first_does_not_sign(self) -> None:
        public, secret = (
            next(vector.secrets[0] for vector in VECTORS if vector.secrets[0].startswith(kind))
            for kind in ("whpk_", "whsk_")
        )
        with pytest.raises(ValueError, match="first secret is a public key"):
            a_scheme("standard", public, secret).sign(BODY, NOW, "delivery-1")

    def test_it_signs_no_message_that_it_would_refuse(self) -> None:
        for unusable in ("", "two words", "line\nbreak", "a.1614265330", "x" * 256, "grüße"):
            with pytest.raises(ValueError, match="a webhook-id is"):
                a_scheme("standard").sign(BODY, NOW, unusable)

    def test_base64_that_decodes_to_the_signature_but_is_not_its_own_is_refused(self) -> None:
        """The last digit before the padding has bits that decoding drops."""
        for vector in VECTORS:
            if vector.scheme == "standard" and b"webhook-signature" in vector.headers:
                signature = vector.headers[b"webhook-signature"].rstrip(b"=")
                padding = len(vector.headers[b"webhook-signature"]) - len(signature)
                crafted = signature[:-1] + bytes([signature[-1] + 1]) + b"=" * padding
                with pytest.raises(Unsigned):
                    vector.with_header(b"webhook-signature", crafted).verify()


class TestHmac:
    def test_hex_is_taken_in_upper_case_too(self) -> None:
        scheme = a_scheme("hmac")
        value = scheme.sign(BODY, NOW, "")["X-Signature"]
        scheme.verify({b"x-signature": value.upper().encode()}, BODY, NOW)

    def test_base64_is_taken_only_as_it_is(self) -> None:
        scheme = scheme_of("hmac", ["k"], Options(header="X-Signature", encoding="base64"))
        value = scheme.sign(BODY, NOW, "")["X-Signature"]
        with pytest.raises(Unsigned):
            scheme.verify({b"x-signature": value.swapcase().encode()}, BODY, NOW)

    def test_a_missing_prefix_is_said(self) -> None:
        scheme = scheme_of("hmac", ["k"], Options(header="X-Signature", prefix="sha256="))
        value = scheme.sign(BODY, NOW, "")["X-Signature"]
        with pytest.raises(Unsigned, match="does not begin with 'sha256='"):
            scheme.verify({b"x-signature": value.removeprefix("sha256=").encode()}, BODY, NOW)


class TestShownSecrets:
    @pytest.mark.parametrize("written", ["bearer a-secret-of-the-source", "BEARER  a-secret-of-the-source"])
    def test_the_name_of_an_authorization_scheme_is_taken_in_any_case(self, written: str) -> None:
        a_scheme("bearer").verify(as_received({"Authorization": written}), BODY, NOW)

    def test_the_secret_of_one_authorization_scheme_is_none_of_another(self) -> None:
        with pytest.raises(Unsigned, match="of the scheme Basic") as refused:
            a_scheme("basic").verify(
                as_received({"Authorization": "Bearer a-secret-of-the-source"}), BODY, NOW
            )
        assert refused.value.headers["WWW-Authenticate"] == 'Basic realm="webhooks", charset="UTF-8"'

    def test_an_api_key_may_have_a_header_and_a_prefix_of_its_own(self) -> None:
        scheme = scheme_of("api_key", ["k1"], Options(header="Authorization", prefix="Token "))
        scheme.verify({b"authorization": b"Token k1"}, BODY, NOW)
        for other in (b"k1", b"token k1", b"Token k2", b"Token k1 "):
            with pytest.raises(Unsigned):
                scheme.verify({b"authorization": other}, BODY, NOW)
