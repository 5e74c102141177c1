"""What each process does without when it begins: what it imports is held in memory, and waited for at each start."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeai.api.errors import ConfigError
from edgeai.roles import __main__ as entry

ROOT = Path(__file__).resolve().parent.parent

BUILD_HOST = {
    "edgeai_workbench",
    "edgeai_fleet",
    "edgeai_update",
    "tuf",
    "edgeai.api.building",
    "edgeai.hosting.building",
    "tensorflow",
    "keras",
    "matplotlib",
}
IMAGES = {"pydicom", "pynetdicom", "PIL", "cv2"}
SIGNATURES = {"cryptography", "securesystemslib"}
COMMANDS = {"typer", "rich", "edgeai.cli", "edgeai.doctor"}
ENGINES = {"ai_edge_litert", "openvino"}
OF_NO_CART = {*BUILD_HOST, *SIGNATURES, *ENGINES, "edgeai.testing", "pytest"}

WITHOUT = {
    "supervise": {*OF_NO_CART, *IMAGES, *COMMANDS, "numpy", "pydantic", "msgspec", "pluggy", "paho", "http", "ssl"},
    "ingest": {*OF_NO_CART, *IMAGES, *COMMANDS, "pluggy", "paho", "http", "edgeai.plugins", "edgeai.model"},
    "infer": {*OF_NO_CART, *IMAGES, *COMMANDS, "paho", "http", "edgeai.sinks", "edgeai.hosting.sinks"},
    "publish": {*OF_NO_CART, *IMAGES, *COMMANDS, "numpy", "msgspec", "edgeai.dicom", "edgeai.model"},
    "update": {*OF_NO_CART, *IMAGES, *COMMANDS, "numpy", "pluggy", "paho", "http", "edgeai.plugins", "edgeai.model"},
    "edgeai infer": {*OF_NO_CART, *IMAGES, "rich", "pydantic", "paho", "edgeai.roles", "edgeai.spool", "edgeai.config"},
}
"""Process (``benchmarks.closure``, which counts all of it) -> what it must not have imported."""


@pytest.fixture(scope="module")
def modules_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    code = """
import json, pathlib, sys
from benchmarks.closure import closure
folder, *processes = sys.argv[1:]
print(json.dumps({process: closure(process, pathlib.Path(folder))[0] for process in processes}))
"""
    command = [sys.executable, "-c", code, str(tmp_path_factory.mktemp("compiled")), *WITHOUT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=900)
    return {process: set(modules) for process, modules in json.loads(done.stdout).items()}


@pytest.mark.parametrize("process", WITHOUT)
def test_a_process_begins_without_what_it_has_no_use_for(modules_of: dict[str, set[str]], process: str) -> None:
    modules = modules_of[process]
    assert "edgeai.api.errors" in modules
    needless = {name for name in WITHOUT[process] if any(f"{module}.".startswith(f"{name}.") for module in modules)}
    assert needless == set()


class Role:
    """One that notes whether garbage is collected while it works."""

    def __init__(self) -> None:
        self.collected: list[bool] = []

    def main(self, _: object) -> int:
        self.collected.append(gc.isenabled())
        return 0


def test_garbage_is_collected_where_a_role_works_and_not_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role, profile = Role(), tmp_path / "profile.toml"
    profile.write_text('[device]\nid = "cart"\nsite = "lab"\n')
    monkeypatch.setattr(entry.logs, "configure", lambda *_, **__: None)
    monkeypatch.setattr(entry, "import_module", lambda _: role.collected.append(gc.isenabled()) or role)
    assert entry._run("publish", "publish", profile, ()) == 0
    assert role.collected == [False, True]
    with pytest.raises(ConfigError):
        entry._run("publish", "publish", tmp_path / "none.toml", ())
    assert gc.isenabled()
