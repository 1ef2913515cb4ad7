"""Hostile, broken and merely odd bodies and their framing, by what they show."""

import gzip

from tests.hostile_case import (
    BODY_LIMIT,
    CHUNKS,
    GOOD,
    PROBE,
    Case,
    accepted,
    chunked,
    ends,
    framed,
    goes_on,
    post,
    with_body,
    with_chunks,
)

LENGTHS = {
    "two lengths are refused": ends(framed(b"{}", b"Content-Length: 2", b"Content-Length: 3")),
    "the same length twice is refused": ends(framed(b"{}", b"Content-Length: 2", b"Content-Length: 2")),
    "two lengths in one header are refused": ends(framed(b"{}", b"Content-Length: 2, 2")),
    "a length with a sign is refused": ends(framed(b"{}", b"Content-Length: +2")),
    "a length below nothing is refused": ends(framed(b"{}", b"Content-Length: -2")),
    "a length in hexadecimal is refused": ends(framed(b"{}", b"Content-Length: 0x2")),
    "a length with a fraction is refused": ends(framed(b"{}", b"Content-Length: 2.0")),
    "a length with a space in it is refused": ends(framed(b"{}", b"Content-Length: 1 2")),
    "an empty length is refused": ends(framed(b"{}", b"Content-Length:")),
    "a length in other digits is refused": ends(framed(b"{}", "Content-Length: ٢".encode())),
    "a length beyond any number is refused": ends(framed(b"{}", b"Content-Length: " + b"9" * 30)),
    "a length beyond the limit is refused before anything of it comes": Case(
        (framed(b"", b"Content-Length: 100001", b"Connection: close"),), (413,)
    ),
    "a length of a quintillion is refused before anything of it comes": Case(
        (framed(b"", b"Content-Length: 1000000000000000000", b"Connection: close"),), (413,)
    ),
    "a body beyond the limit is refused and read over": goes_on(post(b"x" * (BODY_LIMIT + 1)), status=413),
    "a body of the limit is not beyond it": accepted(post(b'"' + b"x" * (BODY_LIMIT - 2) + b'"')),
    "a body that ends too early is no webhook": Case(
        (framed(b'{"a": 1}', b"Content-Length: 99"),), (), half_close=True
    ),
    "no length is no body": goes_on(framed(b""), status=400),
    "a length of nothing is no body": goes_on(framed(b"", b"Content-Length: 0"), status=400),
    "what stands behind a body is no part of it": Case(
        (post(b"{}") + b"garbage\r\n\r\n" + GOOD,), (202, 400)
    ),
    "a sender that says no more after its webhook is answered": Case((GOOD,), (202,), half_close=True),
    "whoever expects a refusal need not send the body": Case(
        (framed(b"", b"Content-Length: 100001", b"Expect: 100-continue"), GOOD), (413,)
    ),
}

