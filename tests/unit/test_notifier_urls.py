"""Where a URL leads."""

import pytest

from sagahook_notifier.domain.urls import Destination, InvalidUrl, destination


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://crm.example/hooks?a=b#c", Destination(True, "crm.example", 443, "/hooks?a=b", False)),
        ("http://CRM.example.:8080", Destination(False, "crm.example", 8080, "/", False)),
        ("http://1.1.1.1/", Destination(False, "1.1.1.1", 80, "/", True)),
        ("http://1.1.1.1./", Destination(False, "1.1.1.1", 80, "/", True)),
        ("http://[2606:4700:0::1111]/", Destination(False, "2606:4700::1111", 80, "/", True)),
        ("http://xn--bcher-kva.example/", Destination(False, "xn--bcher-kva.example", 80, "/", False)),
        ("http://intern/", Destination(False, "intern", 80, "/", False)),
    ],
)
def test_a_url_is_read_in_one_way(url: str, expected: Destination) -> None:
    assert destination(url) == expected


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("ftp://crm.example", "must be http or https"),
        ("https://", "with a host"),
        ("http://crm.example:0/", "with a host"),
        ("http://crm.example:99999/", "malformed"),
        ("http://me:pass@crm.example/", "must not carry a user name"),
        ("http://@crm.example/", "must not carry a user name"),
        ("http://crm.example/a b", "printable ASCII"),
        ("http://bücher.example/", "xn-- form"),
        ("http://１２７.0.0.1/", "xn-- form"),  # noqa: RUF001 full-width digits
        ("http://127.1/", "no plain IP address"),
        ("http://2130706433/", "no plain IP address"),
        ("http://0x7f.0.0.1/", "no plain IP address"),
        ("http://public.example.0x7f/", "no plain IP address"),
        ("http://0177.0.0.1/", "no plain IP address"),
        ("http://[fe80::1%25eth0]/", "is no IPv6 address"),
        ("http://[127.0.0.1]/", "malformed"),
        ("http://127.0.0.1\\@crm.example/", "is no host name|user name|backslash"),
        ("http://crm.example\\.evil.example/", "backslash"),
        ("http://%31.example/", "is no host name"),
        ("http://a..b/", "is no host name"),
        (f"http://{'a' * 64}.example/", "is no host name"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(InvalidUrl, match=complaint):
        destination(url)
