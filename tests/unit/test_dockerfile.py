"""The images' Dockerfiles: what is built from, what gets in, how it is started."""

import json
import re
import tomllib

import pytest
from docker.utils import exclude_paths

from deploy.supply.lock import IN_THE_IMAGES
from deploy.supply.pins import BUILDER, builder_requirements
from deploy.trial.images import TARGETS
from tests.dockerfiles import EXAMPLE, IMAGES, ROOT, read

SERVICES = [target for target in TARGETS if target != "cli"]
DIGEST = re.compile(r"[a-z0-9./_-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}\Z")

images = read(IMAGES)
example = read(EXAMPLE)


def test_every_image_begins_with_one_base_of_a_known_digest() -> None:
    bases = {stage.base for stage in images.stages.values()} - set(images.stages)

    assert bases == {"${PYTHON_IMAGE}"}
    assert DIGEST.match(images.arguments["PYTHON_IMAGE"])
    assert example.arguments["PYTHON_IMAGE"] == images.arguments["PYTHON_IMAGE"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_number_that_is_not_root(target: str) -> None:
    assert images.last(target, "USER") == "10001:10001"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_starts_a_console_script_without_a_shell_between(target: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

    (script,) = json.loads(images.last(target, "ENTRYPOINT") or "[]")

    assert script in scripts
    assert images.last(target, "STOPSIGNAL") == "SIGTERM"


@pytest.mark.parametrize("target", SERVICES)
def test_a_service_s_health_check_asks_for_the_path_that_says_whether_it_can_work(target: str) -> None:
    (_, command) = (images.last(target, "HEALTHCHECK") or "").split("CMD ")

    assert json.loads(command) == ["python3", "-I", "-S", "/opt/probe.py", "/readyz"]
    assert "COPY --chmod=0444 deploy/docker/probe.py /opt/probe.py" in [
        f"{each.name} {each.text}" for each in images.of(target)
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_the_environment_of_packages_comes_from_the_stage_that_builds(target: str) -> None:
    brought = [each.text for each in images.of(target) if each.name == "COPY" and "--from=build" in each.text]

    assert brought == ["--from=build /opt/sagahook /opt/sagahook"]


@pytest.mark.parametrize("dockerfile", [images, example], ids=["images", "your sagas"])
def test_nothing_comes_from_an_address_and_no_secret_is_an_argument(dockerfile: object) -> None:
    assert isinstance(dockerfile, type(images))
    every = [each for stage in dockerfile.stages.values() for each in stage.instructions]

    assert not [each for each in every if each.name == "ADD"]
    assert not [each for each in every if each.name == "RUN" and re.search(r"https?://|curl|wget", each.text)]
    secret = re.compile(r"\b\w*(SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|_KEY)\w*=", re.IGNORECASE)
    assert not [each for each in every if each.name in ("ARG", "ENV") and secret.search(each.text)]


def test_packages_are_installed_by_the_lock_s_hashes_and_run_no_build_script() -> None:
    installs = [each.text for each in images.stages["build"].instructions if each.name == "RUN"]

    tools, packages, project = installs
    assert all(
        option in tools
        for option in ("--require-hashes", "--only-binary :all:", "--no-deps", "-r builder.txt")
    )
    assert all(
        option in packages for option in ("uv sync", "--locked", "--no-build", " ".join(IN_THE_IMAGES))
    )
    assert "--offline --no-deps" in project


def test_what_builds_the_images_is_what_the_lock_says() -> None:
    assert BUILDER.read_text() == builder_requirements(), "run `make pins`, or export builder.txt anew"


def test_a_builder_is_given_what_it_copies_and_nothing_else() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    # What docker-py, which reads the patterns, always sends along, is no part of the context.
    given = {path for path in exclude_paths(ROOT, patterns) if (ROOT / path).is_file()} - {".dockerignore"}

    sources = [
        source
        for stage in images.stages.values()
        for each in stage.instructions
        if each.name == "COPY" and "--from" not in each.text
        for source in each.text.split()[:-1]
        if not source.startswith("--")
    ]
    copied = {path for path in given for source in sources if path == source or path.startswith(f"{source}/")}
    assert given == copied
    assert all(any(path == source or path.startswith(f"{source}/") for path in given) for source in sources)
