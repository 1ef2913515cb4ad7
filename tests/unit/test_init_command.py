"""`sagahook init`: an app that is whole from the first moment, whatever its name; and what is not a name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deploy.checks.manifests import Manifests
from deploy.checks.rules import findings
from sagahook.cli.example_curl import shipped_body
from sagahook.cli.main import app
from sagahook.embedded.errors import StackError

BIN = Path(sys.executable).parent
OVERLAYS = ("dev", "managed", "prod")


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def ran(*argv: str | Path, cwd: Path) -> str:
    """In the app's folder, by what this environment has; what it printed."""
    outer = {"PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST"}
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    made = subprocess.run(
        argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("apps")
    result = command("init", "parcel-desk", "--into", str(folder))
    assert result.exit_code == 0, result.output
    return folder / "parcel-desk"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Here an app is called shop, and another test may have left a module of that name behind.
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    held = [each for each in sys.path if (Path(each) / "shop").exists() or (Path(each) / "shop.py").exists()]
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in held])
    return tmp_path


def test_a_new_app_passes_its_own_tests(made: Path) -> None:
    # Of what this environment has of plugins only the one that the app asks for: see pyproject.toml.
    plugins = ("--disable-plugin-autoload", "-p", "pytest_asyncio.plugin")
    assert "5 passed" in ran(BIN / "python", "-m", "pytest", "-q", *plugins, cwd=made)


def test_a_new_app_is_one_that_sagahook_takes(made: Path) -> None:
    said = ran(BIN / "sagahook", "check", "parcel_desk.sagas", cwd=made)
    assert "trigger orders, one saga for each order_id" in said


def test_the_webhook_that_dev_shows_for_a_new_app_is_one_that_its_saga_takes(made: Path) -> None:
    asked = (BIN / "python", "-m", "sagahook.embedded.app_check", "parcel_desk.sagas")
    source = json.loads(ran(*asked, cwd=made).splitlines()[-1])["source"]
    body = shipped_body(made / "dev", source)
    assert body is not None

    accept = "import json, sys; from parcel_desk.sagas import Order; Order().accept(json.loads(sys.argv[1]))"
    ran(BIN / "python", "-c", accept, body, cwd=made)


def test_a_new_app_has_the_style_that_a_linter_asks_for(made: Path) -> None:
    ran(
        BIN / "ruff",
        "check",
        "--no-cache",
        "--isolated",
        "--select",
        "E,F,W,I,B,UP",
        "--line-length",
        "120",
        ".",
        cwd=made,
    )


def test_no_gap_of_the_template_is_left(made: Path) -> None:
    written = [path for path in made.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    own = [path for path in written if "deploy" not in path.relative_to(made).parts]
    assert [path for path in own if "{{ " in path.read_text()] == []
    assert [path for path in written if "MODULE" in path.parts or path.suffix == ".tmpl"] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_its_overlays_are_right_but_for_what_only_its_own_image_is(made: Path, overlay: str) -> None:
    manifests = Manifests.of(ran(BIN / "kubectl", "kustomize", f"deploy/k8s/overlays/{overlay}", cwd=made))
    runner = manifests.find("Deployment", "sagahook-runner")
    assert runner is not None
    image = runner["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.rpartition("/")[2].partition(":")[0] == "parcel-desk"
    configured = [
        each["data"] for each in manifests.kind("ConfigMap") if "SAGAHOOK_APP" in each.get("data", {})
    ]
    assert [data["SAGAHOOK_APP"] for data in configured] == ["parcel_desk.sagas"]
    # These checks are for sagahook's own images and settings; the app's are its own.
    own = (f"image {image}", "env SHOP_URL")
    assert [str(each) for each in findings(manifests) if not each.where.endswith(own)] == []


def test_its_dockerfile_is_one_that_the_linter_takes(made: Path) -> None:
    ran(BIN / "hadolint", "Dockerfile", cwd=made)


def test_its_package_can_be_built(made: Path, tmp_path: Path) -> None:
    ran(BIN / "hatchling", "build", "--target", "wheel", "--directory", tmp_path, cwd=made)
    assert [path.name for path in tmp_path.iterdir()] == ["parcel_desk-0.1.0-py3-none-any.whl"]


def test_every_target_of_its_makefile_is_one_that_make_understands(made: Path) -> None:
    for target in ("test", "check", "dev", "shop", "send", "image", "manifests"):
        ran("make", "--dry-run", target, cwd=made)


def test_what_is_there_is_never_overwritten(here: Path) -> None:
    (here / "shop").mkdir()
    (here / "shop" / "notes.txt").write_text("mine")
    result = command("init", "shop")
    assert isinstance(result.exception, StackError)
    assert "nothing is overwritten" in str(result.exception)
    assert [path.name for path in (here / "shop").iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(here: Path) -> None:
    (here / "shop").mkdir()
    assert command("init", "shop").exit_code == 0
    assert (here / "shop" / "shop" / "sagas.py").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Order Desk", "such as order-desk"),
        ("2nd", "such as nd"),
        ("a--b", "such as a-b"),
        ("..", "lower-case letters"),
        ("x" * 41, "at most 40 characters"),
        ("class", "class-sagas would do"),
        ("json", "json-sagas would do"),
        ("sagahook", "sagahook-sagas would do"),
        ("fastapi", "fastapi-sagas would do"),
    ],
)
def test_what_cannot_be_a_name_is_refused_with_one_that_can(here: Path, name: str, said: str) -> None:
    result = command("init", name)
    assert isinstance(result.exception, StackError)
    assert said in str(result.exception)
    assert list(here.iterdir()) == []


def test_a_new_version_renews_what_is_sagahooks_and_leaves_the_rest(made: Path) -> None:
    deploy = made / "deploy"
    overlay = deploy / "k8s/overlays/prod/kustomization.yaml"
    (deploy / "k8s/base/runner.yaml").write_text("an older version")
    (deploy / "k8s/base/gone.yaml").write_text("no longer there")
    before = overlay.read_text()
    assert command("manifests", str(deploy)).exit_code == 0
    assert "kind: Deployment" in (deploy / "k8s/base/runner.yaml").read_text()
    assert not (deploy / "k8s/base/gone.yaml").exists()
    assert overlay.read_text() == before


def test_manifests_are_written_nowhere_else(here: Path) -> None:
    (here / "k8s").mkdir()
    result = command("manifests", str(here))
    assert isinstance(result.exception, StackError)
    assert list((here / "k8s").iterdir()) == []
