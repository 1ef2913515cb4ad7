"""Hostile, broken and merely odd heads of requests, by what they show."""

from tests.hostile_case import (
    GOOD,
    TARGET,
    Case,
    accepted,
    at,
    ends,
    framed,
    goes_on,
    line,
    post,
    with_header,
)

REQUEST_LINES = {
    "garbage is no request": ends(b"garbage\r\n\r\n"),
    "a request of HTTP/0.9 is refused": ends(b"GET /webhooks/orders\r\n\r\n", status=505),
    "HTTP/0.9 by name is refused": ends(line(b"GET / HTTP/0.9"), status=505),
    "HTTP/2.0 in a request line is refused": ends(line(b"POST /webhooks/orders HTTP/2.0"), status=505),
    "the preface of HTTP/2 is refused": ends(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status=505),
    "a version that was never made is refused": ends(line(b"POST /webhooks/orders HTTP/1.7")),
    "a version with more digits is refused": ends(line(b"POST /webhooks/orders HTTP/1.10")),
    "the name of the protocol in lower case is refused": ends(line(b"POST /webhooks/orders http/1.1")),
    "the hello of TLS is answered in plain text": ends(
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x7f" * 500
    ),
    "CONNECT opens no tunnel": ends(b"CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n", status=501),
    "TRACE echoes nothing": goes_on(
        b"TRACE /webhooks/orders HTTP/1.1\r\nHost: x\r\n\r\n", status=405, allow="OPTIONS, POST"
    ),
    "GET is no way to send a webhook": goes_on(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % TARGET, status=405),
    "PUT is no way to send a webhook": goes_on(line(b"PUT /webhooks/orders HTTP/1.1"), status=405),
    "DELETE is no way to send a webhook": goes_on(line(b"DELETE /webhooks/orders HTTP/1.1"), status=405),
    "a method that nobody knows is refused": ends(line(b"FROBNICATE /webhooks/orders HTTP/1.1")),
    "a method in lower case is another method": ends(line(b"post /webhooks/orders HTTP/1.1")),
    "a NUL in the method is refused": ends(line(b"PO\x00ST /webhooks/orders HTTP/1.1")),
    "a tab is no space": ends(line(b"POST\t/webhooks/orders HTTP/1.1")),
    "a request line with a space in its target is refused": ends(line(b"POST /webhooks/orders x HTTP/1.1")),
    "a request line without a target is refused": ends(line(b"POST HTTP/1.1")),
    "empty lines before a request are skipped": accepted(b"\r\n\r\n" + GOOD),
    "nothing but empty lines is not a request for ever": Case((b"\r\n" * 50_000,), (431,)),
}

