"""The author's guide is true: its commands are run, its code conforms, its tables are whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgeai.api
from edgeai.api import EdgeaiError, hooks
from edgeai.plugins import KINDS
from edgeai.testing.distributions import write_fake_distribution

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def guide() -> str:
    return (Path(__file__).resolve().parents[2] / "plugins" / "README.md").read_text(encoding="utf-8")


def blocks(guide: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", guide, re.DOTALL)


def environment(*folders: Path) -> dict[str, str]:
    path = os.pathsep.join([*map(str, folders), *(p for p in sys.path if p)])
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PYTHONPATH": path, "PATH": programs, "OMP_NUM_THREADS": "1"}


def test_its_commands_work(guide, tmp_path):
    (commands,) = blocks(guide, "sh")
    folder = tmp_path
    for line in commands.splitlines():
        if line.startswith("cd "):
            folder = folder / line.removeprefix("cd ")
        elif line.startswith("pip install"):
            # The same by way of the path: building needs the network.
            assert line == "pip install -e '.[test]'"
            write_fake_distribution(folder, name="edgeai-acme", entry_points={"acme": "edgeai_acme"})
        else:
            done = subprocess.run(
                line, shell=True, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=600
            )
            assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_its_plugin_conforms(guide, tmp_path):
    python = blocks(guide, "python")
    (module,) = [block for block in python if "def edgeai_transforms" in block]
    (tests,) = [block for block in python if "class TestCrop" in block]
    write_fake_distribution(tmp_path, name="acme", module_source=module)
    (tmp_path / "test_conformance.py").write_text(tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_conformance.py"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout


def test_every_kind_has_its_row(guide):
    rows = dict(re.findall(r"^\| (\w+) \| `(edgeai_\w+)` \|", guide, re.MULTILINE))
    assert rows == {kind: f"edgeai_{kind}s" for kind in KINDS}
    assert all(hasattr(hooks, hook) for hook in rows.values())


def test_every_error_it_names_is_in_the_header(guide):
    named = re.findall(r"^\| `(\w+)` \| ", guide, re.MULTILINE)
    assert len(named) == 11
    assert all(issubclass(getattr(edgeai.api, name), EdgeaiError) for name in named)
