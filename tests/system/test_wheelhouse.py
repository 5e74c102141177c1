"""``make wheelhouse``: what it gives installs a cart on a machine that no index can be reached from."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgeai.testing.phantoms import write_instance
from edgeai.testing.require import require
from edgeai_workbench.drawings import head

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1800)]

OFFLINE: Mapping[str, str] = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV"))},
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_INDEX": "1",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_COMPILE": "0",  # what is imported is compiled then
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
}
"""Nothing of this machine's pip: no index, no folder of wheels, no cache; and a proxy at which nobody answers."""


@pytest.fixture(scope="module")
def wheelhouse(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the Makefile's own target, in a tree of its own environment."""
    make = shutil.which("make")
    require("make", make is not None, "make is not installed")
    folder = tmp_path_factory.mktemp("wheelhouse")
    command = [make, "wheelhouse", f"VENV={folder / 'venv'}", f"WHEELHOUSE={folder / 'wheels'}"]
    done = subprocess.run(
        [str(word) for word in (*command, f"PYTHON={sys.executable}")],
        cwd=repo_root,
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout + done.stderr
    absent = re.search(r"No matching distribution|Failed to establish|Name or service|Connection refused", told)
    if done.returncode != 0 and absent is not None:
        require("index", False, f"no index to take wheels from: {told[-300:]}")
    assert done.returncode == 0, told
    return folder / "wheels"


@pytest.fixture(scope="module")
def offline(wheelhouse: Path, repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment by the guide's own lines, the folder's name alone being another one."""
    text = (repo_root / "docs/guides/integrator.md").read_text().split("## Without an index")[1].split("\n## ")[0]
    lines = [line.removeprefix("$ ").removeprefix("sudo ") for line in text.splitlines() if line.startswith("$ ")]
    there = lines[next(number for number, line in enumerate(lines) if line.startswith("scp ")) + 1 :]
    assert [line for line in there if "pip install" in line and "--no-index" in line], there
    venv = tmp_path_factory.mktemp("cart") / "venv"
    copy = shutil.copytree(wheelhouse, venv.parent / "wheelhouse")
    script = "\n".join(there).replace("/opt/edgeai", str(venv)).replace("python3 ", f"{sys.executable} ")
    done = subprocess.run(
        ["bash", "-euc", script], cwd=copy.parent, env=dict(OFFLINE), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return venv / "bin/edgeai"


def _edgeai(program: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, words)]
    environment = {**OFFLINE, "COLUMNS": "200", "HOME": str(program.parent.parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/", timeout=600)


def test_what_is_installed_is_whole(offline: Path, repo_root: Path) -> None:
    done = _edgeai(offline, "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "edgeai")
    pip = [str(offline.with_name("python")), "-m", "pip", "--disable-pip-version-check"]
    checked = subprocess.run([*pip, "check"], env=dict(OFFLINE), capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    listed = json.loads(_edgeai(offline, "plugins", "list", "--json").stdout)
    tasks = {"classify", "segment", "detect", "regress", "reconstruct"}
    assert {"tflite", "openvino", "transforms", *tasks} <= {item["name"] for item in listed}
    installed = subprocess.run([*pip, "freeze"], env=dict(OFFLINE), capture_output=True, text=True, check=True).stdout
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (repo_root / ".ci/constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for line in installed.lower().replace("_", "-").splitlines():
        name, _, version = line.partition("==")
        assert not version or pins.get(name, version) == version, line


def test_both_engines_are_found(offline: Path) -> None:
    done = _edgeai(offline, "doctor", "--json")
    printed = {row["what"]: row for row in json.loads(done.stdout)}
    assert (printed["backend tflite"]["verdict"], printed["backend openvino"]["verdict"]) == ("ok", "ok"), done.stdout


@pytest.mark.parametrize("backend", ["tflite", "openvino"])
def test_an_image_gives_a_result(offline: Path, repo_root: Path, tmp_path: Path, backend: str) -> None:
    image = write_instance(tmp_path / "image.dcm", head(0), modality="US").path
    for name in ("modality-guard", "us-head"):
        [bundle] = (repo_root / "models" / name).glob("*.edgeai")
        done = _edgeai(offline, "infer", bundle, image, "--backend", backend, "--json")
        if name == "us-head" and "backend.no-candidate" in done.stdout + done.stderr:
            continue  # it ships artifacts of one engine
        assert done.returncode == 0, done.stdout + done.stderr
        [line] = done.stdout.splitlines()
        assert json.loads(line)["outcome"] == "completed", line


def test_the_sums_are_of_the_wheels_and_no_address_is_in_the_folder(wheelhouse: Path) -> None:
    names = {path.name for path in wheelhouse.iterdir()}
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=wheelhouse, check=False)
    listed = {line.split("  ")[1] for line in (wheelhouse / "SHA256SUMS").read_text().splitlines()}
    assert (done.returncode, names) == (0, listed | {"SHA256SUMS"})
    assert "://" not in (wheelhouse / "SHA256SUMS").read_text()
