"""Content-Encoding: a webhook is taken as it was sent or not at all.

What lies in the log is what was signed, byte for byte, and every reader of the log can read it; nothing here ever
inflates, so there is no bomb to be afraid of. RFC 7694 has the answer for the senders that compress: 415, and
`Accept-Encoding` with what would be taken.
"""

from __future__ import annotations

from collections.abc import Mapping

from sagahook_ingest.domain.refusals import Refusal

CONTENT_ENCODING = b"content-encoding"
ACCEPTED = {"Accept-Encoding": "identity"}


def refuse_encoded(headers: Mapping[bytes, bytes]) -> None:
    """headers: by lower-case name. Raises Refusal for every coding but identity, also one named twice."""
    given = headers.get(CONTENT_ENCODING)
    if given is not None and given.strip().lower() not in (b"", b"identity"):
        raise Refusal(
            415,
            f"The body is sent with Content-Encoding {given[:40].decode('latin-1')!r}: send it as it is, without one",
            ACCEPTED,
        )
