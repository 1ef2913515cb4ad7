"""What a container registry says a tag is today (the OCI distribution specification, and its token authentication)."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass
from email.message import Message
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""The indexes first: their digest stands for all platforms."""

_HUB = "registry-1.docker.io"
_SECONDS = 30.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class NoAnswer(Exception):
    """The registry is away, refuses, or does not know the tag. Try again, or look at the reference."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`python:3.11-slim`, `apache/kafka:4.3.1`, `ghcr.io/owner/name:tag`."""

    host: str
    repository: str
    tag: str

    @staticmethod
    def of(written: str) -> Reference:
        """Raises ValueError where it has no tag."""
        name, colon, tag = written.rpartition(":")
        if not colon or "/" in tag:
            raise ValueError(f"{written} has no tag: say which one is meant")
        first, slash, rest = name.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            return Reference(first, rest, tag)
        return Reference(_HUB, name if slash else f"library/{name}", tag)

    @property
    def url(self) -> str:
        here = self.host.partition(":")[0] in ("localhost", "127.0.0.1")
        return f"{'http' if here else 'https'}://{self.host}/v2/{self.repository}/manifests/{self.tag}"


def current_digest(reference: Reference) -> str:
    """`sha256:…` of the index that the tag names. Raises NoAnswer."""
    try:
        digest = _head(reference.url, _token(reference.url))["Docker-Content-Digest"]
    except (HTTPError, URLError, TimeoutError, ValueError) as wrong:
        raise NoAnswer(
            f"{reference.host} does not say what {reference.repository}:{reference.tag} is: {wrong}"
        ) from wrong
    if not _DIGEST.match(digest or ""):
        raise NoAnswer(f"{reference.host} gave no digest for {reference.repository}:{reference.tag}")
    return digest


def _token(url: str) -> str | None:
    """What the registry's own authority gives anybody who may read; None where none is asked for."""
    try:
        _head(url, None)
    except HTTPError as refused:
        if refused.code != 401:
            raise
        challenge = refused.headers["WWW-Authenticate"] or ""
    else:
        return None
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer ") or not asked.get("realm", "").startswith(
        ("https://", "http://127.0.0.1")
    ):
        raise ValueError("it asks for credentials")
    query = urlencode({name: asked[name] for name in ("service", "scope") if name in asked})
    with urllib.request.urlopen(f"{asked['realm']}?{query}", timeout=_SECONDS) as answer:  # noqa: S310  # https alone, see above
        said = json.load(answer)
    token: str = said.get("token") or said["access_token"]
    return token


def _head(url: str, token: str | None) -> Message:
    headers = {"Accept": ", ".join(_TYPES)} | ({"Authorization": f"Bearer {token}"} if token else {})
    asking = urllib.request.Request(url, method="HEAD", headers=headers)  # noqa: S310  # Reference.url: https, or this machine
    with urllib.request.urlopen(asking, timeout=_SECONDS) as answer:  # noqa: S310
        heard: Message = answer.headers
        return heard
