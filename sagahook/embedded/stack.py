"""The whole system on one machine: Kafka, PostgreSQL, and the services as processes of their own.

Heavy imports wait until the servers, which take longer, are on their way.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sagahook.embedded import registry
from sagahook.embedded.app_facts import AppFacts, check_app
from sagahook.embedded.errors import StackError
from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.embedded.ports import HeldPort, hold_port, hold_this_port
from sagahook.embedded.postgres import EmbeddedPostgres
from sagahook.embedded.process import Child, Command, last_lines
from sagahook.embedded.services import MIGRATE, RELOADED_KINDS, ROLES, Deployment, service_specs
from sagahook.embedded.supervisor import ServiceProcess, ServiceSpec, Supervisor

USUAL_PORT = 8080


@dataclass(frozen=True)
class StackOptions:
    """What a user of `sagahook dev` can choose.

    port None: 8080 if it is free, else another. partitions None: as many as the data was made with, at first
    one for each runner: with more of them each transaction carries less, and a status comes two to three times later.
    """

    app: str = "sagahook_orders.app"
    data: Path | None = None
    port: int | None = None
    runners: int = 1
    partitions: int | None = None
    prefix: str = "sagahook"
    env: Mapping[str, str] = field(default_factory=dict)
    reload: bool = False


class Stack:
    """Starts everything, keeps it running, and in the end leaves nothing behind.

    `services` are the processes that make it up, `migrate` runs once before them; `say` gets lines for people.
    """

    def __init__(
        self,
        options: StackOptions,
        *,
        say: Callable[[str], None],
        services: Callable[[Deployment], list[ServiceSpec]] = service_specs,
        migrate: tuple[str, ...] = MIGRATE,
    ) -> None:
        self.options = options
        self._say = say
        self._services = services
        self._migrate = migrate
        self._supervisor = Supervisor(say=say, changed=self._describe)
        self._deployment: Deployment | None = None
        self._ready = self._failed = False
        self._reloading: asyncio.Task[None] | None = None
        self.app = AppFacts(Path())
        self.data = _data_directory(options.data)
        self._lock = registry.DataLock(self.data)

    @property
    def logs(self) -> dict[str, Path]:
        """The log of each process by name. Kafka's and PostgreSQL's are among them."""
        return {name: self._log(name) for name in self._supervisor.names()}

    async def start(self) -> dict[str, Any]:
        """Returns description() once every service can work.

        Raises StackError with what went wrong and what to do. Either way stop() must follow.
        """
        try:
            await self._start()
        except StackError:
            self._failed = True
            raise
        return self.description()

    async def stop(self) -> None:
        """Services finish what they have accepted; then Kafka and PostgreSQL end."""
        self._ready = False
        if self._reloading:
            self._reloading.cancel()
        parts = ("kafka", "postgres")
        try:
            await self._supervisor.stop(name for name in self._supervisor.names() if name not in parts)
            await self._supervisor.stop(self._supervisor.names())
        finally:
            self._disclaim()

    def description(self) -> dict[str, Any]:
        """`{ready, api: url, kafka: host:port, postgres: url, keys: {role: key}, pids: {kind: [pid]}}`.

        Only after start(); the pids are those of this moment.
        """
        deployment = self._started()
        return {
            "ready": True,
            "api": f"http://127.0.0.1:{deployment.api_port.number}",
            "kafka": deployment.kafka,
            "postgres": deployment.postgres,
            "keys": dict(deployment.keys),
            "pids": self._supervisor.pids(),
        }

    async def _start(self) -> None:
        self._claim()
        port = _public_port(self.options.port)
        kafka, postgres, self.app = await _together(
            self._start_kafka(), self._start_postgres(), check_app(self.options.app, self.options.env)
        )
        if self.options.reload:
            self._reloading = asyncio.create_task(self._reload_on_change(self.app.directory))
        self._deployment = Deployment(
            kafka=kafka.bootstrap,
            postgres=postgres.url,
            api_port=port,
            keys=_keys(self.data),
            secret_key=_secret_key(self.data),
            app=self.options.app,
            prefix=self.options.prefix,
            runners=self.options.runners,
            env=self.options.env,
        )
        await self._start_services(self._services(self._deployment))
        self._ready = True
        self._describe()

    def _claim(self) -> None:
        registry.running_stacks()  # removes what crashed ones left
        self._lock.acquire()
        registry.register(registry.RunningStack(os.getpid(), self.data, self.options.data is None))

    def _disclaim(self) -> None:
        if not self._lock.is_ours:
            return  # this stack was refused, and the directory is another's
        registry.remove_description(self.data)
        self._lock.release()
        if self._failed:
            return  # the message names a log: the next stack finds our entry, and removes it and what is temporary
        registry.unregister(self.data)
        if self.options.data is None:
            shutil.rmtree(self.data, ignore_errors=True)

    async def _start_kafka(self) -> EmbeddedKafka:
        runtime = await prepare_kafka()
        started = time.monotonic()
        kafka = EmbeddedKafka(self.data / "kafka", runtime, log=self._log("kafka"))
        await self._supervisor.start("kafka", "kafka", kafka)
        self._say(f"Kafka is up after {time.monotonic() - started:.1f} s ({kafka.bootstrap})")
        await self._make_topics(kafka.bootstrap)
        return kafka

    async def _start_postgres(self) -> EmbeddedPostgres:
        started = time.monotonic()
        postgres = EmbeddedPostgres(self.data / "postgres", log=self._log("postgres"))
        await self._supervisor.start("postgres", "postgres", postgres)
        self._say(f"PostgreSQL is up after {time.monotonic() - started:.1f} s")
        await self._run_migrations(postgres.url)
        return postgres

    async def _reload_on_change(self, directory: Path) -> None:
        """Restarts the processes that hold the app's code when it changes, until it is cancelled."""
        from watchfiles import PythonFilter, awatch

        async for _ in awatch(directory, watch_filter=PythonFilter()):
            try:
                await check_app(self.options.app, self.options.env)
            except StackError as error:
                self._say(f"The app has changed, and is not used yet: {error}")
                continue
            self._say("The app has changed: restarting the services that run it")
            await self._supervisor.restart(self._supervisor.names(RELOADED_KINDS))

    async def _make_topics(self, bootstrap: str) -> None:
        from aiokafka.errors import KafkaError

        from sagahook.runtime.topics import TopicsMismatch, TopicsMissing, ensure_topics, partition_count

        prefix, partitions = self.options.prefix, self.options.partitions
        try:
            if partitions is None:
                with contextlib.suppress(TopicsMissing):
                    partitions = await partition_count(bootstrap, prefix)
            await ensure_topics(bootstrap, prefix, partitions or self.options.runners)
        except TopicsMismatch as error:
            raise StackError(f"The topics in {self.data} do not fit --partitions: {error}") from error
        except (KafkaError, TimeoutError) as error:
            log = self._log("kafka")
            raise StackError(
                f"Kafka did not make the topics ({error!r}). See {log}:\n{last_lines(log)}"
            ) from error

    async def _run_migrations(self, database_url: str) -> None:
        log = self._log("migrations")
        child = await Child.spawn(Command(self._migrate, log, {**os.environ, "DATABASE_URL": database_url}))
        try:
            if await child.wait() != 0:
                raise StackError(
                    f"The migrations of the database failed. The end of {log}:\n{last_lines(log)}"
                )
        finally:
            await child.stop(grace=1)

    async def _start_services(self, specs: list[ServiceSpec]) -> None:
        import aiohttp

        from sagahook.embedded.readiness import until_ready, until_wanted

        started = time.monotonic()
        for spec in specs:
            process = ServiceProcess(spec, self._log(spec.name))
            await self._supervisor.start(spec.name, spec.kind, process)
        async with aiohttp.ClientSession() as http:
            await _together(
                *(
                    until_ready(spec, http, self._log(spec.name), partial(self._supervisor.deaths, spec.name))
                    for spec in specs
                )
            )
            if self.app.source is not None and any(spec.kind == "api" for spec in specs):
                await until_wanted(
                    f"http://127.0.0.1:{self._started().api_port.number}", self.app.source, http
                )
        self._say(f"{len(specs)} services are up after {time.monotonic() - started:.1f} s")

    def _describe(self) -> None:
        if self._ready:
            registry.write_description(self.data, self.description())

    def _started(self) -> Deployment:
        if self._deployment is None:
            raise StackError("The stack has not started yet.")
        return self._deployment

    def _log(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"


def _data_directory(chosen: Path | None) -> Path:
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix="sagahook-"))
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen.resolve()


def _public_port(chosen: int | None) -> HeldPort:
    """The chosen port, which must be free; else the usual one, or any other if that is taken."""
    try:
        return hold_this_port(chosen or USUAL_PORT)
    except OSError as error:
        if chosen is None:
            return hold_port()
        raise StackError(
            f"Port {chosen} on 127.0.0.1 cannot be used ({os.strerror(error.errno or 0)}): "
            "choose another with --port."
        ) from error


def _keys(data: Path) -> dict[str, str]:
    """One API key a role, made once for a data directory."""
    return _kept(data / "keys.json", {role: f"{role}-{secrets.token_urlsafe(24)}" for role in ROLES})


def _secret_key(data: Path) -> str:
    """What endpoints' secrets are encrypted by: made once, as the database that holds them."""
    return _kept(data / "secret-key.json", {"secret_key": secrets.token_urlsafe(32)})["secret_key"]


def _kept(path: Path, made: dict[str, str]) -> dict[str, str]:
    if not path.exists():
        registry.write_private(path, made)
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


async def _together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Runs all of it at once; when one fails the others are cancelled, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
