"""The elements of a JSON array, byte for byte as they stand in it."""

from __future__ import annotations

import json
import re

# The numbers are not needed, and Python refuses to make integers of many digits.
_SCAN = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
_SPACE = re.compile(r"[ \t\r\n]*")


def elements(body: bytes) -> list[bytes]:
    """body: a JSON array that was parsed strictly before, and is not too deep."""
    text = body.decode()
    found: list[bytes] = []
    at = _after_space(text, _after_space(text, 0) + 1)
    while text[at] != "]":
        _, end = _SCAN(text, at)
        found.append(text[at:end].encode())
        at = _after_space(text, end)
        if text[at] == ",":
            at = _after_space(text, at + 1)
    return found


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
