"""The jars of Apache Kafka: fetched once, checked, kept in the cache."""

import asyncio
import hashlib
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from sagahook.embedded.errors import StackError
from sagahook.embedded.paths import held

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION = "4.3.1"
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Jar:
    """One pinned file: dependencies can never resolve to something that was not tested."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def pinned_jars() -> list[Jar]:
    lines = files("sagahook.embedded").joinpath("kafka-jars.txt").read_text().splitlines()
    return [_pinned(*line.split()) for line in lines if not line.startswith("#")]


def _pinned(coordinate: str, sha256: str) -> Jar:
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256)


async def kafka_jars(cache: Path) -> tuple[Path, ...]:
    """The class path, downloaded when it is not in the cache; says on stderr what it fetches.

    Raises StackError when a file cannot be had; those already fetched are kept for the next attempt.
    """
    home = cache / f"kafka-{KAFKA_VERSION}"
    jars = pinned_jars()
    paths = tuple(home / "lib" / jar.filename for jar in jars)
    if not all(path.exists() for path in paths):
        async with held(cache / "download.lock"):  # a second stack waits here, and then finds them
            if not all(path.exists() for path in paths):
                given_up = threading.Event()
                try:
                    await asyncio.to_thread(_fetch_all, jars, home / "lib", cache / "download", given_up)
                finally:
                    given_up.set()  # a thread cannot be cancelled: it looks here before each file
    return paths


def _fetch_all(jars: list[Jar], target: Path, staging: Path, given_up: threading.Event) -> None:
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    context = MavenContext(
        repo_cache=staging,
        # Someone behind a mirror names it where jgo itself looks for one.
        remote_repos=GlobalSettings.load().repositories or None,
        timeout=_TIMEOUT_SECONDS,
    )
    target.mkdir(parents=True, exist_ok=True)
    progress = _Progress(f"Fetching Apache Kafka {KAFKA_VERSION} (once)", len(jars))
    with ThreadPoolExecutor(4) as pool:
        fetched = [pool.submit(_fetch, jar, context, target, given_up) for jar in jars]
        try:
            for done in as_completed(fetched):
                progress.add(done.result())
        except BaseException:
            progress.end("failed")
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    progress.end("done")
    shutil.rmtree(staging)


def _fetch(jar: Jar, context: "MavenContext", target: Path, given_up: threading.Event) -> int:
    """Puts one verified jar into place, or raises StackError. Returns its size in bytes."""
    final = target / jar.filename
    if final.exists():
        return final.stat().st_size
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for attempt in range(1, _ATTEMPTS + 1):
        if given_up.is_set():
            raise _not_fetched(jar, "interrupted")
        try:
            path = artifact.resolve()
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            if attempt == _ATTEMPTS:
                raise _not_fetched(jar, str(error)) from error
            time.sleep(attempt)
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
            size = path.stat().st_size
            path.replace(final)
            return size
        path.unlink()  # a download that was cut off, or not the file that was pinned
    raise _not_fetched(jar, "its SHA-256 is not the pinned one")


def _not_fetched(jar: Jar, reason: str) -> StackError:
    return StackError(
        f"Could not download {jar.coordinate}: {reason}\n"
        "Check this machine's network (behind a proxy set HTTPS_PROXY; behind a mirror name it under "
        "[repositories] in ~/.config/jgo.conf) and run the same command again: files that arrived are kept."
    )


class _Progress:
    """Files and megabytes so far: one line rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._files = self._bytes = 0
        self._lock = threading.Lock()
        self._started = self._said = time.monotonic()
        self._print("")

    def add(self, size: int) -> None:
        with self._lock:
            self._files += 1
            self._bytes += size
            if sys.stderr.isatty() or time.monotonic() - self._said > 5:
                self._said = time.monotonic()
                self._print("")

    def end(self, how: str) -> None:
        self._print(f", {how} in {time.monotonic() - self._started:.0f} s", last=True)

    def _print(self, suffix: str, last: bool = False) -> None:
        text = f"{self._title}: {self._files} of {self._total} files, {self._bytes / 1e6:.0f} MB{suffix}"
        end = "\n" if last else ""
        sys.stderr.write(f"\r{text}\x1b[K{end}" if sys.stderr.isatty() else f"{text}\n")
        sys.stderr.flush()
