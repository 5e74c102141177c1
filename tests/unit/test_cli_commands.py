"""Commands of other distributions: found by entry points; without the build host's, a sentence says what to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgeai.cli import commands
from edgeai.cli.commands import BUILD_HOST, FLEET, GROUP, OPS_HOST, OWN, UPDATE, UPDATE_CLIENT, WORKBENCH
from edgeai.cli.main import run
from edgeai.testing.distributions import write_fake_distribution

ROOT = Path(__file__).parents[2]
Edgeai = Callable[..., subprocess.CompletedProcess[str]]
WEIGH = 'import typer\ndef command(kilos: int = 3) -> None:\n    """Weigh a cart."""\n    typer.echo(f"{kilos} kg")\n'
BARE = """
import importlib.metadata as m, sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("edgeai_workbench", "edgeai_fleet", "edgeai_update", "tuf"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gone())
every = m.distributions
hosts = ("edgeai-workbench", "edgeai-fleet", "edgeai-update")
m.distributions = lambda **more: (d for d in every(**more) if d.metadata["Name"] not in hosts)
"""
"""As a cart has it: of the build host, the ops host and the update client there is neither a module nor metadata."""


@pytest.fixture
def edgeai(tmp_path: Path) -> Edgeai:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "300"}
        command = [sys.executable, "-m", "edgeai", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, cwd=tmp_path)

    return call


@pytest.fixture
def bare(tmp_path: Path, edgeai: Edgeai) -> Edgeai:
    (tmp_path / "sitecustomize.py").write_text(BARE)
    return edgeai


@pytest.mark.parametrize("name", BUILD_HOST)
def test_a_cart_is_told_where_a_command_of_the_build_host_is(bare: Edgeai, name: str) -> None:
    done = bare(name, "models/us-head", "--data", "/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error[build.workbench-missing]: edgeai {name} is a command of the build host" in done.stderr
    assert f"pip install {WORKBENCH}" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_cart_is_told_where_the_ops_hosts_command_is(bare: Edgeai) -> None:
    done = bare("fleet", "status", "/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error[fleet.not-installed]: edgeai fleet is a command of the ops host" in done.stderr
    assert f"pip install {FLEET}" in done.stderr
    assert "fleet is a command of the ops host, which is not installed here" in bare("--help").stdout


def test_a_cart_is_told_where_the_update_clients_command_is(bare: Edgeai) -> None:
    done = bare("update", "cart.toml", "--once")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error[update.not-installed]: edgeai update is a command of the update client" in done.stderr
    assert f"pip install {UPDATE}" in done.stderr


@pytest.mark.slow
def test_a_cart_is_told_so_by_help_too(bare: Edgeai) -> None:
    assert "build.workbench-missing" in bare("train", "--help").stderr
    done = bare("--help")
    assert done.returncode == 0
    assert "train, build, evaluate, compare and pack are commands of the build host" in done.stdout
    assert f"pip install {WORKBENCH}" in done.stdout
    assert "Did you mean 'train'" in bare("trian").stderr
    assert bare("bench", "--help").returncode == 0  # it measures a cart: it is the cart's own


@pytest.mark.slow
def test_where_the_build_host_is_its_commands_are_listed_under_its_name(edgeai: Edgeai) -> None:
    text = edgeai("--help").stdout
    assert f"Commands of {WORKBENCH}" in text
    assert "not installed" not in text
    assert all(f"│ {name} " in text for name in (*OWN, *BUILD_HOST, *OPS_HOST, *UPDATE_CLIENT))


@pytest.mark.slow
def test_a_command_of_anybody_is_found_and_runs(edgeai: Edgeai, tmp_path: Path) -> None:
    write_fake_distribution(tmp_path, name="acme", module_source=WEIGH, entry_points={"weigh": "acme"}, group=GROUP)
    assert edgeai("weigh", "--kilos", "7").stdout == "7 kg\n"
    assert edgeai("weigh", "--tons", "7").returncode == 2
    text = edgeai("--help").stdout
    assert "Commands of acme" in text
    assert "Weigh a cart." in text


def test_a_name_of_the_core_is_the_cores(edgeai: Edgeai, tmp_path: Path) -> None:
    write_fake_distribution(tmp_path, name="acme", module_source=WEIGH, entry_points={"verify": "acme"}, group=GROUP)
    assert "Check every byte" in edgeai("verify", "--help").stdout
    assert "Weigh" not in edgeai("--help").stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_library", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise SystemError('broken')", "cannot be loaded: SystemError: broken"),
        ("nothing = 1", "cannot be loaded: AttributeError"),
        ("raise SystemExit(0)", "cannot be loaded: SystemExit: 0"),
        ("command = 3", "cannot be loaded: "),
    ],
    ids=["a library is missing", "it raises", "there is no command in it", "it ends the process", "it is no command"],
)
def test_one_that_cannot_be_loaded_says_so_and_harms_no_other(
    edgeai: Edgeai, tmp_path: Path, source: str, says: str
) -> None:
    write_fake_distribution(tmp_path, name="acme", module_source=source, entry_points={"weigh": "acme"}, group=GROUP)
    done = edgeai("weigh", "--kilos", "7")
    assert done.returncode == 2
    assert f"error[config.command-unusable]: edgeai weigh of acme 1.0 {says}" in done.stderr
    assert "Traceback" not in done.stderr
    done = edgeai("--help")
    assert (done.returncode, "Commands that cannot be used" in done.stdout) == (0, True)
    assert edgeai("verify", "--help").returncode == 0


def test_a_name_that_two_offer_is_used_by_none(edgeai: Edgeai, tmp_path: Path) -> None:
    for name in ("acme", "brand"):
        write_fake_distribution(tmp_path, name=name, module_source=WEIGH, entry_points={"weigh": name}, group=GROUP)
    done = edgeai("weigh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "edgeai weigh is offered by acme 1.0 and brand 1.0" in done.stderr


NO_CARTS = {
    WORKBENCH,
    FLEET,
    UPDATE,
    "tuf",
    "scikit-learn",
    "scipy",
    "matplotlib",
    "jinja2",
    "cyclonedx-python-lib",
    "tomlkit",
    "tensorflow",
    "keras",
}


def _needed(roots: list[str]) -> set[str]:
    """All that these requirements install: of our own projects by their sources, of others by what is installed."""
    own = {tomllib.loads(path.read_text())["project"]["name"]: path for path in ROOT.glob("plugins/*/pyproject.toml")}
    own["edgeai"] = ROOT / "pyproject.toml"
    reached: dict[tuple[str, str], None] = {}
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in reached:
                continue
            reached[name, extra] = None
            waiting += _of(own.get(name), name, extra)
    return {name for name, _ in reached}


def _of(project: Path | None, name: str, extra: str) -> list[Requirement]:
    if project is not None:
        body = tomllib.loads(project.read_text())["project"]
        return [*map(Requirement, body["optional-dependencies"][extra] if extra else body["dependencies"])]
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # for another Python or another system
        return []
    return [each for each in map(Requirement, lines) if each.marker is None or each.marker.evaluate({"extra": extra})]


def test_a_cart_installs_nothing_of_the_build_host() -> None:
    makefile = (ROOT / "Makefile").read_text()
    [words] = re.findall(r"^CART_PLUGINS := (.*)$", makefile, re.MULTILINE)
    cart = _needed(["edgeai", *(word.removeprefix("./plugins/") for word in words.split())])
    assert {"numpy", "openvino", "ai-edge-litert", "opencv-python-headless", "typing-extensions"} <= cart
    assert cart & NO_CARTS == set()


def test_the_extra_build_brings_the_build_host_with_its_libraries_and_commands() -> None:
    assert NO_CARTS - {"tensorflow", "keras", FLEET, UPDATE, "tuf"} <= _needed(["edgeai[build]"])
    project = tomllib.loads((ROOT / "plugins/edgeai-workbench/pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == {name: f"edgeai_workbench.commands.{name}" for name in BUILD_HOST}


def test_the_extra_fleet_brings_the_ops_host_and_nothing_of_the_build_host() -> None:
    needed = _needed(["edgeai[fleet]"])
    assert needed & NO_CARTS == {FLEET, "tuf"}
    project = tomllib.loads((ROOT / "plugins/edgeai-fleet/pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == {name: f"edgeai_fleet.commands.{name}" for name in OPS_HOST}


def test_the_extra_update_brings_the_update_client_and_no_other_host() -> None:
    needed = _needed(["edgeai[update]"])
    assert needed & NO_CARTS == {UPDATE, "tuf"}
    project = tomllib.loads((ROOT / "plugins/edgeai-update/pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == {name: f"edgeai_update.commands.{name}" for name in UPDATE_CLIENT}


def test_a_command_is_built_once_however_often_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built: list[str] = []
    monkeypatch.setattr(commands, "as_written", lambda command: built.append(command.name))
    commands._built.cache_clear()
    try:
        assert [run(["fleet", *words]) for words in (["--help"], ["rollout", "--help"])] == [0, 0]
    finally:
        commands._built.cache_clear()
    assert "rollback" in capsys.readouterr().out
    assert built == ["fleet"]
