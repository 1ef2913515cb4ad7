"""The parts of the embedded stack that decide something without starting anything."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from sagahook.embedded import registry
from sagahook.embedded.downloads import KAFKA_VERSION, pinned_jars
from sagahook.embedded.errors import StackError
from sagahook.embedded.java import find_java
from sagahook.embedded.logtail import readable
from sagahook.embedded.ports import FIRST, LAST, free_port, hold_port, hold_this_port
from sagahook.embedded.services import Deployment, service_specs
from sagahook.embedded.supervisor import restart_delay


def delays(*lives: float) -> list[float]:
    """The delays before each restart of a process that lived for so many seconds each time."""
    seen: list[float] = []
    for alive in lives:
        seen.append(restart_delay(seen[-1] if seen else None, alive))
    return seen


def test_restarts_come_later_and_later_up_to_ten_seconds() -> None:
    assert delays(*[0] * 8) == [0.25, 0.5, 1, 2, 4, 8, 10, 10]


def test_after_half_a_minute_of_life_restarts_are_quick_again() -> None:
    assert delays(0, 0, 30) == [0.25, 0.5, 0.25]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hold a port for another process")
def test_a_held_port_is_kept_for_its_server_and_refused_to_whoever_looks_for_a_free_one() -> None:
    held = hold_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", held.number))
    for _ in range(2):  # also after its server was down
        socket.create_server(("127.0.0.1", held.number)).close()
    held.release()


def test_a_port_that_a_server_uses_cannot_be_held() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server, pytest.raises(OSError, match="in use"):
        hold_this_port(server.getsockname()[1])


def test_a_free_port_is_never_one_that_outgoing_connections_get() -> None:
    assert all(FIRST <= free_port() <= LAST for _ in range(50))


def test_every_kafka_jar_is_pinned_to_its_content_and_kafkas_own_to_one_version() -> None:
    jars = pinned_jars()
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {KAFKA_VERSION}
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert len({jar.filename for jar in jars}) == len(jars)


def test_a_structured_log_line_is_shown_as_text() -> None:
    line = json.dumps(
        {"timestamp": "2026-01-02T03:04:05Z", "level": "info", "event": "service.started", "port": 1}
    )
    assert readable(line) == "03:04:05 info    service.started port=1"


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "{ not JSON", ""])
def test_a_line_of_another_kind_is_shown_as_it_is(line: str) -> None:
    assert readable(line) == line


def a_deployment() -> Deployment:
    return Deployment(
        kafka="127.0.0.1:1",
        postgres="postgresql://127.0.0.1:2/sagahook",
        api_port=hold_port(),
        keys={"reader": "plain"},
        secret_key="a secret key",
        app="app",
        runners=2,
        env={"LOG_LEVEL": "DEBUG", "SAGAHOOK_NOTIFY_ALLOW_PRIVATE": "false"},
    )


def test_each_service_has_its_own_name_and_port_and_the_api_the_public_one() -> None:
    deployment = a_deployment()
    specs = service_specs(deployment)
    assert [spec.name for spec in specs] == ["api", "runner-0", "runner-1", "tracker", "notifier"]
    assert [spec.env["SAGAHOOK_INSTANCE"] for spec in specs] == [spec.name for spec in specs]
    assert specs[0].ready_url == f"http://127.0.0.1:{deployment.api_port.number}/readyz"
    assert len({spec.env["SAGAHOOK_HTTP_PORT"] for spec in specs}) == len(specs)


def test_a_setting_given_with_env_wins_over_the_stacks_own() -> None:
    env = service_specs(a_deployment())[1].env
    assert (env["LOG_LEVEL"], env["SAGAHOOK_NOTIFY_ALLOW_PRIVATE"]) == ("DEBUG", "false")


def java(folder: Path, release: str) -> Path:
    (folder / "bin").mkdir()
    (folder / "release").write_text(release)
    command = folder / "bin" / "java"
    command.touch(mode=0o755)
    return command


def test_the_java_that_the_user_names_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = java(tmp_path, 'JAVA_VERSION="21.0.4"')
    monkeypatch.setenv("SAGAHOOK_JAVA", str(command))
    assert (find_java().command, find_java().major) == (command, 21)


def test_a_java_that_is_too_old_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAHOOK_JAVA", str(java(tmp_path, 'JAVA_VERSION="11.0.2"')))
    with pytest.raises(StackError, match="is Java 11, and Kafka needs 17 or newer: name another"):
        find_java()


def test_a_java_that_is_not_there_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAHOOK_JAVA", "/nowhere/java")
    with pytest.raises(StackError, match=r"/nowhere/java .* does not run"):
        find_java()


def test_a_data_directory_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = registry.DataLock(tmp_path), registry.DataLock(tmp_path)
    first.acquire()
    with pytest.raises(StackError, match=f"process {os.getpid()}.*choose another directory with --data"):
        second.acquire()
    first.release()
    second.acquire()
    assert first.is_held()
    second.release()
    assert not first.is_held()


def test_only_its_owner_may_read_a_description_because_it_holds_the_keys(tmp_path: Path) -> None:
    registry.write_description(tmp_path, {"keys": {"admin": "secret"}})
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600


def test_a_directory_without_a_running_stack_says_how_to_start_one(tmp_path: Path) -> None:
    registry.write_description(tmp_path, {"pids": {}})  # left by a crash
    with pytest.raises(StackError, match=f"No stack runs on {tmp_path}: start one with"):
        registry.find_stack(tmp_path, None)
