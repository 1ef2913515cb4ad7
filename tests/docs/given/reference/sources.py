"""The file that the page shows lies where its commands look for it."""

from tests.docs.stack import ReadersStack


def set_out(stack: ReadersStack) -> dict[str, str]:
    return {"/etc/sagahook/sources.toml": "sources.toml"}
