"""A saga whose compensation failed for good."""

from tests.docs.stack import ReadersStack, sent


def set_out(stack: ReadersStack) -> dict[str, str]:
    return {"resolve ID": f"resolve {sent(stack, 'parcels', {'id': 'compensate'}).ended()}"}
