"""The guides' command lines, as they stand: each that can run here is run, on what the repository ships."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeai.testing.phantoms import write_instance
from edgeai.testing.require import require
from edgeai_workbench.drawings import head

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]


def _lines(page: str, *, before: str = "", after: str = "") -> Iterator[str]:
    """The page's command lines between two of its headings."""
    text = (ROOT / "docs/guides" / page).read_text()
    text = text.split(after, 1)[1] if after else text
    text = text.split(before, 1)[0] if before else text
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as one works in it: the models, what `edgeai build` gave of them, an image."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "dist").mkdir()
    for bundle in (ROOT / "models").glob("*/*.edgeai"):
        shutil.copy(bundle, tmp_path / "dist")
    write_instance(tmp_path / "IMAGES/one.dcm", head(0), modality="US")
    return tmp_path


def _run(desk: Path, line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """One line; `edgeai` is this one, and nothing is typed."""
    words = " ".join(shlex.quote(sys.executable) + " -m edgeai" if w == "edgeai" else w for w in line.split(" "))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(desk / "cache"), **more}
    return subprocess.run(
        ["bash", "-c", words],
        cwd=desk,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
        stdin=subprocess.DEVNULL,
    )


def _all_run(desk: Path, lines: list[str], **more: str) -> None:
    failed = []
    for line in lines:
        done = _run(desk, line, **more)
        if done.returncode != 0:
            failed.append(f"{line}: {done.returncode}\n{(done.stdout + done.stderr)[-800:]}")
    assert failed == []


def test_the_integrators_first_look_runs(desk: Path) -> None:
    require("tflite", find_spec("ai_edge_litert") is not None, "pip install ai-edge-litert")
    lines = list(_lines("integrator.md", after="## 2.", before="## 3."))
    assert len(lines) == 3
    _all_run(desk, lines)
    assert list((desk / "pictures").iterdir())


def test_signing_in_five_minutes_and_what_a_key_may_sign(desk: Path) -> None:
    """On the smallest bundle that ships, under the name of the guide's own."""
    shutil.copy(next((ROOT / "models/modality-guard").glob("*.edgeai")), desk / "dist/tiny-0.1.0.edgeai")
    lines = list(_lines("signing.md", after="## In five minutes", before="## What a key may"))
    signing = [line for line in lines if "/etc/edgeai/profile.toml" not in line]
    assert [line.split()[1] for line in signing] == ["keys", "sign", "verify"]
    (desk / "trust").mkdir()
    _all_run(desk, signing, EDGEAI_KEY_PASSPHRASE="a passphrase of some length")
    shutil.copy(desk / "keys/release-2026.pub", desk / "trust")
    looking = [line.replace("/etc/edgeai/trust", "trust") for line in _lines("signing.md", after="## What a key may")]
    looking = [line for line in looking if line.startswith(("edgeai keys list", "edgeai inspect"))]
    assert len(looking) == 2
    _all_run(desk, looking)


def test_the_ml_engineers_figures_are_of_artifacts_that_ship(desk: Path) -> None:
    data = Path(os.environ.get("EDGEAI_DATA", ROOT.parent / "shared/data"))
    require("data", (data / "xray_view").is_dir(), "EDGEAI_DATA has no xray_view")
    engines = ("keras", "ai_edge_litert", "openvino")
    require("tflite", all(find_spec(name) for name in engines), f"needs {', '.join(engines)}")
    lines = list(_lines("ml-engineer.md", after="## 5.", before="## A model that"))
    lines = [line.replace("~/data", str(data)) for line in lines if not line.startswith("edgeai build")]
    assert [line.split()[1] for line in lines] == ["evaluate", "compare", "bench", "pack", "sign", "verify"]
    _all_run(desk, ["edgeai keys new release --out .", *lines])


def test_every_bundle_and_artifact_that_a_page_names_ships() -> None:
    pages = [ROOT / "README.md", ROOT / "models/README.md", *(ROOT / "docs").rglob("*.md")]
    there = {path.name: path for path in (ROOT / "models").glob("*/*.edgeai")}
    missing, seen = [], 0
    for page in pages:
        for name, artifact in re.findall(r"([\w-]+-\d+\.\d+\.\d+\.edgeai)#([\w-]+)", page.read_text()):
            seen += 1
            if name in there and not (there[name].parent / "artifacts" / artifact).exists():
                missing.append(f"{page.name}: {name}#{artifact}")
    assert seen >= 1
    assert missing == []
