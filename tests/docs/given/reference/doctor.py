"""Two things that are wrong with the stack, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.docs.stack import ReadersStack, beside, sent


@contextmanager
def set_out(stack: ReadersStack) -> Iterator[dict[str, str]]:
    sent(stack, "parcels", {"id": "doctor"}).ended()
    kafka = stack.description["kafka"]
    shorten = (
        f"--bootstrap-server {kafka} --topic sagahook.saga.events --alter --add-config retention.ms=604800000"
    )
    code, said = stack.terminal.shell(f"sagahook kafka configs {shorten}")
    assert code == 0, said
    try:
        yield {"127.0.0.1:31814": kafka, "1 left": "… left", "2026-11-27 13:01:39": "…", "5689": "…"}
    finally:
        stack.terminal.shell(f"{beside(stack)} sagahook topics apply")
