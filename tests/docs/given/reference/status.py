"""Where the API is, and a reader's key."""

from tests.docs.stack import ReadersStack


def set_out(stack: ReadersStack) -> dict[str, str]:
    return {"$API": stack.description["api"], "$KEY": stack.description["keys"]["reader"]}
