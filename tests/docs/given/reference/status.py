"""Where the API is, a reader's key, and what has happened before the stream is read, from its beginning."""

from tests.docs.stack import ReadersStack, placed_order

_OF_THAT_MOMENT = (
    *("0:1041,1:977", "0:1042,1:977", "2026-01-01T00:00:04Z", "01a2…", "6f…", "68157441"),
    "\n       ",  # the page's line would be too long
)


def set_out(stack: ReadersStack) -> dict[str, str]:
    placed_order(stack, "status")
    return {
        "$API": stack.description["api"],
        "$KEY": stack.description["keys"]["reader"],
        "task_type=order": "task_type=order&after=0:0",
        **dict.fromkeys(_OF_THAT_MOMENT, "…"),
    }
