"""A GitHub of one's own, to try the sagas against: `python -m sagahook_github_orchestrator.stand_in_github --port 8092`

What of GitHub's REST API the sagas use behaves as GitHub documents it: tokens, pages with `Link`, `ETag` and 304,
rate limits with their headers, primary (403, `x-ratelimit-remaining: 0`) and secondary (403 or 429, `Retry-After`), and
its errors. It knows every repository. `POST /_control` says what there is in one, and how the next answers go wrong;
`GET /_seen` shows what was written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from orjson import dumps
from pydantic import BaseModel

_DOCS = "https://docs.github.com/rest"
_HOUR = 3_600


class Trouble(BaseModel):
    """What the next `times` requests whose `METHOD /path` contains `on` are answered, once `after` of them were
    answered well. applied: they did their work all the same."""

    on: str
    status: int = 503
    message: str = "Service unavailable"
    headers: dict[str, str] = {}
    times: int = 1
    after: int = 0
    applied: bool = False


class Control(BaseModel):
    """What there is of everything, whatever it is asked for; what is None stays as it is. remaining: requests until the
    limit is used up."""

    files: list[dict[str, Any]] | None = None
    check_runs: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None
    remaining: int | None = None
    trouble: list[Trouble] = []


@dataclass
class Hub:
    """clock: seconds since the epoch."""

    token: str
    clock: Callable[[], float] = time.time
    limit: int = 5_000
    files: list[dict[str, Any]] = field(default_factory=list)
    check_runs: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    trouble: list[Trouble] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    used: int = 0
    resets_at: float = 0
    made: int = 0

    def change(self, wanted: Control) -> None:
        for name in ("files", "check_runs", "annotations"):
            if (given := getattr(wanted, name)) is not None:
                setattr(self, name, given)
        if wanted.remaining is not None:
            self.roll()
            self.used = self.limit - wanted.remaining
        self.trouble += wanted.trouble

    def roll(self) -> None:
        """A limit begins anew an hour after its first request."""
        if self.clock() >= self.resets_at:
            self.used, self.resets_at = 0, self.clock() + _HOUR

    def limits(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "X-RateLimit-Used": str(self.used),
            "X-RateLimit-Reset": str(int(self.resets_at)),
            "X-RateLimit-Resource": "core",
        }

    def next_trouble(self, request: str) -> Trouble | None:
        for each in self.trouble:
            if each.on in request and each.times > 0:
                if each.after > 0:
                    each.after -= 1
                    continue
                each.times -= 1
                return each
        return None

    def write_comment(self, where: str, body: str) -> dict[str, Any]:
        self.made += 1
        comment = {
            "id": self.made,
            "body": body,
            "html_url": f"https://github.com/{where}#issuecomment-{self.made}",
        }
        self.comments[self.made] = {**comment, "where": where}
        return comment


def build_github(hub: Hub) -> FastAPI:
    app = FastAPI(title="A GitHub of one's own")
    _add_controls(app, hub)
    _add_reads(app, hub)
    _add_comments(app, hub)
    _add_statuses(app, hub)

    @app.middleware("http")
    async def as_github(request: Request, call_next: Callable[..., Any]) -> Response:
        if request.url.path.startswith("/_"):
            own: Response = await call_next(request)
            return own
        answer = await _answered(hub, request, call_next)
        hub.made += 1
        answer.headers.update({"X-GitHub-Request-Id": f"F00D:{hub.made:X}", **hub.limits()})
        return answer

    return app


async def _answered(hub: Hub, request: Request, call_next: Callable[..., Any]) -> Response:
    named = f"{request.method} {request.url.path}"
    hub.requests.append(named)
    hub.roll()
    if request.headers.get("Authorization") != f"Bearer {hub.token}":
        return _error(401, "Bad credentials")
    if hub.used >= hub.limit:
        return _error(403, "API rate limit exceeded for user ID 1.")
    trouble = hub.next_trouble(named)
    if trouble is not None and not trouble.applied:
        hub.used += 1
        return _error(trouble.status, trouble.message, **trouble.headers)
    answer: Response = await call_next(request)
    if trouble is not None:
        answer = _error(trouble.status, trouble.message, **trouble.headers)
    elif answer.headers.get("ETag") is not None and answer.headers["ETag"] == request.headers.get(
        "If-None-Match"
    ):
        return Response(status_code=304, headers={"ETag": answer.headers["ETag"]})  # it costs nothing
    hub.used += 1
    return answer


def _add_controls(app: FastAPI, hub: Hub) -> None:
    @app.post("/_control")
    async def control(wanted: Control) -> dict[str, str]:
        hub.change(wanted)
        return {"status": "as you wish"}

    @app.get("/_seen")
    async def seen() -> dict[str, Any]:
        return {"comments": list(hub.comments.values()), "statuses": hub.statuses, "requests": hub.requests}


def _add_reads(app: FastAPI, hub: Hub) -> None:
    repo = "/repos/{owner}/{repo}"

    @app.get(repo + "/pulls/{number}/files")
    async def pull_files(request: Request) -> Response:
        return _page(request, hub.files)

    @app.get(repo + "/commits/{sha}/check-runs")
    @app.get(repo + "/check-suites/{suite}/check-runs")
    async def check_runs(request: Request) -> Response:
        return _page(request, hub.check_runs, "check_runs")

    @app.get(repo + "/check-runs/{run}/annotations")
    async def annotations(request: Request) -> Response:
        return _page(request, hub.annotations)

    @app.get(repo + "/compare/{basehead}")
    async def compare(basehead: str) -> Response:
        if "..." not in basehead or basehead.startswith("0000000"):
            return _error(404, "Not Found")
        return _json({"status": "ahead", "files": hub.files})

    @app.get(repo + "/commits/{sha}")
    async def commit(sha: str) -> Response:
        return _json({"sha": sha, "files": hub.files})


def _add_comments(app: FastAPI, hub: Hub) -> None:
    repo = "/repos/{owner}/{repo}"

    @app.get(repo + "/issues/{number}/comments")
    async def list_comments(owner: str, repo: str, number: int, request: Request) -> Response:
        where = f"{owner}/{repo}/pull/{number}"
        return _page(request, [each for each in hub.comments.values() if each["where"] == where])

    @app.post(repo + "/issues/{number}/comments")
    async def create_comment(owner: str, repo: str, number: int, request: Request) -> Response:
        body = (await request.json()).get("body")
        if not body:
            return _error(422, "Validation Failed")
        return _json(hub.write_comment(f"{owner}/{repo}/pull/{number}", body), 201)

    @app.patch(repo + "/issues/comments/{comment}")
    async def edit_comment(comment: int, request: Request) -> Response:
        if comment not in hub.comments:
            return _error(404, "Not Found")
        hub.comments[comment]["body"] = (await request.json())["body"]
        return _json(hub.comments[comment])

    @app.delete(repo + "/issues/comments/{comment}")
    async def delete_comment(comment: int) -> Response:
        if hub.comments.pop(comment, None) is None:
            return _error(404, "Not Found")
        return Response(status_code=204)


def _add_statuses(app: FastAPI, hub: Hub) -> None:
    repo = "/repos/{owner}/{repo}"

    @app.post(repo + "/statuses/{sha}")
    async def create_status(sha: str, request: Request) -> Response:
        given = await request.json()
        fits = len(given.get("description") or "") <= 140
        if given.get("state") not in {"pending", "success", "failure", "error"} or not fits:
            return _error(422, "Validation Failed")
        status = {"description": None, "target_url": None, **given, "sha": sha}
        hub.statuses.append(status)
        return _json(status, 201)

    @app.get(repo + "/commits/{sha}/status")
    async def combined_status(sha: str, request: Request) -> Response:
        newest = {each["context"]: each for each in hub.statuses if each["sha"] == sha}
        return _page(request, list(newest.values()), "statuses")


def _page(request: Request, items: list[Any], name: str | None = None) -> Response:
    """name: the list's own in an object that also has `total_count`."""
    query = request.query_params
    size, number = min(100, int(query.get("per_page", 30))), int(query.get("page", 1))
    last = max(1, -(-len(items) // size))
    some = items[(number - 1) * size : number * size]
    answer = _json(some if name is None else {"total_count": len(items), name: some})
    links = {"prev": number - 1, "next": number + 1, "first": 1, "last": last}
    wanted = {rel: to for rel, to in links.items() if 1 <= to <= last and to != number}
    if last > 1:
        answer.headers["Link"] = ", ".join(
            f'<{request.url.include_query_params(page=to)}>; rel="{rel}"' for rel, to in wanted.items()
        )
    return answer


def _json(body: Any, status: int = 200) -> Response:
    content = dumps(body)
    headers = {"ETag": f'W/"{sha256(content).hexdigest()}"'} if status == 200 else {}
    return Response(content, status, headers, "application/json; charset=utf-8")


def _error(status: int, message: str, **headers: str) -> Response:
    return Response(
        dumps({"message": message, "documentation_url": _DOCS, "status": str(status)}),
        status,
        headers,
        "application/json; charset=utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A GitHub of one's own")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8092)
    parser.add_argument("--token", default="made-up", help="what GITHUB_TOKEN has to be")
    options = parser.parse_args()
    uvicorn.run(build_github(Hub(options.token)), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
