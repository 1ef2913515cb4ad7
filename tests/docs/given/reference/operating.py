"""An operator's key."""

from tests.docs.stack import ReadersStack


def set_out(stack: ReadersStack) -> dict[str, str]:
    return {"$KEY": stack.description["keys"]["operator"]}
