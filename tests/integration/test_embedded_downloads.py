"""Fetching Kafka when the network, or what it brings, is not as it should be."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sagahook.embedded.downloads import kafka_jars
from sagahook.embedded.errors import StackError
from sagahook.embedded.ports import free_port


class _ForgedJars(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"not the jar that was tested"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def forger() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _ForgedJars)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def use_mirror(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folder / "jgo.conf"
    config.write_text(f"[repositories]\nmirror = {url}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(config))


async def test_a_download_that_fails_says_which_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_mirror(f"http://127.0.0.1:{free_port()}", tmp_path, monkeypatch)
    with pytest.raises(
        StackError, match=r"(?s)Could not download \S+:\S+:\S+: .*refused.*run the same command again"
    ):
        await kafka_jars(tmp_path / "cache")


async def test_a_jar_with_other_content_than_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forger: str
) -> None:
    use_mirror(forger, tmp_path, monkeypatch)
    with pytest.raises(StackError, match="its SHA-256 is not the pinned one"):
        await kafka_jars(tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.jar"))
