"""An order that has completed."""

from tests.docs.stack import ReadersStack, placed_order


def set_out(stack: ReadersStack) -> dict[str, str]:
    return {"tail ID": f"tail {placed_order(stack, 'timeline')[0]}"}
