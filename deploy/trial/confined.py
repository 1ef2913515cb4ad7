"""Processes in an image's file system, as a container's are: its user, a read-only root, no capability.

By namespaces of the kernel and util-linux; the network is this machine's, so that Kafka on 127.0.0.1 can be reached.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path

from deploy.trial.images import Image

_CONFINE = """
set -e
mount --make-rprivate /
mount --bind {root} {root}
mount -t proc -o nosuid,nodev,noexec proc {root}/proc
mount --rbind /dev {root}/dev
mount -o remount,bind,ro {root}
exec chroot {root} setpriv --reuid {uid} --regid {gid} --clear-groups --no-new-privs \\
    --inh-caps=-all --bounding-set=-all -- env -i -C {directory} {environment} {command}
"""
"""Nowhere is there a place to write: not even /tmp."""


def confined(image: Image, command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The arguments that run a command in it; the command is process 1 of its own."""
    uid, gid = image.user.split(":")
    settings = image.environment | dict(environment)
    script = _CONFINE.format(
        root=shlex.quote(str(image.root)),
        uid=uid,
        gid=gid,
        directory=image.directory,
        environment=shlex.join(f"{name}={value}" for name, value in settings.items()),
        command=shlex.join(command),
    )
    return ("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-c", script)


async def ask(image: Image, command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[int, str]:
    """Its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *confined(image, command, environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode().strip()


class Service:
    """One process of a service, from its image."""

    def __init__(
        self, image: Image, name: str, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path
    ) -> None:
        self.image, self.name, self.environment, self.log = image, name, environment, log
        self._command = image.entrypoint + (arguments or image.command)

    async def start(self) -> None:
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *confined(self.image, self._command, self.environment), stdout=log, stderr=log
            )

    async def is_healthy(self) -> bool:
        """By the health check that the image declares, run in the image."""
        code, _ = await ask(self.image, self.image.healthcheck, self.environment)
        return code == 0

    async def until_healthy(self, seconds: float) -> None:
        """Raises TimeoutError, or RuntimeError where it ended; its log says why."""
        async with asyncio.timeout(seconds):
            while not await self.is_healthy():
                if self._process.returncode is not None:
                    raise RuntimeError(f"{self.name} ended: see {self.log}")
                await asyncio.sleep(0.5)

    @property
    def pid(self) -> int:
        """Of the service itself, as this machine counts."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return int(children.split()[0])

    def rights(self) -> dict[str, str]:
        """What the kernel says of it: Uid, Gid, CapEff, CapBnd, NoNewPrivs."""
        lines = (line.partition(":") for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        told = {name: value.strip() for name, _, value in lines}
        return {name: told[name] for name in ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs")}

    async def stop(self, seconds: float) -> int:
        """Its exit code after the image's stop signal. Raises TimeoutError."""
        number = signal.Signals[self.image.stop_signal or "SIGTERM"]
        os.kill(self.pid, number)
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()  # and with it, by --kill-child, the service
