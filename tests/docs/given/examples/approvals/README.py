"""The expense that waits."""

import json

from tests.docs.terminal import Terminal

_ASK = "sagahook sagas list --state EXECUTING --where attribute.manager=grace --json"


def _waiting(terminal: Terminal) -> str:
    while not (found := json.loads(terminal.shell(_ASK)[1])):
        pass
    return str(found[0]["saga_id"])


FOUND = {"SAGA_ID": _waiting}
