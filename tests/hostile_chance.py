"""Requests that chance has spoiled, and what another parser makes of them."""

from __future__ import annotations

import random

import h11

from tests.hostile_case import CHUNKS, GOOD, chunked, framed, post

_ALPHABET = [bytes([byte]) for byte in b"\r\n\t\0 :;,-+_0123456789abcdefxGPT/%#\x7f\xff"]
_LINES = (
    b"Content-Length: 8",
    b"Content-Length: 0",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Connection: close",
    b"Host: y",
    b"Expect: 100-continue",
    b" folded",
)
_SEEDS = (
    GOOD,
    post(b'{"a": "longer than the other"}', b"Content-Type: application/json"),
    chunked(CHUNKS),
    chunked(b'4\r\n{"a"\r\n4;x=y\r\n: 1}\r\n0\r\nX-T: 1\r\n\r\n'),
    framed(b"{}", b"Content-Length: 2", version=b"1.0"),
)


def spoiled(dice: random.Random) -> bytes:
    """Two or three requests in a row of which some bytes or lines are not as they were."""
    text = b"".join(dice.choices(_SEEDS, k=dice.randint(2, 3)))
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(text))
        match dice.randrange(5):
            case 0:
                text = text[:at] + text[at + 1 :]
            case 1:
                text = text[:at] + dice.choice(_ALPHABET) + text[at:]
            case 2:
                text = text[:at] + dice.choice(_ALPHABET) + text[at + 1 :]
            case 3:
                lines = text.split(b"\r\n")
                lines.insert(dice.randrange(len(lines)), dice.choice(_LINES))
                text = b"\r\n".join(lines)
            case 4:
                lines = text.split(b"\r\n")
                del lines[dice.randrange(len(lines))]
                text = b"\r\n".join(lines)
    return text


def requests_in(text: bytes) -> int:
    """How many whole requests h11 finds before it refuses what comes."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(text)
    parser.receive_data(b"")
    found = 0
    try:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return found
            if isinstance(event, h11.EndOfMessage):
                found += 1
                parser.send(h11.Response(status_code=202, headers=[("content-length", "0")]))
                parser.send(h11.EndOfMessage())
                parser.start_next_cycle()
    except h11.ProtocolError:
        return found
