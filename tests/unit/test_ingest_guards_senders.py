"""Who sends, and how often: addresses behind proxies, and token buckets."""

from collections.abc import Sequence
from fractions import Fraction
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagahook.runtime.addresses import Network, client_address, client_name, is_allowed, parse
from sagahook.runtime.buckets import Buckets, TooMany
from sagahook.runtime.settings import ProxyHeader, ServiceSettings
from sagahook.runtime.sources import UNLIMITED, RateLimit

PROXIES: tuple[Network, ...] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
TEN = RateLimit(10.0, 20)


def seen(
    peer: str | None,
    *lines: str,
    proxies: Sequence[Network] = PROXIES,
    header: ProxyHeader = "x-forwarded-for",
) -> str:
    """The client's address as text; "" where it cannot be told. lines: of the header that the proxies write."""
    headers = [(header.encode(), line.encode("latin-1")) for line in lines]
    address = client_address(peer, headers, proxies, header)
    return "" if address is None else str(address)


class TestAddresses:
    def test_without_proxies_the_connection_tells_and_no_header_does(self) -> None:
        assert seen("203.0.113.9", "192.0.2.1", proxies=()) == "203.0.113.9"
        assert seen("10.0.0.1", "192.0.2.1", proxies=()) == "10.0.0.1"

    def test_a_stranger_is_not_believed(self) -> None:
        assert seen("203.0.113.9", "192.0.2.1") == "203.0.113.9"

    def test_a_proxy_is_believed(self) -> None:
        assert seen("10.0.0.1", "192.0.2.1") == "192.0.2.1"
        assert seen("10.0.0.1") == "10.0.0.1"

    def test_the_client_is_the_first_from_the_right_that_is_no_proxy(self) -> None:
        assert seen("10.0.0.1", "198.51.100.66, 192.0.2.1, 10.2.2.2") == "192.0.2.1"
        assert seen("10.0.0.1", "198.51.100.66", "192.0.2.1, 10.2.2.2", "10.3.3.3") == "192.0.2.1"

    def test_where_all_are_proxies_the_first_of_them_asked(self) -> None:
        assert seen("10.0.0.1", "10.3.3.3, 10.2.2.2") == "10.3.3.3"

    @pytest.mark.parametrize(
        "last", ["unknown", "_hidden", "nonsense", "256.1.1.1", "10.0.0.1, x", "a" * 10_000]
    )
    def test_what_a_proxy_could_not_tell_cannot_be_told(self, last: str) -> None:
        assert seen("10.0.0.1", f"192.0.2.1, {last}") == ""

    def test_what_stands_left_of_the_client_is_not_read(self) -> None:
        assert seen("10.0.0.1", "\xff\x00 garbage, 192.0.2.1") == "192.0.2.1"

    def test_empty_elements_of_a_list_are_none(self) -> None:
        assert seen("10.0.0.1", "192.0.2.1, , ", "") == "192.0.2.1"

    def test_the_other_header_is_never_read(self) -> None:
        headers = [(b"forwarded", b"for=192.0.2.1"), (b"x-forwarded-for", b"192.0.2.2")]
        assert str(client_address("10.0.0.1", headers, PROXIES, "forwarded")) == "192.0.2.1"
        assert str(client_address("10.0.0.1", headers, PROXIES, "x-forwarded-for")) == "192.0.2.2"

    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1\t", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ],
    )
    def test_an_address_is_written_in_many_ways(self, text: str, address: str) -> None:
        assert str(parse(text)) == address

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "0x1.2.3.4",
            "16909060",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:123456",
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]:",
            "::1::",
            "1.2.3.4/8",
            "localhost",
            "\u0661.2.3.4",
        ],
    )
    def test_anything_else_is_no_address(self, text: str) -> None:
        assert parse(text) is None

    @given(
        st.text(), st.lists(st.text(alphabet='for=;,"\\[]:. 10\xff'), max_size=3), st.sampled_from(["a", "f"])
    )
    def test_no_header_makes_it_fail(self, peer: str, lines: list[str], which: str) -> None:
        header: ProxyHeader = "forwarded" if which == "f" else "x-forwarded-for"
        seen(peer, *lines, header=header)
        seen("10.0.0.1", *lines, header=header)


