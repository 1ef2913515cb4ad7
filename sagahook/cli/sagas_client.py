"""The status and operator routes, as the command line asks them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

_SECONDS = 60.0
"""For each answer: a bulk act may take a while, a wait takes as long as was asked for and a moment."""


class _NoRedirects(HTTPRedirectHandler):
    """The key is for the address that was given, and for no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = build_opener(_NoRedirects)

DEFAULT_URL = "http://127.0.0.1:8080"


class NotDone(Exception):
    """A person has to do something: one line that says what happened and what to do next."""


class NotThere(NotDone):
    """The API knows nothing of that."""


class NotNow(NotDone):
    """The API, or what it needs, is away: asked again, it may answer."""


def address(url: str, key: str | None) -> tuple[str, str | None]:
    """Where nobody says where and by which key: the one `sagahook dev` that this user runs, and its admin's key."""
    if url != DEFAULT_URL or key is not None:
        return url, key
    from sagahook.embedded.errors import StackError
    from sagahook.embedded.registry import find_stack

    try:
        stack = find_stack(None, None)
    except StackError:
        return url, key
    return stack["api"], stack["keys"]["admin"]


class SagasClient:
    """url: where the API is served. key: None where it asks for none. Every method raises NotDone."""

    def __init__(self, url: str, key: str | None) -> None:
        url, key = address(url, key)
        if urlsplit(url).scheme not in ("http", "https"):
            raise NotDone(
                f"{url!r} is no address of an API: give --url http://host:port, or set SAGAHOOK_URL"
            )
        self._url = url.rstrip("/")
        self._key = key

    def get(self, *path: str, **query: Any) -> Any:
        """The parts of the path are escaped."""
        return json.loads(self._ask("GET", _joined(path), query=query))

    def text(self, *path: str, **query: Any) -> str:
        return self._ask("GET", _joined(path), query=query).decode()

    def act(self, path: str, body: Mapping[str, Any]) -> Any:
        """On sagas. path: what follows, escaped already."""
        return self.post(f"/api/v1/sagas{path}", body)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """path: escaped already."""
        return json.loads(self._ask("POST", path, body=body))

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """path: escaped already."""
        return json.loads(self._ask("PATCH", path, body=body))

    def delete(self, path: str) -> None:
        """path: escaped already."""
        self._ask("DELETE", path)

    def _ask(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> bytes:
        given = {name: value for name, value in (query or {}).items() if value not in (None, [], ())}
        url = f"{self._url}{path}{'?' if given else ''}{urlencode(given, doseq=True)}"
        headers = {"Accept": "application/json, text/plain"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data, headers, method=method)  # noqa: S310  # the constructor lets http(s) through alone
        try:
            with _OPENER.open(request, timeout=_SECONDS) as response:
                answer: bytes = response.read()
                return answer
        except HTTPError as refused:
            raise _KINDS.get(refused.code, NotDone)(_why(refused)) from refused
        except (URLError, OSError, HTTPException, ValueError) as away:
            raise NotNow(
                f"{self._url} does not answer ({getattr(away, 'reason', away)}): is it running there? "
                "Else give --url, or set SAGAHOOK_URL"
            ) from away


_KINDS = {404: NotThere, 429: NotNow, 503: NotNow}


def escaped(part: str) -> str:
    """As one part of a path."""
    return quote(part, safe="")


def _joined(path: Sequence[str]) -> str:
    return "".join(f"/{escaped(part)}" for part in path)


def _why(refused: HTTPError) -> str:
    try:
        why = str(json.loads(refused.read())["error"])
    except (ValueError, KeyError, TypeError, OSError):
        why = f"The API answered {refused.code} {refused.reason}: is --url the address of the API?"
    if refused.code == 401:
        why += "; on the command line: --key KEY, or set SAGAHOOK_KEY"
    if refused.headers.get("Retry-After"):
        why += f" (again in {refused.headers['Retry-After']} s)"
    return why
