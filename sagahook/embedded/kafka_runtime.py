"""How to start Kafka's programs: a Java, their class path, and two files made once for that pair."""

import os
from dataclasses import dataclass
from pathlib import Path

from sagahook.embedded.java import Java
from sagahook.embedded.process import Command


@dataclass(frozen=True)
class KafkaRuntime:
    """`home` holds the two files; kafka_prepare makes them."""

    java: Java
    jars: tuple[Path, ...]
    home: Path

    @property
    def checkpoint(self) -> Path:
        """The feature levels of a new cluster, as Kafka's own `format` command writes them."""
        return self.home / "bootstrap.checkpoint"

    @property
    def archive(self) -> Path:
        """The classes that a broker loads, parsed and linked: starts it in half the time. May be absent."""
        return self.home / "broker.archive"

    def archive_flags(self) -> tuple[str, ...]:
        return self.java.use_archive(self.archive) if self.archive.exists() else ()

    def command(
        self, main: str, *arguments: str, heap_mb: int, log: Path, flags: tuple[str, ...] = ()
    ) -> Command:
        return Command(
            argv=(
                str(self.java.command),
                f"-Xmx{heap_mb}m",
                *self.java.flags,
                "-Djava.awt.headless=true",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
                *flags,
                "-cp",
                os.pathsep.join(map(str, self.jars)),
                main,
                *arguments,
            ),
            log=log,
            # glibc keeps an arena for each thread otherwise, which costs a JVM some 50 MB.
            env={**os.environ, "MALLOC_ARENA_MAX": "2"},
        )
