"""What tracing costs: the same work with it off, at 10 % and at 100 % sampling, in turns in one run; quote the ratios.

    python -m bench.telemetry [SAGAS [ROUNDS]]

The runner drains webhooks that carry what ingest would have given them; its processor time says what tracing costs it
where a busy machine gives it more in one run than in the next. Ingest is asked by POSTs that bring no trace. A sink in
a process of its own takes what is exported, and reads none of it: a collector has its own machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from statistics import median
from typing import Any

from bench import runner, served
from bench.broker import long_lived_broker
from sagahook.embedded.ports import free_port

SAMPLED = {"off": None, "10 %": 0.1, "100 %": 1.0}
CONNECTIONS = 64
SECONDS = 2.0


async def measure(bootstrap: str, *, sagas: int, rounds: int) -> dict[str, Any]:
    """By what is measured and how much is sampled: the figure, and its ratio to that of the same round without."""
    async with _sink() as endpoint:
        return {
            "runner": await _runner(bootstrap, endpoint, sagas, rounds),
            "ingest": await _ingest(bootstrap, endpoint, rounds),
        }


async def _runner(bootstrap: str, endpoint: str, sagas: int, rounds: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SAMPLED}
    for each in range(rounds):
        for name in _in_turn(each):
            runs[name].append(
                await runner.drain(
                    bootstrap,
                    sagas=sagas,
                    environment=_environment(endpoint, name),
                    traceparent=_Traceparents(SAMPLED[name]).of,
                )
            )
    return {
        name: {
            "sagas_per_second": median(run["drained_per_second"] for run in of_name),
            "cpu_ms_per_saga": median(run["cpu_ms_per_saga"] for run in of_name),
            "ratio": _ratio(_each(of_name, "drained_per_second"), _each(runs["off"], "drained_per_second")),
            "cpu_ratio": _ratio(_each(of_name, "cpu_ms_per_saga"), _each(runs["off"], "cpu_ms_per_saga")),
        }
        for name, of_name in runs.items()
    }


def _each(runs: list[dict[str, float]], figure: str) -> list[float]:
    return [run[figure] for run in runs]


async def _ingest(bootstrap: str, endpoint: str, rounds: int) -> dict[str, Any]:
    async with AsyncExitStack() as opened:
        servers = {
            name: await opened.enter_async_context(served.ingest(bootstrap, **_environment(endpoint, name)))
            for name in SAMPLED
        }
        await served.warm_up(*servers.values())
        runs: dict[str, list[float]] = {name: [] for name in SAMPLED}
        for each in range(2 * rounds):
            for name in _in_turn(each):
                run = await served.drive(servers[name], CONNECTIONS, SECONDS)
                runs[name].append(run["per_second"])
    return {
        name: {"posts_per_second": median(of_name), "ratio": _ratio(of_name, runs["off"])}
        for name, of_name in runs.items()
    }


def _in_turn(each: int) -> list[str]:
    """So that none of them is always the first."""
    names = list(SAMPLED)
    return names[each % len(names) :] + names[: each % len(names)]


def _ratio(figures: list[float], without: list[float]) -> float:
    return round(median(one / other for one, other in zip(figures, without, strict=True)), 3)


def _environment(endpoint: str, name: str) -> dict[str, str]:
    sampled = SAMPLED[name]
    if sampled is None:
        return {}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(sampled),
    }


class _Traceparents:
    """What ingest gives webhooks. sampled: the share that is recorded; None: nothing is traced."""

    def __init__(self, sampled: float | None) -> None:
        self._sampled = sampled
        self._dice = Random(1)

    def of(self, number: int) -> str:
        if self._sampled is None:
            return ""
        flags = 3 if self._dice.random() < self._sampled else 2
        return f"00-{self._dice.getrandbits(128):032x}-{self._dice.getrandbits(64):016x}-{flags:02x}"


@asynccontextmanager
async def _sink() -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.otlp_sink", str(port))
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def main(sagas: int = 20_000, rounds: int = 5) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the run")
    async with long_lived_broker() as kafka:
        print(json.dumps(await measure(kafka.bootstrap, sagas=sagas, rounds=rounds), indent=2))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:3])))