class TestForwarded:
    """RFC 7239."""

    @pytest.mark.parametrize(
        ("line", "client"),
        [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=http;by=203.0.113.43", "192.0.2.1"),
            ('proto=https;for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
            ('for="192.0.2.1:80"', "192.0.2.1"),
            ('for="1\\92.0.2.1"', "192.0.2.1"),
            ("for=198.51.100.66, for=192.0.2.1 ,for=10.2.2.2", "192.0.2.1"),
            ('for="a, for=198.51.100.66;b", for=192.0.2.1', "192.0.2.1"),
            ("for=192.0.2.1,", "192.0.2.1"),
        ],
    )
    def test_the_client_is_found(self, line: str, client: str) -> None:
        assert seen("10.0.0.1", line, header="forwarded") == client

    @pytest.mark.parametrize(
        "line",
        [
            "for=unknown",
            "for=_gazonk",
            "by=10.0.0.2",
            "for=192.0.2.1;for=192.0.2.2",
            "for",
            "for=",
            "for=192.0.2.1 x",
            'for="192.0.2.1',
            "for=[2001:db8::1]",
            'for="x, for=192.0.2.1',
            "for==192.0.2.1",
            "192.0.2.1",
        ],
    )
    def test_what_is_malformed_or_hidden_cannot_be_told(self, line: str) -> None:
        assert seen("10.0.0.1", line, header="forwarded") == ""

    @pytest.mark.parametrize("endless", [" ", "a", '"', "\\", "for=", 'for="', "for=a;", "a=b ", 'a="\\"'])
    def test_no_length_makes_it_slow(self, endless: str) -> None:
        seen("10.0.0.1", endless * 30_000, header="forwarded")

    def test_an_open_quote_of_the_clients_swallows_no_proxys_word(self) -> None:
        assert seen("10.0.0.1", 'for="evil, for="[2001:db8::7]"', header="forwarded") == ""
        assert seen("10.0.0.1", 'for="evil', "for=192.0.2.1", header="forwarded") == "192.0.2.1"


class TestAllowed:
    def test_no_networks_are_everywhere(self) -> None:
        assert is_allowed(ip_address("192.0.2.1"), ())
        assert is_allowed(None, ())

    def test_an_address_is_in_a_network_or_not(self) -> None:
        networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
        assert is_allowed(ip_address("192.0.2.255"), networks)
        assert is_allowed(parse("::ffff:192.0.2.1"), networks)
        assert is_allowed(ip_address("2001:db8:1::1"), networks)
        assert not is_allowed(ip_address("192.0.3.0"), networks)
        assert not is_allowed(None, networks)

    def test_the_proxies_are_named_one_after_the_other(self) -> None:
        settings = ServiceSettings(kafka="k:9092", trusted_proxies="10.0.0.0/8, 192.0.2.7,fd00::/8")
        assert settings.trusted_proxies == (*PROXIES[:1], ip_network("192.0.2.7"), *PROXIES[1:])


def test_one_host_cannot_be_many_clients_by_its_many_addresses() -> None:
    assert (
        client_name(parse("2001:db8:0:1::1"))
        == client_name(parse("2001:db8:0:1:ffff::9"))
        == "2001:db8:0:1::/64"
    )
    assert client_name(parse("2001:db8:0:2::1")) != client_name(parse("2001:db8:0:1::1"))
    assert client_name(parse("192.0.2.1")) == client_name(parse("::ffff:192.0.2.1")) == "192.0.2.1"
    assert client_name(None) == "unknown"


class TestBuckets:
    def taken(self, buckets: Buckets, times: int, now: float, key: str = "a", rate: RateLimit = TEN) -> int:
        """How many of so many requests are let through."""
        let = 0
        for _ in range(times):
            try:
                buckets.take(key, rate, now)
            except TooMany:
                continue
            let += 1
        return let

    def test_a_bucket_that_was_left_alone_holds_its_burst_and_then_what_its_rate_lets_in(self) -> None:
        buckets = Buckets("webhooks", "from this client")
        assert self.taken(buckets, 100, now=0.0) == 20
        assert self.taken(buckets, 100, now=0.0999) == 0
        assert self.taken(buckets, 100, now=0.1) == 1
        assert self.taken(buckets, 100, now=1.1) == 10
        assert self.taken(buckets, 100, now=1_000.0) == 20

    def test_each_client_and_source_has_its_own(self) -> None:
        buckets = Buckets("webhooks", "from this client")
        assert self.taken(buckets, 30, now=0.0, key="a") == 20
        assert self.taken(buckets, 30, now=0.0, key="b") == 20

    def test_a_refused_request_costs_nothing(self) -> None:
        buckets = Buckets("webhooks", "from this client")
        self.taken(buckets, 1_000, now=0.0)
        assert self.taken(buckets, 30, now=1.0) == 10

    def test_no_limit_is_no_bucket(self) -> None:
        buckets = Buckets("webhooks", "from this client")
        assert self.taken(buckets, 1_000, now=0.0, rate=UNLIMITED) == 1_000
        assert len(buckets) == 0

    def test_a_million_addresses_fill_no_memory_and_the_busy_ones_are_remembered(self) -> None:
        buckets = Buckets("webhooks", "from this client", limit=100)
        for number in range(2_000):
            self.taken(buckets, 1, now=0.0, key=str(number))
            self.taken(buckets, 1, now=0.0, key="busy")
        assert len(buckets) == 100
        assert self.taken(buckets, 30, now=0.0, key="busy") == 0

    @pytest.mark.parametrize(
        ("rate", "wait", "policy"),
        [
            (TEN, 1, '"webhooks";q=20;w=2'),
            (RateLimit(100 / 60, 50), 1, '"webhooks";q=50;w=30'),
            (RateLimit(1 / 3_600, 1), 3_600, '"webhooks";q=1;w=3600'),
            (RateLimit(10.0, 5), 1, '"webhooks";q=5;w=1'),
        ],
    )
    def test_whoever_is_refused_is_told_when_to_come_again(
        self, rate: RateLimit, wait: int, policy: str
    ) -> None:
        buckets = Buckets("webhooks", "from this client")
        self.taken(buckets, rate.burst, now=7.0, rate=rate)
        with pytest.raises(TooMany) as refused:
            buckets.take("a", rate, 7.0)
        assert refused.value.headers == {
            "Retry-After": str(wait),
            "RateLimit-Policy": policy,
            "RateLimit": f'"webhooks";r=0;t={wait}',
        }
        buckets.take("a", rate, 7.0 + wait)

    @given(st.integers(1, 50), st.integers(1, 30), st.lists(st.integers(0, 2_000), min_size=1, max_size=60))
    def test_it_does_what_counting_tokens_exactly_does(self, rate: int, burst: int, gaps: list[int]) -> None:
        """gaps: milliseconds between the requests."""
        buckets, tokens, now = Buckets("webhooks", "from this client"), Fraction(burst), Fraction(0)
        for gap in gaps:
            now += Fraction(gap, 1000)
            tokens = min(Fraction(burst), tokens + rate * Fraction(gap, 1000))
            let = self.taken(buckets, 1, now=float(now), rate=RateLimit(float(rate), burst)) == 1
            assert let == (tokens >= 1)
            tokens -= let
