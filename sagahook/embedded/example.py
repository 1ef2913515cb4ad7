"""What an example is: where it plays, and what is to be seen there. `sagahook examples run NAME` plays it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sagahook.embedded.ports import HeldPort, hold_port

if TYPE_CHECKING:
    from sagahook.embedded.scenes import Scene


class Place:
    """The folder of one run of an example, the ports of its servers, each held for the server of that name, and a
    secret (`whsec_…`) for whatever of it needs one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        self._ports: dict[str, HeldPort] = {}

    def port(self, server: str) -> int:
        """The same for each call with the same name."""
        if server not in self._ports:
            self._ports[server] = hold_port()
        return self._ports[server].number

    def url(self, server: str) -> str:
        return f"http://127.0.0.1:{self.port(server)}"

    def urls(self) -> dict[str, str]:
        """Of every server that was asked for so far, by its name."""
        return {server: self.url(server) for server in self._ports}

    def release(self) -> None:
        for port in self._ports.values():
            port.release()


@dataclass(frozen=True)
class Server:
    """`python -m module arguments…`, which works once a GET of `ready` at Place.url(name) answers 200.

    after_stack: it needs the running stack, and is told of it: `SAGAHOOK_URL`, `SAGAHOOK_KEY` (an operator's),
    `SAGAHOOK_ADMIN_KEY`, `SAGAHOOK_KAFKA`, `SAGAHOOK_TOPIC_PREFIX`, `SAGAHOOK_APP` and `DATABASE_URL`.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/"
    after_stack: bool = False


@dataclass(frozen=True)
class Stage:
    """What an example plays on. app: the module with its sagas. settings: the environment of the stack's services."""

    app: str
    servers: tuple[Server, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """about: a sentence or two, for whoever watches. stage: what it plays on; starts nothing.

    poke: what to try by hand while `--keep` leaves it running, with `{api}`, `{reader}`, `{operator}` and `{admin}`
    (keys), `{secret}`, `{app}` and each server's name as gaps.
    """

    about: str
    stage: Callable[[Place], Stage]
    scenes: tuple[Scene, ...]
    poke: str = ""