TARGETS = {
    "a NUL in the target is refused": ends(post(target=b"/webhooks/orders\x00")),
    "a control character in the target is refused": ends(post(target=b"/webhooks/orders\x01")),
    "a bare carriage return in the target is refused": ends(post(target=b"/webhooks/orders\rX")),
    "bytes beyond ASCII in the target are refused": ends(post(target="/webhooks/größe".encode())),
    "a fragment in the target is refused": ends(post(target=b"/webhooks/orders#x")),
    "an asterisk is no webhook's target": ends(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target with a host but no path is refused": ends(post(target=b"http://evil.example")),
    "a target with a port alone is refused": ends(post(target=b"evil.example:80")),
    "a target of another scheme is refused": ends(post(target=b"ftp://evil.example/webhooks/orders")),
    "a target with backslashes is refused": ends(post(target=b"\\webhooks\\orders")),
    "a target in absolute form is its path": accepted(post(target=b"http://evil.example/webhooks/orders")),
    "a long target is refused": ends(post(target=TARGET + b"?" + b"x" * 8_192), status=414),
    "a target without an end is refused": Case((b"POST /" + b"x" * 200_000,), (414,)),
    "a query of eight kilobytes is not too long": accepted(post(target=TARGET + b"?" + b"x" * 8_000)),
}

SOURCE_NAMES = {
    "a source that nobody knows is not found": at(b"/webhooks/nobody"),
    "a percent-encoded name is the name": accepted(post(target=b"/webhooks/%6frders")),
    "a name in other letters is another name": at(b"/webhooks/ORDERS"),
    "no name is no source": at(b"/webhooks/"),
    "a slash behind the name is not ignored": at(b"/webhooks/orders/"),
    "a slash before the name is not ignored": at(b"/webhooks//orders"),
    "a slash before the path is not ignored": at(b"//webhooks/orders"),
    "dots are not resolved": at(b"/webhooks/../webhooks/orders"),
    "dots that lead to a probe lead nowhere": at(b"/webhooks/../livez"),
    "an encoded slash does not leave the path": at(b"/webhooks/..%2forders"),
    "an encoded backslash is no slash": at(b"/webhooks/..%5corders"),
    "encoded dots are not resolved": at(b"/webhooks/%2e%2e/webhooks/orders"),
    "what is encoded twice is decoded once": at(b"/webhooks/%256frders"),
    "an encoded NUL is no name": at(b"/webhooks/%00"),
    "an encoded NUL does not end the name": at(b"/webhooks/orders%00.json"),
    "an encoded line break is no header": at(b"/webhooks/orders%0d%0aX-Injected:%20yes"),
    "an encoded space does not vanish": at(b"/webhooks/orders%20"),
    "half an escape is no escape": at(b"/webhooks/orders%"),
    "a wrong escape is no escape": at(b"/webhooks/%zzorders"),
    "an overlong slash is no slash": at(b"/webhooks/..%c0%aforders"),
    "an encoded surrogate is no letter": at(b"/webhooks/%ed%a0%80"),
    "wide letters are other letters": at(b"/webhooks/%ef%bd%8frders"),
    "letters from right to left are other letters": at(b"/webhooks/%e2%80%aesredro"),
    "a parameter of the path is part of the name": at(b"/webhooks/orders;v=1"),
    "a name of seven kilobytes is not found": at(b"/webhooks/" + b"n" * 7_000),
    "markup in a name is not markup in the answer": at(b"/webhooks/%3Cscript%3Ealert(1)%3C/script%3E"),
}

HEADERS = {
    "a request without a host is refused": ends(
        b"POST /webhooks/orders HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    ),
    "a request with two hosts is refused": with_header(b"Host: y"),
    "a host with a path is refused": ends(post(host=b"Host: x/webhooks/orders")),
    "two hosts in one header are refused": ends(post(host=b"Host: x, y")),
    "a host with a user is refused": ends(post(host=b"Host: me@x")),
    "an empty host is a host": accepted(post(host=b"Host:")),
    "a folded header is refused": with_header(b"X-A: 1\r\n 2"),
    "a header that is folded by a tab is refused": with_header(b"X-A: 1\r\n\t2"),
    "a folded length is refused": ends(framed(b"{}", b"Content-Length:\r\n 2")),
    "a header before which there is a space is refused": ends(
        b"POST /webhooks/orders HTTP/1.1\r\n Host: x\r\nContent-Length: 2\r\n\r\n{}"
    ),
    "a line that ends in a line feed alone is refused": with_header(b"X-A: 1\nX-B: 2"),
    "a head whose lines end in line feeds alone is refused": ends(GOOD.replace(b"\r\n", b"\n")),
    "a carriage return within a header is refused": with_header(b"X-A: 1\rX-B: 2"),
    "a NUL within a header is refused": with_header(b"X-A: 1\x002"),
    "a control character within a header is refused": with_header(b"X-A: 1\x012"),
    "a delete character within a header is refused": with_header(b"X-A: 1\x7f2"),
    "a name with a space in it is refused": with_header(b"X A: 1"),
    "a name with a space behind it is refused": with_header(b"X-A : 1"),
    "a header without a name is refused": with_header(b": 1"),
    "a name beyond ASCII is refused": with_header(b"X-\xc3\xa9: 1"),
    "a name with brackets is refused": with_header(b"X(A): 1"),
    "a line without a colon is refused": with_header(b"X-A"),
    "a hundred headers are not too many": accepted(post(b"{}", *[b"X-A: 1"] * 98)),
    "a hundred and one headers are too many": ends(post(b"{}", *[b"X-A: 1"] * 99), status=431),
    "a hundred thousand headers are too many": Case((post(b"{}", *[b"X-A: 1"] * 100_000),), (431,)),
    "a value of thirty kilobytes is not too large": accepted(post(b"{}", b"X-A: " + b"a" * 30_000)),
    "a value of forty kilobytes is too large": ends(post(b"{}", b"X-A: " + b"a" * 40_000), status=431),
    "a value of ten megabytes is too large": Case((post(b"{}", b"X-A: " + b"a" * 10_000_000),), (431,)),
    "a name of forty kilobytes is too large": ends(post(b"{}", b"X" * 40_000 + b": a"), status=431),
    "many values that are too large together are too large": ends(
        post(b"{}", *[b"X-A: " + b"a" * 1_000] * 40), status=431
    ),
    "a head without an end is too large": Case((b"POST / HTTP/1.1\r\n" + b"X-A: 1\r\n" * 20_000,), (431,)),
    "an expectation that nobody knows is refused": ends(post(b"{}", b"Expect: 200-ok"), status=417),
    "a control character in a correlation id is refused": with_header(b"X-Correlation-ID: a\x1bb"),
    "a NUL in a correlation id is refused": with_header(b"X-Correlation-ID: a\x00b"),
    "a tab in a correlation id is refused": goes_on(post(b"{}", b"X-Correlation-ID: a\tb"), status=400),
    "bytes beyond ASCII in a correlation id are refused": goes_on(
        post(b"{}", b"X-Correlation-ID: \xc3\xa9"), status=400
    ),
    "an encoded line break in a correlation id is refused": goes_on(
        post(b"{}", b"X-Correlation-ID: a%0d%0ab"), status=400
    ),
    "two correlation ids are refused": goes_on(
        post(b"{}", b"X-Correlation-ID: a", b"X-Correlation-ID: b"), status=400
    ),
    "two idempotency keys are refused": goes_on(
        post(b"{}", b"Idempotency-Key: a", b"Idempotency-Key: b"), status=400
    ),
    "two content types are refused": goes_on(
        post(b"{}", b"Content-Type: application/json", b"Content-Type: text/plain"), status=400
    ),
}
