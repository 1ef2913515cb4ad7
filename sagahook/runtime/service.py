"""How every process runs: its HTTP face, its loop, and an orderly stop on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, cast

import uvicorn
import uvloop
from starlette.types import ASGIApp

from sagahook.runtime import telemetry
from sagahook.runtime.collector import calm_the_collector
from sagahook.runtime.health import Healthy
from sagahook.runtime.http_guard import HttpGuard
from sagahook.runtime.http_protocol import GuardedHttp, guarded
from sagahook.runtime.logging import get_logger
from sagahook.runtime.settings import ServiceSettings

log = get_logger(__name__)

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""A service's loop. It returns soon after the event is set, having finished what it had accepted."""

_OTHER_FILES = 512
"""What a process may have open besides its HTTP connections: Kafka's, the database's, its modules."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process has one owner of signals, `run_service`."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), backlog=2048, family=family)
    listening.setblocking(False)
    return listening


def http_config(settings: ServiceSettings, app: ASGIApp) -> uvicorn.Config:
    """How `app` is served: guarded (http_protocol), and by what the connection says, not what headers claim:
    uvicorn would believe a forwarded address of any process on this machine."""
    return uvicorn.Config(
        app,
        http=guarded(settings),
        ws="none",
        proxy_headers=False,
        server_header=False,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )


def run_service(
    settings: ServiceSettings, app: ASGIApp, main: Main, health: Healthy, *, delay: float = 0.0
) -> NoReturn:
    """Serve `app` and run `main` until SIGTERM or SIGINT, then let both finish.

    From the signal on `health` says that it is not ready. delay: seconds that everything else goes on as before, until
    whoever sends requests here has heard of that; a second signal ends the wait. A failure of either ends the process
    with exit code 1: its supervisor starts a new one. Never returns.
    """
    code = 0
    try:
        uvloop.run(_run(settings, app, main, health, delay))
    except BaseException:
        log.exception("service.failed")
        code = 1
    telemetry.stop()
    # Not sys.exit: it would wait for the threads of users' code, of which one may never end.
    logging.shutdown()
    os._exit(code)


async def _run(settings: ServiceSettings, app: ASGIApp, main: Main, health: Healthy, delay: float) -> None:
    stopping = asyncio.Event()
    config = http_config(settings, app)
    leave = partial(_leave, stopping, health, cast("type[GuardedHttp]", config.http).guard, delay)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave)
    listening = bind(settings.http_host, settings.http_port)
    allow_files(settings.http_connections * 5 // 4)
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    working = asyncio.create_task(main(stopping), name="main")
    calm_the_collector()
    log.info("service.started", port=listening.getsockname()[1])
    await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
    stopping.set()
    try:
        await working
    finally:
        server.should_exit = True
        await serving
        log.info("service.stopped")


def _leave(stopping: asyncio.Event, health: Healthy, guard: HttpGuard, delay: float) -> None:
    """What a signal asks for."""
    health.stop()
    if not delay or guard.leaving:
        stopping.set()
        return
    guard.leaving = True
    log.info("service.leaving", seconds=delay)

    def left() -> None:
        # Nothing is asked on these, or it is asked too late: a closed connection is better than a refusal.
        guard.part_with_idle()
        stopping.set()

    asyncio.get_running_loop().call_later(delay, left)


def allow_files(connections: int) -> None:
    """As many open files as the connections need, as far as the system lets this process have them."""
    needed = connections + _OTHER_FILES
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (allowed, most) and most < needed:
        log.warning(
            "service.few_files", allowed=most, needed=needed, change="ulimit -n, or SAGAHOOK_HTTP_CONNECTIONS"
        )
        needed = most
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
