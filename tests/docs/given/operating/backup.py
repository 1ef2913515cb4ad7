"""Where the API is, and an admin's key."""

from tests.docs.stack import ReadersStack


def set_out(stack: ReadersStack) -> dict[str, str]:
    return {"$API": stack.description["api"], "$ADMIN_KEY": stack.description["keys"]["admin"]}
