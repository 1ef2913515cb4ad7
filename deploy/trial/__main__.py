"""`make image-trial`: builds every image and carries one webhook through the services that are in them.

    apt-get install buildah debootstrap        # what it needs, and root
    python -m deploy.trial [WORK DIRECTORY [--built]]

With --built it takes what an earlier run built.

Kafka and PostgreSQL are the embedded ones. Each line that it prints was seen in this run; it fails where anything is
not so.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from deploy.trial.confined import Service, ask
from deploy.trial.images import (
    TARGETS,
    Image,
    build,
    closed,
    make_base,
    missing_tools,
    opened,
    run,
    takes_files_of_other_hashes,
)
from sagahook.embedded.kafka import EmbeddedKafka
from sagahook.embedded.kafka_prepare import prepare_kafka
from sagahook.embedded.ports import hold_port
from sagahook.embedded.postgres import EmbeddedPostgres

START_SECONDS = 60.0
STOP_SECONDS = 45.0

PROCESSES = (
    ("ingest", ()),
    ("saga-runner", ()),
    ("tracker", ("api",)),
    ("tracker", ("project",)),
    ("notifier", ("api",)),
    ("notifier", ("run",)),
)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def build_all(work: Path) -> None:
    say(run("buildah", "--version"))
    began = time.monotonic()
    make_base(work)
    say(f"base: Debian bookworm by debootstrap, {time.monotonic() - began:.0f} s")
    for target in TARGETS:
        began = time.monotonic()
        build(target)
        say(f"built sagahook/{target}: {time.monotonic() - began:.0f} s")
    require(not takes_files_of_other_hashes(work), "the build installs files that are not those of uv.lock")
    say("a lock whose hashes differ by a digit: the build refuses to install")


async def no_tools_in(image: Image) -> None:
    """Nothing there installs or builds, nothing can be written, and the user is the one that was declared."""
    size = run("du", "-sm", "--one-file-system", image.root).split()[0]
    say(f"{image.name}: {size} MB in {image.layers} layers, user {image.user}, stops by {image.stop_signal}")
    for tool in ("pip", "uv", "gcc", "hatchling", "git", "curl"):
        found = [
            path for path in image.environment["PATH"].split(":") if (image.root / path[1:] / tool).exists()
        ]
        require(not found, f"{image.name} has {tool} in {found}")
    for module in ("pip", "ensurepip", "hatchling", "pytest"):
        code, _ = await ask(image, ("python", "-c", f"import {module}"), {})
        require(code != 0, f"{image.name} can import {module}")
    for place in ("/", "/tmp", "/app", "/opt/sagahook", "/etc"):  # noqa: S108  # where nothing may be written
        code, said = await ask(image, ("python", "-c", f"open({place + '/written'!r}, 'w')"), {})
        require(code != 0 and "Read-only file system" in said, f"{image.name} writes to {place}: {said}")
    privileged = run("find", image.root, "-xdev", "-type", "f", "-perm", "/6000")
    require(not privileged, f"{image.name} has programs with rights of their own: {privileged}")


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


@asynccontextmanager
async def around(work: Path) -> AsyncIterator[dict[str, str]]:
    """Kafka, PostgreSQL and the example's shop; what services are told of them."""
    data = Path(tempfile.mkdtemp(dir=work))
    kafka, postgres, port = (
        EmbeddedKafka(data / "kafka", await prepare_kafka()),
        EmbeddedPostgres(data / "pg"),
        hold_port(),
    )
    await asyncio.gather(kafka.start(), postgres.start())
    shop = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sagahook_orders.shop",
        "--port",
        str(port.number),
        "--db",
        str(data / "shop.db"),
    )
    key = secrets.token_hex(32)
    try:
        yield {
            "SAGAHOOK_KAFKA": kafka.bootstrap,
            "DATABASE_URL": postgres.url,
            "SECRET_KEY": secrets.token_hex(32),
            "SAGAHOOK_API_KEYS": json.dumps({"admin": hashlib.sha256(key.encode()).hexdigest()}),
            "SAGAHOOK_APP": "sagahook_orders.app",
            "SHOP_URL": f"http://127.0.0.1:{port.number}",
        }
    finally:
        shop.terminate()
        await shop.wait()
        await asyncio.gather(kafka.stop(), postgres.stop())


