"""What is to be erased."""

from tests.docs.stack import ReadersStack, sent


def set_out(stack: ReadersStack) -> dict[str, str]:
    sent(stack, "shop", {"customer": {"id": "4711"}})
    sent(stack, "crm", {"name": "ada"})
    return {}
