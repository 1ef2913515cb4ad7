"""A log of its own on the stack's Kafka, which no runner reads."""

from tests.docs.stack import ReadersStack


def set_out(stack: ReadersStack) -> dict[str, str]:
    kafka = stack.description["kafka"]
    return {
        "sagahook topics apply": (
            f"export SAGAHOOK_KAFKA={kafka} SAGAHOOK_TOPIC_PREFIX=recovered\nsagahook topics apply"
        ),
        "sagahook-r": "recovered-r",
        "sagahook.": "recovered.",
    }
