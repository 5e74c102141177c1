"""Whoever installs a plugin's wheel can hold it to the contract: the tests and their examples ship in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeai.testing.require import require

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(
    path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml") if "edgeai.plugins" in path.read_text()
)
NO_TENSORFLOW = "import sys\nsys.modules.update(dict.fromkeys(['tensorflow', 'keras']))\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """``wheel("edgeai-tflite")`` -> the wheel as its build backend makes it, from the sources of this checkout."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheels")

    def built(name: str) -> Path:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / name)]
        done = subprocess.run(command, cwd=ROOT / "plugins" / name, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        [path] = (folder / name).glob("*.whl")
        return path

    return built


def check(folder: Path, plugin: str, *, hide: str = "") -> dict:
    """``edgeai plugins check`` where the plugin is that of ``folder``, far from any checkout."""
    (folder / "sitecustomize.py").write_text(hide)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *(p for p in sys.path if p)])}
    if hide:
        environment.pop("EDGEAI_REQUIRE", None)  # what is hidden cannot be asked for
    done = subprocess.run(
        [sys.executable, "-m", "edgeai", "plugins", "check", plugin, "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    body = json.loads(done.stdout)
    broken = [rule for rule in body["rules"] if rule["outcome"] not in ("pass", "skip")]
    assert done.returncode == 0, "\n\n".join(f"{rule['test']}: {rule['detail'][-3000:]}" for rule in broken)
    return body


@pytest.mark.parametrize("name", PLUGINS)
def test_a_wheel_holds_the_tests_of_its_plugin(wheel, name):
    package, tests = name.replace("-", "_"), ROOT / "plugins" / name / "tests"
    with zipfile.ZipFile(wheel(name)) as archive:
        held = {entry: archive.read(entry) for entry in archive.namelist()}
    assert held[f"{package}/conformance/test_conformance.py"] == (tests / "test_conformance.py").read_bytes()
    for path in (tests / "examples").glob("*"):
        assert held[f"{package}/conformance/examples/{path.name}"] == path.read_bytes()
    strays = [entry for entry in held if "/tests/" in entry or entry.endswith(".pyc")]
    assert strays == []


@pytest.mark.parametrize("plugin", [pytest.param("classify", marks=pytest.mark.torture), "segment"])
def test_an_installed_plugin_is_held_to_every_rule(wheel, tmp_path, plugin):
    zipfile.ZipFile(wheel("edgeai-tasks")).extractall(tmp_path)
    body = check(tmp_path, plugin)
    assert body["summary"]["need_examples"] == 0, [rule for rule in body["rules"] if rule["needs_example"]]
    assert body["summary"]["held"] > 60
    tasks = {"classify", "segment", "detect", "regress", "reconstruct"}
    others = {rule["spec"] for rule in body["rules"]} & tasks - {plugin}
    assert not others, "the rules of another plugin of the same package"


@pytest.mark.parametrize("engine", ["tflite", pytest.param("openvino", marks=pytest.mark.torture)])
def test_a_device_without_tensorflow_holds_its_engine_to_every_rule(wheel, tmp_path, engine):
    from edgeai.plugins import Registry

    devices = Registry.of([engine]).backends[engine].probe()
    require(engine, bool(devices), f"{engine} has no device here")
    zipfile.ZipFile(wheel(f"edgeai-{engine}")).extractall(tmp_path)
    body = check(tmp_path, engine, hide=NO_TENSORFLOW)
    backend = [rule for rule in body["rules"] if rule["kind"] == "backend"]
    assert len(backend) > 50
    unasked = {rule["detail"] for rule in backend if rule["outcome"] == "skip"}
    assert not {why for why in unasked if "example" in why or "tensorflow" in why.lower()}, unasked
    assert body["summary"]["need_examples"] == 0
    build = [rule for rule in body["rules"] if rule["kind"] == "converter" and rule["outcome"] == "skip"]
    assert build, "without TensorFlow nothing is converted"
    assert all(f"edgeai-{engine}[build]" in rule["detail"] or "here" in rule["detail"] for rule in build), build
