"""Loaded by schemathesis (test_ingest_openapi.py): signs good deliveries of GitHub's, as GitHub does."""

import hashlib
import hmac
import json
from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext

SECRET = "It's a Secret to Everybody"


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    if not case.path.endswith("/github") or case.meta is None:
        return
    if case.meta.generation.mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
        # As it goes over the wire: schemathesis leaves the encoding to requests, which does just this.
        body = json.dumps(case.body, allow_nan=False).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        case.headers["X-Hub-Signature-256"] = f"sha256={signature}"
