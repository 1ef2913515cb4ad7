"""Apache Kafka on this machine: one real broker, which is its own controller."""

import asyncio
import base64
import shutil
import struct
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from sagahook.embedded.kafka_runtime import KafkaRuntime
from sagahook.embedded.ports import HeldPort, hold_port
from sagahook.embedded.process import Child

_CLIENTS, _CONTROLLER = "CLIENTS", "CONTROLLER"

START_SECONDS = 60
STOP_SECONDS = 10
MAX_MESSAGE_BYTES = 26 * 1024 * 1024  # the largest webhook body that GitHub sends, and its envelope

_CORRELATION_ID = struct.pack(">i", 7)
_API_VERSIONS = struct.pack(
    ">ihh4sh", 10, 18, 0, _CORRELATION_ID, -1
)  # size, API key, version, id, no client

# One broker, so one replica of everything. The internal topics are small because each of their partitions
# costs files and start-up time; the group session time-out may be low because tests wait for it to pass. The
# controller refuses a broker that was killed until the session of its earlier life has timed out (9 s by default).
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={listeners}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENTS
controller.listener.names=CONTROLLER
log.dirs={logs}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
message.max.bytes={max_message_bytes}
replica.fetch.max.bytes={max_message_bytes}
num.network.threads=1
num.io.threads=2
log.cleaner.dedupe.buffer.size=8388608
metric.reporters=
"""


class EmbeddedKafka:
    """A broker on 127.0.0.1 with its data under `data`, which a later broker can go on with.

    After it died, `start()` brings it back on the same port. `flags` are the JVM's; by default those that
    make it start quickly. `listeners`: more of them, by name, with their protocol (`{"SECURE": "SASL_SSL"}`), and
    `properties` what the broker is told of them.
    """

    def __init__(
        self,
        data: Path,
        runtime: KafkaRuntime,
        *,
        log: Path | None = None,
        heap_mb: int = 256,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        flags: tuple[str, ...] | None = None,
        listeners: Mapping[str, str] = MappingProxyType({}),
        properties: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._data = data
        self._runtime = runtime
        self._log = log or data / "kafka.log"
        self._heap_mb = heap_mb
        self._max_message_bytes = max_message_bytes
        self._flags = runtime.archive_flags() if flags is None else flags
        self._protocols = {_CLIENTS: "PLAINTEXT", **listeners}
        self._properties = properties
        self._ports: dict[str, HeldPort] = {}
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port`, known once start() has chosen it."""
        return self.listener(_CLIENTS)

    def listener(self, name: str) -> str:
        """The same of another listener."""
        return f"127.0.0.1:{self._ports[name].number if self._ports else None}"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.exit_code is None else None

    async def start(self) -> None:
        """Returns when the broker answers. Raises StackError with the end of its log when it does not."""
        format_storage(self._data / "logs", self._runtime.checkpoint)
        self._ports = self._ports or {name: hold_port() for name in (*self._protocols, _CONTROLLER)}
        await self._run({name: port.number for name, port in self._ports.items()})

    async def wait(self) -> int | None:
        """Returns the exit code when the broker ends."""
        return await self._child.wait() if self._child else None

    async def stop(self, grace: float = STOP_SECONDS) -> None:
        if self._child:
            await self._child.stop(grace)

    async def _run(self, ports: dict[str, int]) -> None:
        properties = self._data / "server.properties"
        controller_port = ports.pop(_CONTROLLER)
        listeners = {name: (self._protocols[name], port) for name, port in ports.items()}
        write_properties(
            properties,
            self._data / "logs",
            listeners,
            controller_port,
            self._max_message_bytes,
            self._properties,
        )
        self._child = await Child.spawn(
            self._runtime.command(
                "kafka.Kafka", str(properties), heap_mb=self._heap_mb, log=self._log, flags=self._flags
            )
        )
        await self._child.until(partial(_answers, ports[_CLIENTS]), name="Kafka", seconds=START_SECONDS)


def write_properties(
    path: Path,
    logs: Path,
    listeners: Mapping[str, tuple[str, int]],
    controller_port: int,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    more: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """listeners: protocol and port by name. Readable by its owner alone: there may be passwords among `more`."""
    path.touch(mode=0o600)
    path.write_text(
        _PROPERTIES.format(
            logs=logs,
            listeners=",".join(f"{name}://127.0.0.1:{port}" for name, (_, port) in listeners.items()),
            protocols=",".join(f"{name}:{protocol}" for name, (protocol, _) in listeners.items()),
            controller_port=controller_port,
            max_message_bytes=max_message_bytes,
        )
        + "".join(f"{name}={value}\n" for name, value in more.items())
    )


def format_storage(logs: Path, checkpoint: Path) -> None:
    """What Kafka's `format` command does to a new data directory, without the second that it takes."""
    if (logs / "meta.properties").exists():
        return
    logs.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(checkpoint, logs / "bootstrap.checkpoint")
    new = logs / "meta.properties.new"
    new.write_text(f"version=1\ncluster.id={new_id()}\ndirectory.id={new_id()}\nnode.id=1\n")
    new.replace(logs / "meta.properties")


def new_id() -> str:
    """An id as Kafka makes them: a UUID in 22 characters of base 64, none of which is a leading dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return text


async def _answers(port: int) -> bool:
    """Whether the broker speaks: it serves requests only once it is registered and unfenced."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(_API_VERSIONS)
        answer = await reader.readexactly(8)  # its size, and our correlation id
    except (OSError, asyncio.IncompleteReadError):
        return False
    else:
        return answer.endswith(_CORRELATION_ID)
    finally:
        writer.close()
