"""The `sagahook` command, our services and the servers of web frameworks, forked from a process that has imported them:
what runs is each one's own `main`, in a process of its own with the caller's terminal, folder and environment. An
import takes longer than most commands do."""

import json
import os
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

CLIENT = """\
#!{python} -ISE
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = json.dumps({{"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}}).encode()
socket.send_fds(server, [len(asked).to_bytes(4, "big")], [0, 1, 2])
server.sendall(asked)
pid = int.from_bytes(server.recv(4), "big")
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
sys.exit(server.recv(1)[0])
"""
"""A program in the place of the real one: hands itself on, and ends as what was forked ends."""

PROGRAMS = {
    "sagahook": "sagahook.cli.main:main",
    "sagahook-ingest": "sagahook_ingest.__main__:main",
    "sagahook-runner": "sagahook_runner.__main__:main",
    "sagahook-tracker": "sagahook_tracker.__main__:main",
    "sagahook-notifier": "sagahook_notifier.__main__:main",
    "gunicorn": "gunicorn.app.wsgiapp:run",
    "uvicorn": "uvicorn.main:main",
}
"""As their packages declare them."""

HEAVY = (
    "aiohttp",
    "aiokafka",
    "asyncpg",
    "pydantic",
    "rich.console",
    "sagahook.cli.main",
    "sagahook_ingest.wiring",
    "sagahook_notifier.wiring",
    "sagahook_runner.wiring",
    "sagahook_tracker.wiring",
)


def write_client(path: Path, address: Path) -> None:
    path.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    path.chmod(0o755)


def main(address: str) -> None:
    for module in HEAVY:
        import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print("ready", flush=True)  # noqa: T201  # for whoever started this
        while True:
            caller, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _serve(caller)
            caller.close()


def _serve(caller: socket.socket) -> None:
    """Forks the command, waits for it, and tells its end. Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, terminal, *_ = socket.recv_fds(caller, 4, 3)
    asked = json.loads(caller.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
    if (pid := os.fork()) == 0:
        _become(asked, terminal)
    caller.sendall(pid.to_bytes(4, "big"))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    caller.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _become(asked: dict[str, Any], terminal: list[int]) -> None:
    """Never returns."""
    for number, descriptor in enumerate(terminal):
        os.dup2(descriptor, number)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv[:] = asked["argv"]
    sys.path[0] = os.path.dirname(asked["argv"][0])
    # Whoever has workers of its own would run this module in them first.
    sys.modules["__main__"].__spec__ = None
    del sys.modules["__main__"].__file__
    sys.modules["__main__"].__package__ = ""
    module, _, function = PROGRAMS[os.path.basename(asked["argv"][0])].partition(":")
    code = 1
    try:
        getattr(import_module(module), function)()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
