"""Two sagas that wait, one for each way to answer, and an operator's key."""

from tests.docs.stack import ReadersStack, sent


def set_out(stack: ReadersStack) -> dict[str, str]:
    return {
        "sagas/SAGA_ID:": f"sagas/{sent(stack, 'expenses', {'id': 'E-1'}).started()}:",
        "SAGA_ID": sent(stack, "expenses", {"id": "E-2"}).started(),
        "$KEY": stack.description["keys"]["operator"],
    }
