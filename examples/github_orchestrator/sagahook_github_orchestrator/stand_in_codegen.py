"""A code-generation agent that only pretends: `python -m sagahook_github_orchestrator.stand_in_codegen --port 8093`

What of Codegen's API the sagas use. A run is done when it was looked at a few times; `POST /_control` says after how
many, and whether it fails. `GET /_seen` shows every run.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

_WEB = "https://codegen.com/agent/trace"


class Control(BaseModel):
    """How runs that begin from now on go. looks: until a run ends. refuse: so many requests for a run are answered 429,
    or, applied, lose their answer."""

    looks: int = Field(default=2, ge=0)
    ends: str = "COMPLETE"
    refuse: int = 0
    applied: bool = False


class NewRun(BaseModel):
    prompt: str
    metadata: dict[str, Any] = {}


class Ban(BaseModel):
    agent_run_id: int


@dataclass
class Agents:
    token: str
    org_id: str
    control: Control = field(default_factory=Control)
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    looks: dict[int, int] = field(default_factory=dict)

    def begin(self, wanted: NewRun) -> dict[str, Any]:
        number = len(self.runs) + 1
        self.looks[number] = self.control.looks
        self.runs[number] = {
            "id": number,
            "organization_id": 1,
            "status": "ACTIVE",
            "web_url": f"{_WEB}/{number}",
            "summary": None,
            "source_type": "API",
            "github_pull_requests": [],
            **wanted.model_dump(),
        }
        return self.runs[number]

    def look(self, number: int) -> dict[str, Any] | None:
        run = self.runs.get(number)
        if run is not None and run["status"] == "ACTIVE":
            self.looks[number] -= 1
            if self.looks[number] < 0:
                run["status"] = self.control.ends
                if run["status"] == "COMPLETE":
                    run["summary"] = "The test expected the wrong year."
                    run["github_pull_requests"] = [
                        {"id": number, "url": "https://github.com/octo/hello/pull/8"}
                    ]
        return run


def build_codegen(agents: Agents) -> FastAPI:
    app = FastAPI(title="An agent that only pretends")
    at = "/v1/organizations/{org_id}/agent/run"

    @app.middleware("http")
    async def only_its_own(request: Request, call_next: Any) -> Any:
        ours = f"/v1/organizations/{agents.org_id}/"
        if not request.url.path.startswith("/_"):
            if request.headers.get("Authorization") != f"Bearer {agents.token}":
                return JSONResponse({"message": "Invalid token", "status_code": 401}, 401)
            if not request.url.path.startswith(ours):
                return JSONResponse({"message": "No access to this organization", "status_code": 403}, 403)
        return await call_next(request)

    @app.post(at)
    async def create_run(wanted: NewRun) -> JSONResponse:
        refused = agents.control.refuse > 0
        if refused:
            agents.control.refuse -= 1
            if agents.control.applied:
                agents.begin(wanted)
                return JSONResponse({"message": "Bad gateway"}, 502)
            return JSONResponse(
                {"message": "Rate limit exceeded", "status_code": 429}, 429, {"Retry-After": "6"}
            )
        return JSONResponse(agents.begin(wanted))

    @app.get(at + "s")
    async def list_runs(skip: int = 0, limit: int = 100) -> dict[str, Any]:
        newest = list(agents.runs.values())[::-1]
        return {
            "items": newest[skip : skip + limit],
            "total": len(newest),
            "page": 1,
            "size": limit,
            "pages": 1,
        }

    @app.get(at + "/{number}")
    async def get_run(number: int) -> JSONResponse:
        run = agents.look(number)
        return JSONResponse(run) if run else JSONResponse({"message": "Agent run not found"}, 404)

    @app.post(at + "/ban")
    async def stop_run(wanted: Ban) -> JSONResponse:
        run = agents.runs.get(wanted.agent_run_id)
        if run is None:
            return JSONResponse({"message": "Agent run not found"}, 404)
        run["status"] = "CANCELLED"
        return JSONResponse({"message": "Stopped", "status_code": 200})

    @app.post("/_control")
    async def control(wanted: Control) -> Control:
        agents.control = wanted
        return wanted

    @app.get("/_seen")
    async def seen() -> dict[str, Any]:
        return {"runs": list(agents.runs.values())}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="An agent that only pretends")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8093)
    parser.add_argument("--token", default="made-up", help="what CODEGEN_TOKEN has to be")
    parser.add_argument("--org", default="1", help="what CODEGEN_ORG_ID has to be")
    options = parser.parse_args()
    agents = Agents(options.token, options.org)
    uvicorn.run(build_codegen(agents), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
