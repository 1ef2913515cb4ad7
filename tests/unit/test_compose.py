"""compose.yaml: what its services may do, wait for and are told; and how its gateway parts callers."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.docker.compose_env import environment, write
from sagahook.cli.settings_reference import settings_reference
from sagahook.embedded.one_origin import OneOrigin
from sagahook_ingest.settings import IngestSettings
from sagahook_notifier.settings import NotifierSettings
from sagahook_runner.settings import RunnerSettings
from sagahook_tracker.settings import TrackerSettings
from tests.dockerfiles import IMAGES, ROOT, read

TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("sagahook/")}

SETTINGS = {
    "sagahook-ingest": IngestSettings,
    "sagahook-runner": RunnerSettings,
    "sagahook-tracker-api": TrackerSettings,
    "sagahook-tracker": TrackerSettings,
    "sagahook-notifier-api": NotifierSettings,
    "sagahook-notifier": NotifierSettings,
}

each_service = pytest.mark.parametrize("name", SERVICES)


@each_service
def test_a_service_has_no_rights_and_cannot_write_outside_of_its_volumes(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)


@each_service
def test_a_service_has_bounds(name: str) -> None:
    assert set(SERVICES[name]["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


@each_service
def test_an_image_of_somebody_else_s_is_known_by_its_digest(name: str) -> None:
    image = SERVICES[name]["image"]

    if name not in OURS:
        assert re.fullmatch(r"[a-z./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image)


@each_service
def test_what_a_service_waits_for_can_come_about(name: str) -> None:
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        waited = SERVICES[other]
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in waited or other in OURS
        else:
            assert condition["condition"] == "service_completed_successfully"
            assert waited["restart"].startswith("on-failure"), "a job that ends well is not started anew"


@each_service
def test_only_this_machine_reaches_a_published_port(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


def test_the_log_and_the_database_lead_nowhere() -> None:
    assert COMPOSE["networks"]["data"] == {"internal": True}
    for name in ("kafka", "postgres"):
        assert SERVICES[name]["networks"] == ["data"]
        assert "ports" not in SERVICES[name]


@each_service
def test_what_is_mounted_from_here_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, _, _ = volume.partition(":")
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]


def test_each_of_our_images_is_built_once_from_a_target_of_its_name() -> None:
    built = [(service["image"], service["build"]) for service in OURS.values() if "build" in service]

    for image, build in built:
        assert image == f"sagahook/{build['target']}:${{SAGAHOOK_VERSION:-{_version()}}}"
        assert (ROOT / build["dockerfile"]) == IMAGES
        assert build["target"] in read(IMAGES).stages
    assert sorted(image for image, _ in built) == sorted({service["image"] for service in OURS.values()})


def _version() -> str:
    found = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found
    return found[1]


def _told(name: str, env: dict[str, str]) -> dict[str, str]:
    """A service's environment as compose fills it in: `${NAME:-default}`, `${NAME:?what is missing}`."""
    filled = re.compile(r"\$\{(\w+):([-?])([^}]*)\}")

    def fill(written: object) -> str:
        return filled.sub(lambda at: env.get(at[1]) or (at[3] if at[2] == "-" else env[at[1]]), str(written))

    return {variable: fill(value) for variable, value in (SERVICES[name].get("environment") or {}).items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_service_is_told_what_it_understands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = _told(name, environment())
    for variable, value in told.items():
        monkeypatch.setenv(variable, value)
    known = {
        variable
        for row in settings_reference().splitlines()
        for variable in re.findall(r"`([A-Z_]+)`", row.partition("|")[2])
    }

    SETTINGS[name]()  # raises where a value is not understood

    others = {variable for variable in told if variable not in known and not variable.startswith("OTEL_")}
    assert others <= {"SHOP_URL"}


def test_every_secret_is_made_for_this_machine_and_nobody_else_reads_it(tmp_path: Path) -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", TEXT))

    assert asked <= set(environment())
    assert write(tmp_path / ".env")
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    first = (tmp_path / ".env").read_text()
    assert not write(tmp_path / ".env")
    assert (tmp_path / ".env").read_text() == first
    assert not set(environment().values()) & set(environment().values())


class _Owner:
    """What OneOrigin would ask; which one it is, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = type("State", (), {"health": None})
        self.router = None


REQUESTS = [
    ("POST", "/webhooks/orders"),
    ("POST", "/webhooks/orders/batch"),
    ("OPTIONS", "/webhooks/orders"),
    ("GET", "/webhooks/orders/status/c-1"),
    ("GET", "/webhooks/status/s-1"),
    ("POST", "/api/v1/webhooks/github"),
    ("GET", "/api/v1/webhooks/events"),
    ("POST", "/api/v1/webhooks/events/7/reprocess"),
    ("GET", "/api/v1/tasks"),
    ("GET", "/api/v1/stream"),
    ("POST", "/api/v1/sagas/s-1:cancel"),
    ("GET", "/api/v1/endpoints"),
    ("POST", "/api/v1/endpoints/e-1:rotate-secret"),
    ("GET", "/api/v1/deliveries/d-1"),
    ("GET", "/definitions/order/diagram"),
    ("GET", "/openapi.json"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS, ids=[" ".join(request) for request in REQUESTS])
def test_the_gateway_sends_a_request_to_the_service_that_owns_it(method: str, path: str) -> None:
    apps: Any = {name: _Owner(name) for name in ("ingest", "tracker", "notifier")}

    owner: Any = OneOrigin(**apps)._owner(method, path)

    upstream = {
        "ingest": "sagahook-ingest",
        "tracker": "sagahook-tracker-api",
        "notifier": "sagahook-notifier-api",
    }
    assert _gateway(method, path) == f"{upstream[owner.name]}:8080"


def _gateway(method: str, path: str) -> str | None:
    """The upstream by nginx's rules: an exact location, else the first expression, else the longest prefix."""
    text = (ROOT / "deploy/docker/gateway.conf").read_text()
    by_method = dict(
        re.findall(
            r"^\s+(default|[A-Z]+)\s+([\w.:-]+);", text.partition("map ")[2].partition("}")[0], re.MULTILINE
        )
    )
    locations = re.findall(r"location\s+(=|~)?\s*(\S+)\s*\{(.*?)\}", text, re.DOTALL)
    exact = [body for kind, where, body in locations if kind == "=" and where == path]
    expressions = [body for kind, where, body in locations if kind == "~" and re.search(where, path)]
    prefixes = sorted(
        ((where, body) for kind, where, body in locations if not kind and path.startswith(where)),
        key=lambda found: len(found[0]),
    )
    body = (exact + expressions + [prefixes[-1][1]])[0]
    if "$webhooks" in body:
        return by_method.get(method, by_method["default"])
    to = re.search(r"set \$to (\S+);", body)
    return to[1] if to else None


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/startupz"])
def test_the_gateway_keeps_what_is_for_the_cluster_alone(path: str) -> None:
    assert _gateway("GET", path) is None