async def prepare(cli: Image, environment: Mapping[str, str]) -> None:
    """Both one-shot jobs, from the image of the command line."""
    for job in (("topics", "apply"), ("migrate", "--wait", "60")):
        code, said = await ask(cli, (*cli.entrypoint, *job), environment)
        require(code == 0, f"sagahook {' '.join(job)}: {said}")
        say(f"sagahook {' '.join(job)}: {said.splitlines()[-1] if said else 'done'}")


async def carry_a_webhook(ports: Mapping[str, int]) -> None:
    """POST to ingest; ask the tracker until it is final."""
    order = {"order_id": secrets.token_hex(4), "user_id": "u1", "amount": 42, "items": ["pen"]}
    async with aiohttp.ClientSession() as session:
        async with session.post(
            f"http://127.0.0.1:{ports['ingest']}/webhooks/order_created", json=order
        ) as answer:
            accepted = await answer.json()
            require(answer.status == 202, f"ingest answered {answer.status}: {accepted}")
        asked = f"/webhooks/order_created/status/{accepted['correlation_id']}?wait=30"
        async with session.get(f"http://127.0.0.1:{ports['tracker api']}{asked}") as answer:
            status = await answer.json()
        require(status["status"] == "completed", f"the webhook is {status}")
        say(f"a webhook through the images: 202, then {status['status']}: {status['message']}")
        for name, port in ports.items():
            async with session.get(f"http://127.0.0.1:{port}/health") as answer:
                say(f"{name} /health: {answer.status} {await answer.text()}")


async def serve(images: Mapping[str, Image], work: Path) -> None:
    services: list[Service] = []
    held = {" ".join((target, *arguments)): hold_port() for target, arguments in PROCESSES}
    ports = {name: port.number for name, port in held.items()}
    async with around(work) as told:
        await prepare(images["cli"], told)
        try:
            for target, arguments in PROCESSES:
                name = " ".join((target, *arguments))
                environment = told | {
                    "SAGAHOOK_HTTP_HOST": "127.0.0.1",
                    "SAGAHOOK_HTTP_PORT": str(ports[name]),
                }
                service = Service(
                    images[target], name, arguments, environment, work / f"{name.replace(' ', '-')}.log"
                )
                await service.start()
                services.append(service)
            for service in services:
                began = time.monotonic()
                await service.until_healthy(START_SECONDS)
                say(
                    f"{service.name}: healthy after {time.monotonic() - began:.1f} s more, {service.rights()}"
                )
            await carry_a_webhook(ports)
            for service in services:
                began = time.monotonic()
                code = await service.stop(STOP_SECONDS)
                require(code == 0, f"{service.name} ended with {code}: see {service.log}")
                took = time.monotonic() - began
                say(f"{service.name}: {service.image.stop_signal}, ended by itself with 0 after {took:.1f} s")
        finally:
            for service in services:
                service.kill()


async def try_all(work: Path) -> None:
    images: dict[str, Image] = {}
    try:
        for target in TARGETS:
            images[target] = opened(target)
            await no_tools_in(images[target])
        await serve(images, work)
    finally:
        for target in images:
            closed(target)


def main(arguments: list[str]) -> int:
    if missing := missing_tools():
        sys.stderr.write(
            f"Nothing was built: {' and '.join(missing)} not found. As root: apt-get install {' '.join(missing)}\n"
        )
        return 1
    if os.geteuid() != 0:
        sys.stderr.write(
            "Nothing was built: run it as root, which mounts what was built and becomes another user in it.\n"
        )
        return 1
    work = Path(arguments[0] if arguments else tempfile.mkdtemp(prefix="sagahook-trial-")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    if arguments[1:] != ["--built"]:
        build_all(work)
    asyncio.run(try_all(work))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
