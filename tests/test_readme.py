"""The README is run: its example as it stands, its commands where that is cheap; its pictures are there."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeai.bundle.reader import read_manifest
from edgeai.testing.require import require

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line.removeprefix("$ ") for block in _blocks("console") for line in block.splitlines() if line[:2] == "$ "]
EDGEAI = [command.split()[1:] for command in COMMANDS if command.startswith(".venv/bin/edgeai ")]
NOT_RUN = {"run", "status", "doctor", "plugins check"}
"""They need a broker, a cart that has run, or minutes. ``test_docs.py`` holds their options, system tests the rest."""


def _run(command: list[str], folder: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_first_two_commands_are_the_demo_and_the_tests_and_both_are_targets() -> None:
    made = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
    assert made[:2] == ["demo", "test"]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {*made, *re.findall(r"`make ([a-z]+)", README)} <= targets


def test_the_first_fifteen_lines_say_what_it_is_why_for_whom_and_how() -> None:
    first = README.splitlines()[:15]
    assert max(map(len, first)) <= 130
    reasons = [line for line in first if line.startswith("- **")]
    assert len(reasons) == 5
    assert all(re.search(r"\]\[\w+\]", reason) for reason in reasons), "each reason leads to what shows it"
    text = "\n".join(first)
    assert "Not a medical device" in text
    assert first[-2:] == ["$ make demo", "$ make test"]
    named = dict(re.findall(r"^\[(\w+)\]: (\S+)$", README, re.MULTILINE))
    assert set(re.findall(r"\]\[(\w+)\]", text)) <= set(named)
    assert [path for path in named.values() if not (ROOT / path.split("#")[0]).exists()] == []


FIGURES = {
    "models/xray-pneumonia/REPORT.md": ["28 x smaller", "-0.0012 (-0.0027 to 0.0003)", "516", "2.3 x", "0.9945"],
    "models/us-head/REPORT.md": ["0.0019 (-0.0007 to 0.0084)", "9.3 x", "15 x", "0.9749"],
    "models/xray-view/REPORT.md": ["12 x", "20 x", "42", "(0.5747 to 1.0000)"],
    "models/us-head-box/REPORT.md": ["1.0000 (0.9208 to 1.0000)", "50"],
    "models/us-head-hc/REPORT.md": ["1.6886 (1.2697 to 2.1973)", "50"],
    "models/us-head-rcnn/REPORT.md": ["0.9800 (0.8876 to 0.9967)", "50"],
    "models/us-breast/REPORT.md": ["0.9012 (0.7775 to 0.9469)", "84"],
    "models/us-anomaly/REPORT.md": ["0.9974 (0.9784 to 0.9993)", "226"],
    "models/modality-guard/REPORT.md": ["97.6 %", "6,992"],
    "docs/benchmarks.md": ["120 ms"],
}
"""What the first page takes from reports, as it stands in both."""


@pytest.mark.parametrize("report", FIGURES)
def test_the_figures_of_the_first_page_are_those_of_the_reports(report: str) -> None:
    text = (ROOT / report).read_text(encoding="utf-8")
    assert [figure for figure in FIGURES[report] if figure not in text or figure not in README] == []


def test_the_counts_of_the_first_page_are_those_of_the_tests() -> None:
    kills = (ROOT / "tests/system/test_kills.py").read_text(encoding="utf-8")
    assert ("KILLS = 100\n" in kills, "INSTANCES = 300\n" in kills) == (True, True)
    matrix = (ROOT / "tests/unit/dicom/test_dicom_grey_matrix.py").read_text(encoding="utf-8")
    rescales = matrix.split("RESCALES")[1].split("}")[0].count('":')
    bits = re.search(r"^BITS = \[(.*)\]$", matrix, re.MULTILINE)
    assert bits is not None
    assert 2 * rescales * bits[1].count("Bits(") == 60  # signed and not
    assert "1.08 (1.05-1.16)" in (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")


def test_the_python_example_runs_as_it_stands(tmp_path: Path) -> None:
    require("tflite", find_spec("ai_edge_litert") is not None, "the example needs an engine: ai-edge-litert")
    (example,) = _blocks("python")
    assert len(example.splitlines()) <= 11
    done = _run([sys.executable, "-c", example], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("completed ")
    assert "class ultrasound True" in done.stdout


def _is_cheap(arguments: list[str]) -> bool:
    return not {arguments[0], " ".join(arguments[:2])} & NOT_RUN


@pytest.mark.parametrize("arguments", [each for each in EDGEAI if _is_cheap(each)], ids=" ".join)
def test_a_cheap_command_does_what_it_says(arguments: list[str], tmp_path: Path) -> None:
    require("tflite", find_spec("ai_edge_litert") is not None, "inference needs an engine: ai-edge-litert")
    from pydicom.data import get_testdata_file

    image = str(get_testdata_file("examples_palette.dcm", download=False))
    given = [{"IMAGES": image}.get(argument, argument) for argument in arguments]
    absolute = [str(ROOT / argument) if (ROOT / argument).is_file() else argument for argument in given]
    done = _run([sys.executable, "-m", "edgeai", *absolute], tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_that_are_not_run_are_still_there() -> None:
    assert {name for name in NOT_RUN if not any(" ".join(each).startswith(name) for each in EDGEAI)} == set()


def test_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    assert {name for name in pictures if (ROOT / name).stat().st_size > 200_000} == set()


def test_the_pictured_run_and_the_example_of_a_result_are_of_the_model_that_ships() -> None:
    _, digest = read_manifest(ROOT / "models/modality-guard/modality-guard-1.0.1.edgeai")
    svg = html.unescape(re.sub(r"<[^>]+>", "", (ROOT / "docs/images/demo.svg").read_text(encoding="utf-8")))
    assert digest[:19] in re.sub(r"\s", "", svg), "run: python docs/images/make.py"
    assert digest in (ROOT / "docs/reference/result.md").read_text(encoding="utf-8"), "run: python docs/images/make.py"
