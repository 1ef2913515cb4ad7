"""Where Kafka is."""

from tests.docs.stack import ReadersStack


def set_out(stack: ReadersStack) -> dict[str, str]:
    return {"kafka:9092": stack.description["kafka"]}
