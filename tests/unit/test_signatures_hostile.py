"""No header and no body, however made, is anything but a refusal: 401, and a bounded amount of work."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagahook.runtime.sources import SchemeName
from sagahook_ingest.domain.signatures import Options, Unsigned, scheme_of
from tests.unit.vectors.signatures import NOW, SECRETS, SHOWING, SIGNING, TIMED, a_scheme, as_received

BODY = b'{"id": 1}'
CHECKING = SIGNING + SHOWING
WHPK = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="

HOSTILE = {
    "nothing but a space": b" ",
    "a zero byte": b"\0",
    "a byte that is no ASCII": b"\xff",
    "bad UTF-8": b"sha256=\xc3\x28",
    "digits of another script": "١٦١٤٢٦٥٣٣٠".encode(),
    "not a number": b"NaN",
    "infinity": b"inf",
    "a negative number": b"-1",
    "a number with a sign": b"+1767323045",
    "a fraction": b"1767323045.0",
    "an exponent": b"1e9",
    "underscores": b"1_767_323_045",
    "a number with spaces": b" 1767323045 ",
    "hexadecimal": b"0x69573765",
    "a number of 5000 digits": b"9" * 5_000,
    "a megabyte": b"a" * 2**20,
    "a megabyte of separators": b"," * 2**19 + b" " * 2**19,
    "ten thousand signatures of Stripe's": b"t=1767323045" + b",v1=00" * 10_000,
    "ten thousand signatures by v1": b" ".join([b"v1,AAAA"] * 10_000),
    "ten thousand signatures by v1a": b" ".join([b"v1a," + b"A" * 86 + b"=="] * 10_000),
    "prefixes with nothing behind": b"sha256=",
    "v0 with nothing behind": b"v0=",
    "v1 with nothing behind": b"v1,",
    "v1a with nothing behind": b"v1a,",
    "v1a with bad base64": b"v1a," + b"!" * 88,
    "v1a with base64 of the wrong length": b"v1a,AAAA",
    "v1a with padding in the middle": b"v1a," + b"A=" * 44,
    "v1a with zeros": b"v1a," + b"A" * 86 + b"==",
    "Stripe's with nothing behind": b"t=,v1=",
    "Stripe's without a signature": b"t=1767323045",
    "Stripe's without a time": b"v1=00",
    "Stripe's of equals signs": b"=,=,==,===",
    "an authorization of nothing": b"Basic",
    "an authorization of spaces": b"Bearer       ",
    "credentials of bad base64": b"Basic !!!!",
    "credentials without a colon": b"Basic AAAA",
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("name", CHECKING)
def test_a_hostile_header_is_unsigned(name: SchemeName, hostile: bytes) -> None:
    secrets = (*SECRETS[name], WHPK) if name == "standard" else SECRETS[name]
    scheme = a_scheme(name, *secrets)
    good = as_received(scheme.sign(BODY, NOW, "delivery-1"))
    for key in scheme.reads & good.keys():
        with pytest.raises(Unsigned):
            scheme.verify({**good, key: hostile}, BODY, NOW)
    with pytest.raises(Unsigned):
        scheme.verify(dict.fromkeys(scheme.reads, hostile), BODY, NOW)


FRAGMENTS = [
    b"t=",
    b"v1=",
    b"v0=",
    b"sha256=",
    b"v1,",
    b"v1a,",
    b",",
    b" ",
    b"=",
    b".",
    b"Bearer ",
    b"Basic ",
    b"1767323045",
    b"99999999999999999999",
    b"AAAA",
    b"A" * 86 + b"==",
    b"0" * 64,
    b"delivery-1",
]
values = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=20), max_size=12).map(b"".join)


@pytest.mark.parametrize("name", CHECKING)
@given(data=st.data(), body=st.binary(max_size=50))
def test_nothing_that_is_not_signed_passes_and_nothing_else_is_raised(
    name: SchemeName, data: st.DataObject, body: bytes
) -> None:
    secrets = (*SECRETS[name], WHPK) if name == "standard" else SECRETS[name]
    scheme = a_scheme(name, *secrets)
    headers = data.draw(st.dictionaries(st.sampled_from(sorted(scheme.reads)), values))
    with pytest.raises(Unsigned):
        scheme.verify(headers, body, NOW)


@pytest.mark.parametrize("name", SIGNING)
@given(signed=st.binary(max_size=100), sent=st.binary(max_size=100), late=st.integers(-300, 300))
def test_only_the_body_that_was_signed_passes(
    name: SchemeName, signed: bytes, sent: bytes, late: int
) -> None:
    scheme = a_scheme(name)
    headers = as_received(scheme.sign(signed, NOW, "delivery-1"))
    scheme.verify(headers, signed, NOW + timedelta(seconds=late))
    if sent != signed:
        with pytest.raises(Unsigned):
            scheme.verify(headers, sent, NOW)


@pytest.mark.parametrize("name", TIMED)
@given(timestamp=st.integers(0, 10**12 - 1))
def test_a_message_passes_at_its_own_time_only(name: SchemeName, timestamp: int) -> None:
    """The timestamp is signed: with another one the signature is another."""
    scheme = a_scheme(name)
    headers = as_received(scheme.sign(BODY, NOW, "delivery-1"))
    of_now = b"%d" % NOW.timestamp()
    moved = {
        key: value.replace(b"t=" + of_now, b"t=%d" % timestamp) if value != of_now else b"%d" % timestamp
        for key, value in headers.items()
    }
    if moved != headers:
        with pytest.raises(Unsigned):
            scheme.verify(moved, BODY, NOW)


class TestBounds:
    def test_a_list_of_32_signatures_is_read_and_a_longer_one_refused(self) -> None:
        headers = as_received(a_scheme("standard").sign(BODY, NOW, "delivery-1"))
        right = headers[b"webhook-signature"]
        headers[b"webhook-signature"] = b" ".join([b"v1,wrong"] * 31 + [right])
        a_scheme("standard").verify(headers, BODY, NOW)
        headers[b"webhook-signature"] += b" v1,wrong"
        with pytest.raises(Unsigned, match="more than 32 signatures"):
            a_scheme("standard").verify(headers, BODY, NOW)

    def test_of_stripes_parts_as_well(self) -> None:
        header = a_scheme("stripe").sign(BODY, NOW, "")["Stripe-Signature"].encode()
        header = header.replace(b",v1=", b",v1=wrong" * 30 + b",v1=")
        a_scheme("stripe").verify({b"stripe-signature": header}, BODY, NOW)
        with pytest.raises(Unsigned, match="more than 32 parts"):
            a_scheme("stripe").verify({b"stripe-signature": header + b",v1=wrong"}, BODY, NOW)

    def test_four_signatures_by_v1a_are_tried_and_more_refused(self) -> None:
        key = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
        scheme = scheme_of("standard", [key], Options())
        headers = as_received(scheme.sign(BODY, NOW, "delivery-1"))
        wrong = b"v1a," + b"A" * 86 + b"== "
        headers[b"webhook-signature"] = wrong * 3 + headers[b"webhook-signature"]
        scheme.verify(headers, BODY, NOW)
        headers[b"webhook-signature"] = wrong + headers[b"webhook-signature"]
        with pytest.raises(Unsigned, match="more than 4 signatures by v1a"):
            scheme.verify(headers, BODY, NOW)
