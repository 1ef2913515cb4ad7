"""An environment that has what the app installs, a free port for its shop, and what `make send` printed."""

import re

from tests.docs.terminal import Terminal

SHOWN = {
    "sagahook init parcel-desk": (
        "sagahook init parcel-desk\n"
        "sed -i s/809[0]/8090/ parcel-desk/dev/shop.py parcel-desk/parcel_desk/sagas.py\n"
        "export VENV=$PWD/.venv; touch .venv/.ready"
    )
}
ENVIRONMENT = {"PYTEST_ADDOPTS": "--disable-plugin-autoload -p pytest_asyncio.plugin"}
"""Of what this environment has of pytest's plugins only the one that the app asks for."""


def _sent(terminal: Terminal) -> str:
    [correlation] = re.findall(r"correlation (\S+)", terminal.printed)
    return str(correlation)


FOUND = {"CORRELATION_ID": _sent}
