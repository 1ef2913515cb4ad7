"""Which processes make up the stack, and what each is told."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from sagahook.embedded.ports import HeldPort, hold_port
from sagahook.embedded.supervisor import ServiceSpec

ROLES = ("reader", "operator", "admin")
MIGRATE = (sys.executable, "-m", "sagahook.embedded.migrations")
RELOADED_KINDS = ("api", "saga-runner")
"""The kinds of process that hold the app's code."""


@dataclass(frozen=True)
class Deployment:
    """Everything that differs from one stack to the next. `keys`: the plain API key of each role. `secret_key`: what
    endpoints' secrets are encrypted by."""

    kafka: str
    postgres: str
    api_port: HeldPort
    keys: Mapping[str, str]
    secret_key: str = field(repr=False)
    app: str
    prefix: str = "sagahook"
    runners: int = 1
    env: Mapping[str, str] = field(default_factory=dict)

    def common_env(self) -> dict[str, str]:
        return {
            "SAGAHOOK_KAFKA": self.kafka,
            "SAGAHOOK_TOPIC_PREFIX": self.prefix,
            "DATABASE_URL": self.postgres,
            "SAGAHOOK_APP": self.app,
            "SAGAHOOK_API_KEYS": json.dumps(
                {role: hashlib.sha256(key.encode()).hexdigest() for role, key in self.keys.items()}
            ),
            "SAGAHOOK_SECRET_KEY": self.secret_key,
            # The receivers of someone who develops listen on this machine.
            "SAGAHOOK_NOTIFY_ALLOW_PRIVATE": "true",
            # So does whoever sends and asks, and how fast is theirs to choose.
            "SAGAHOOK_UNSIGNED_RATE_LIMIT": "none",
            "SAGAHOOK_API_RATE_LIMIT": "none",
            "SAGAHOOK_OPEN_RATE_LIMIT": "none",
            **self.env,
        }


def service_specs(deployment: Deployment) -> list[ServiceSpec]:
    """One process serves the HTTP of all; the others do one thing each, and answer probes on a port."""
    runners = [f"runner-{number}" for number in range(deployment.runners)]
    return [
        _service(deployment, "api", "api", "sagahook.embedded.api", port=deployment.api_port),
        *(_service(deployment, name, "saga-runner", "sagahook_runner") for name in runners),
        _service(deployment, "tracker", "tracker", "sagahook_tracker", "project"),
        _service(deployment, "notifier", "notifier", "sagahook_notifier", "run"),
    ]


def _service(
    deployment: Deployment, name: str, kind: str, module: str, *arguments: str, port: HeldPort | None = None
) -> ServiceSpec:
    port = port or hold_port()
    return ServiceSpec(
        name=name,
        kind=kind,
        argv=(sys.executable, "-m", module, *arguments),
        env={
            **deployment.common_env(),
            "SAGAHOOK_HTTP_HOST": "127.0.0.1",
            "SAGAHOOK_HTTP_PORT": str(port.number),
            "SAGAHOOK_INSTANCE": name,
        },
        ready_url=f"http://127.0.0.1:{port.number}/readyz",
        port=port,
    )