SMUGGLED = {
    "a length beside chunks is refused": ends(
        framed(b"0\r\n\r\n" + PROBE, b"Content-Length: 6", b"Transfer-Encoding: chunked")
    ),
    "chunks beside a length are refused": ends(
        framed(b"0\r\n\r\n" + PROBE, b"Transfer-Encoding: chunked", b"Content-Length: 6")
    ),
    "chunked twice is refused": ends(chunked(CHUNKS, b"Transfer-Encoding: chunked")),
    "chunked twice in one header is refused": ends(framed(CHUNKS, b"Transfer-Encoding: chunked, chunked")),
    "chunked in HTTP/1.0 is refused": ends(framed(CHUNKS, b"Transfer-Encoding: chunked", version=b"1.0")),
    "a coding before chunked is refused": ends(
        framed(CHUNKS, b"Transfer-Encoding: gzip, chunked"), status=501
    ),
    "a coding in a header of its own before chunked is refused": ends(
        framed(CHUNKS, b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), status=501
    ),
    "a coding behind chunked is refused": ends(framed(CHUNKS, b"Transfer-Encoding: chunked, identity")),
    "a coding that only looks like chunked is refused": ends(
        framed(CHUNKS, b"Transfer-Encoding: xchunked"), status=501
    ),
    "chunked with a parameter is refused": ends(
        framed(CHUNKS, b"Transfer-Encoding: chunked;q=1"), status=501
    ),
    "chunked in quotes is refused": ends(framed(CHUNKS, b'Transfer-Encoding: "chunked"'), status=501),
    "chunked behind a comma is refused": ends(framed(CHUNKS, b"Transfer-Encoding: ,chunked"), status=501),
    "chunked behind a vertical tab is refused": ends(framed(CHUNKS, b"Transfer-Encoding: \x0bchunked")),
    "a space before the colon hides no chunks": ends(framed(CHUNKS, b"Transfer-Encoding : chunked")),
    "a name with an underscore is another name": accepted(post(b"{}", b"Transfer_Encoding: chunked")),
    "a body that looks like a request is a body": goes_on(post(GOOD), status=400),
    "a body of a GET that looks like a request is a body": goes_on(
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(GOOD), GOOD), status=200
    ),
    "the body of a request that offers HTTP/2 is its body": Case(
        (
            post(GOOD, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
            GOOD,
        ),
        (400,),
    ),
    "the body of a request that offers HTTP/2 is taken": Case(
        (post(b"{}", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),),
        (202,),
    ),
    "chunks of a request that offers HTTP/2 are taken": Case(
        (chunked(CHUNKS, b"Connection: Upgrade", b"Upgrade: h2c"), GOOD), (202,)
    ),
    "a body that comes after the offer of a WebSocket is its body": Case(
        (framed(b"", b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: %d" % len(GOOD)), GOOD),
        (400,),
    ),
    "an offer of a WebSocket without a body is ignored": Case(
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + GOOD,),
        (200, 202),
        closes=False,
    ),
    "nothing behind a last request is answered": Case(
        (post(b"{}", b"Connection: close") + GOOD, GOOD), (202,)
    ),
    "nothing behind a request of HTTP/1.0 is answered": Case(
        (framed(b"{}", b"Content-Length: 2", version=b"1.0") + GOOD, GOOD), (202,)
    ),
    "requests that come together are answered one by one": Case(
        (GOOD + PROBE + GOOD,), (202, 200, 202), closes=False
    ),
    "what was asked before a refused request is answered first": Case(
        (GOOD + PROBE + b"\x00" + GOOD,), (202, 200, 400)
    ),
    "more requests at once than may wait are not answered": Case((PROBE * 100,), (200,) * 17),
}

CHUNKED = {
    "chunks are a body": accepted(chunked(CHUNKS)),
    "chunks of one byte are a body": accepted(
        chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"a": "' + b"x" * 500 + b'"}') + b"0\r\n\r\n")
    ),
    "a size with zeros before it is a size": accepted(chunked(b"0000000002\r\n{}\r\n0\r\n\r\n")),
    "an extension of a chunk is ignored": accepted(chunked(b'2;name="value"\r\n{}\r\n0\r\n\r\n')),
    "a size in C's notation is refused": with_chunks(b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a size with a sign is refused": with_chunks(b"+2\r\n{}\r\n0\r\n\r\n"),
    "a size below nothing is refused": with_chunks(b"-2\r\n{}\r\n0\r\n\r\n"),
    "a size with a space before it is refused": with_chunks(b" 2\r\n{}\r\n0\r\n\r\n"),
    "a size with a space behind it is refused": with_chunks(b"2 \r\n{}\r\n0\r\n\r\n"),
    "a size that ends in a line feed alone is refused": with_chunks(b"2\n{}\r\n0\r\n\r\n"),
    "a size that is no number is refused": with_chunks(b"two\r\n{}\r\n0\r\n\r\n"),
    "a chunk without a size is refused": with_chunks(b"\r\n{}\r\n0\r\n\r\n"),
    "a size beyond any number is refused": with_chunks(b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n"),
    "a chunk that is longer than its size is refused": with_chunks(b"1\r\n{}\r\n0\r\n\r\n"),
    "a chunk without its end is refused": with_chunks(b"2\r\n{}0\r\n\r\n"),
    "a NUL in an extension is refused": with_chunks(b"2;\x00\r\n{}\r\n0\r\n\r\n"),
    "a line feed in an extension hides no chunk": with_chunks(b"2;a\nb\r\n{}\r\n0\r\n\r\n"),
    "a carriage return in an extension hides no chunk": with_chunks(b"2;a\rb\r\n{}\r\n0\r\n\r\n"),
    "an extension of a megabyte is refused": Case((chunked(b"1;"), b"x" * 1_000_000), (400,)),
    "chunks that are mostly extensions are refused": Case(
        (chunked(b""), *[b"1;%s\r\n \r\n" % (b"x" * 200) * 100] * 20), (400,)
    ),
    "trailers are not headers": goes_on(
        chunked(b"2\r\n{}\r\n0\r\nX-Correlation-ID: from-a-trailer\r\nIdempotency-Key: a\r\n\r\n"), status=202
    ),
    "a length among the trailers is refused": with_chunks(b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "a coding among the trailers is refused": with_chunks(
        b"2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
    "a folded trailer is refused": with_chunks(b"2\r\n{}\r\n0\r\n X: 1\r\n\r\n"),
    "trailers without an end are refused": Case(
        (chunked(b"2\r\n{}\r\n0\r\n"), *[b"X-A: 1\r\n" * 1_000] * 20), (400,)
    ),
    "chunks beyond the limit are refused while they come": Case(
        (chunked(b"", b"Connection: close"), *[b"%x\r\n%s\r\n" % (BODY_LIMIT, b"x" * BODY_LIMIT)] * 3), (413,)
    ),
    "one chunk beyond the limit is refused while it comes": Case(
        (chunked(b"fffffffff\r\n", b"Connection: close"), *[b"x" * BODY_LIMIT] * 3), (413,)
    ),
}

ENCODINGS = {
    "a compressed body is refused": goes_on(
        post(gzip.compress(b"{}"), b"Content-Encoding: gzip"), status=415, **{"accept-encoding": "identity"}
    ),
    "a bomb is never inflated": goes_on(
        post(gzip.compress(b"0" * 10_000_000), b"Content-Encoding: gzip"), status=415
    ),
    "deflate is refused": goes_on(post(b"{}", b"Content-Encoding: deflate"), status=415),
    "brotli is refused": goes_on(post(b"{}", b"Content-Encoding: br"), status=415),
    "a chain of encodings is refused": goes_on(post(b"{}", b"Content-Encoding: identity, gzip"), status=415),
    "the encoding that is none is taken": accepted(post(b"{}", b"Content-Encoding: identity")),
}

BODIES = {
    "a name twice is refused": with_body(b'{"a": 1, "a": 2}'),
    "a name twice deep inside is refused": with_body(b'[{"b": [{"a": {"c": 1, "d": 2, "c": 3}}]}]'),
    "a name twice in two spellings is refused": with_body(b'{"a": 1, "\\u0061": 2}'),
    "a name twice with spaces about it is refused": with_body(b'{"a"\n: 1, "a"\t : 2}'),
    "a name twice that a text makes up for is refused": with_body(b'{"a": 1, "a": "x\\":", "b": {}}'),
    "a prototype's name twice is refused": with_body(b'{"__proto__": 1, "__proto__": 2}'),
    "NaN is no number": with_body(b'{"a": NaN}'),
    "Infinity is no number": with_body(b'{"a": Infinity}'),
    "minus Infinity is no number": with_body(b'{"a": -Infinity}'),
    "a number beyond a double is refused": with_body(b"[1e999]"),
    "five thousand digits are refused": with_body(b"9" * 5_000),
    "a number with a zero before it is refused": with_body(b"[007]"),
    "a number in hexadecimal is refused": with_body(b"[0x7]"),
    "a number with a plus is refused": with_body(b"[+7]"),
    "a hundred and one levels are refused": with_body(b"[" * 101 + b"]" * 101),
    "fifty thousand levels are refused": with_body(b"[" * 50_000 + b"]" * 50_000),
    "fifty thousand open levels are refused": with_body(b'{"a":' * 10_000),
    "half a surrogate is refused": with_body(b'"\\ud800"'),
    "surrogates the wrong way round are refused": with_body(b'"\\udc00\\ud800"'),
    "a byte that is no UTF-8 is refused": with_body(b'"\xff"'),
    "an overlong byte sequence is refused": with_body(b'"\xc0\xaf"'),
    "a surrogate in UTF-8 is refused": with_body(b'"\xed\xa0\x80"'),
    "a letter beyond Unicode is refused": with_body(b'"\xf4\x90\x80\x80"'),
    "a letter that is cut off is refused": with_body(b'"\xe2\x82'),
    "a byte order mark is refused": with_body(b"\xef\xbb\xbf{}"),
    "UTF-16 is refused": with_body('{"a": 1}'.encode("utf-16")),
    "Latin-1 is refused": with_body('"größe"'.encode("latin-1")),
    "a control character in a text is refused": with_body(b'"a\x00b"'),
    "a line break in a text is refused": with_body(b'"a\nb"'),
    "an escape that JSON has not is refused": with_body(b'"\\x41"'),
    "a text without an end is refused": with_body(b'"abc'),
    "a comma too many is refused": with_body(b"[1,]"),
    "a comment is refused": with_body(b"{} // done"),
    "single quotes are refused": with_body(b"{'a': 1}"),
    "a name without quotes is refused": with_body(b"{a: 1}"),
    "two documents are refused": with_body(b"{} {}"),
    "a NUL behind the document is refused": with_body(b"{}\x00"),
    "a form is no JSON": goes_on(
        post(b"a=1&b=2", b"Content-Type: application/x-www-form-urlencoded"), status=400
    ),
    "spaces are no document": with_body(b" \r\n\t "),
    "an address with a colon in it is no name": accepted(
        post(b'{"a": "https://x/\\":y", "b": {"a": "\\u003a"}}')
    ),
}

SLOW = {
    "a head that does not come is cut": Case((b"POST /webhooks/orders HTTP/1.1\r\nHost: x\r\n",), (408,)),
    "a head that comes byte by byte is cut": Case(tuple(b"%c" % byte for byte in GOOD), (408,)),
    "empty lines that come one by one are cut": Case((b"\r\n",) * 40, (408,)),
    "a body that does not come is cut": Case((framed(b"{", b"Content-Length: 50000"),), (408,)),
    "a body that comes byte by byte is cut": Case(
        (framed(b"", b"Content-Length: 50000"), *[b" "] * 40), (408,)
    ),
    "chunks that come one by one are cut": Case((chunked(b""), *[b"1\r\n \r\n"] * 40), (408,)),
    "an extension that comes byte by byte is cut": Case((chunked(b"1;"), *[b"x"] * 40), (408,)),
    "chunks without an end are cut": Case((chunked(b"2\r\n{}\r\n"),), (408,)),
    "a body that was asked for and does not come is cut": Case(
        (framed(b"", b"Content-Length: 2", b"Expect: 100-continue"),), (100, 408)
    ),
    "a second request that does not come is cut after the first is answered": Case(
        (GOOD + b"POST /",), (202, 408)
    ),
    "a body that is refused and does not end is cut without another answer": Case(
        (framed(b"", b"Content-Length: 100001"),), (413,)
    ),
    "a connection on which nothing was ever sent is closed without a word": Case((), ()),
    "a connection that waits too long for its next request is closed without a word": Case((GOOD,), (202,)),
}
"""Each takes as long as the replica allows; the pieces are sent a tenth of a second after each other."""
