"""``edgeai infer`` and ``inspect`` as processes, on fake engines: what a user sees, and what never stops the rest."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

import edgeai
from edgeai.api import Finding, Frame, Geometry, Grayscale, InstanceRef, Lut, Measurement, Window
from edgeai.bundle.manifest import ArtifactDecl
from edgeai.cli import rendering, wording
from edgeai.cli.picture.plate import LEAST_WIDTH
from edgeai.cli.picture.style import CORAL, PANEL
from edgeai.model import open_model
from edgeai.plugins import Registry
from edgeai.testing.bundles import change_member
from edgeai.testing.distributions import write_fakes
from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.require import require

Make = Callable[..., Path]
SCHEMA = json.loads((files("edgeai") / "schemas" / "result-2.json").read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a process of its own, with the fakes installed."""
    write_fakes(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment |= {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}

    def running(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgeai", *map(str, arguments)],
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return running


# --- what comes out ---------------------------------------------------------------------------


def test_a_table_of_what_was_found(run: Any, make_bundle: Make, make_dicom: Make) -> None:
    bright, dark = make_dicom("a.dcm", level=250), make_dicom("b.dcm", level=2)
    done = run("infer", make_bundle(), bright, dark, "--backend", "fake-works")
    assert done.returncode == 0, done.stderr
    head, first, second, counted = done.stdout.splitlines()
    assert head.split() == ["file", "outcome", "finding", "probability", "backend", "device", "ms"]
    assert re.match(r"a\.dcm +completed +bright +\d+\.\d % +fake-works +CPU +\d+\.\d$", first)
    assert re.match(r"b\.dcm +completed +dark", second)
    assert counted == "2 completed"


def test_json_lines_are_results_and_nothing_else(run: Any, make_bundle: Make, make_dicom: Make, tmp_path: Path) -> None:
    good, other = make_dicom("a.dcm"), make_dicom("b.dcm", Modality="US")
    done = run("infer", make_bundle(), good, other, tmp_path / "none.dcm", "--json", "--backend", "fake-works")
    assert done.returncode == 1
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for result in results:
        jsonschema.validate(result, SCHEMA)
    assert [(Path(r["file"]).name, r["outcome"]) for r in results] == [
        ("a.dcm", "completed"),
        ("b.dcm", "not-applicable"),
        ("none.dcm", "failed"),
    ]
    assert results[2]["reason"]["code"] == "input.unreadable"


@pytest.mark.parametrize("how", ["truncated", "garbage", "missing", "misbehaving"])
def test_a_bad_file_never_stops_the_others(
    run: Any, make_bundle: Make, make_dicom: Make, tmp_path: Path, how: str
) -> None:
    first, bad, last = make_dicom("a.dcm", level=100), tmp_path / "bad.dcm", make_dicom("z.dcm", level=101)
    if how == "truncated":
        bad.write_bytes(first.read_bytes()[:-50])
    elif how == "garbage":
        bad.write_bytes(os.urandom(5000))
    elif how == "misbehaving":
        bad = make_dicom("bad.dcm", level=255)
    bundle = make_bundle(misbehave=Misbehaviour(how="raise", mean_above=0.9))
    done = run("infer", bundle, first, bad, last, "--backend", "fake-works")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    outcomes = [line.split()[1] for line in done.stdout.splitlines()[1:4]]
    assert outcomes == ["completed", "failed", "completed"]
    assert done.stdout.splitlines()[-1] == "2 completed, 1 failed"


def test_folders_are_searched_and_what_is_left_out_is_said(
    run: Any, make_bundle: Make, make_dicom: Make, tmp_path: Path
) -> None:
    make_dicom("in/b/2.dcm")
    first = make_dicom("in/a/1.dcm")
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    (tmp_path / "in" / "DICOMDIR").write_bytes(first.read_bytes())
    (tmp_path / "in" / "link.dcm").symlink_to(first)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    done = run("infer", make_bundle(), tmp_path / "in", first, tmp_path / "in" / "a", "--backend", "fake-works")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 completed"
    assert "2 files passed over: not DICOM" in done.stderr
    assert "3 files passed over: named twice" in done.stderr


def test_a_named_file_that_is_not_dicom_is_a_failure(run: Any, make_bundle: Make, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    done = run("infer", make_bundle(), tmp_path / "notes.txt", "--backend", "fake-works")
    assert done.returncode == 1
    assert "dicom.not-dicom" in done.stdout


@pytest.mark.slow
def test_file_names_cannot_steer_the_terminal(run: Any, make_bundle: Make, make_dicom: Make) -> None:
    evil = make_dicom("a.dcm").rename(make_dicom("b.dcm").with_name("evil\x1b[2J\udcff.dcm"))
    done = run("infer", make_bundle(), evil, "--backend", "fake-works")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    done = run("infer", make_bundle(), evil, "--backend", "fake-works", "--json")
    assert json.loads(done.stdout)["outcome"] == "completed"


# --- which engine -----------------------------------------------------------------------------


def test_the_next_wish_is_taken_aloud(run: Any, make_bundle: Make, make_dicom: Make) -> None:
    done = run("infer", make_bundle(), make_dicom(), "--backend", "fake-absent", "--backend", "fake-works")
    assert done.returncode == 0
    assert "degraded: wished for fake-absent" in done.stderr
    assert "this fake has no device" in done.stderr
    assert "fake-works" in done.stdout


def test_a_device_that_is_not_there(run: Any, make_bundle: Make, make_dicom: Make) -> None:
    done = run("infer", make_bundle(), make_dicom(), "--backend", "fake-works", "--device", "NPU")
    assert done.returncode == 1
    assert done.stderr.startswith("error[backend.")
    assert "NPU" in done.stderr
    assert done.stdout == ""


# --- exit codes and errors --------------------------------------------------------------------


@pytest.mark.slow
def test_wrong_usage_is_2(run: Any, make_bundle: Make, make_dicom: Make) -> None:
    assert run("infer").returncode == 2
    assert run("infer", make_bundle()).returncode == 2
    assert run("infer", make_bundle(), make_dicom(), "--nonesuch").returncode == 2
    assert run("nonesuch").returncode == 2
    twice = run("infer", make_bundle(), make_dicom(), "--backend", "fake-works", "--backend", "fake-works")
    assert twice.returncode == 2
    assert twice.stderr.startswith("error[config.backend-twice]")


@pytest.mark.slow
def test_errors_are_one_clear_line_and_a_remedy(run: Any, make_bundle: Make, tmp_path: Path) -> None:
    done = run("infer", tmp_path / "none.edgeai", tmp_path / "x.dcm")
    assert done.returncode == 1
    assert done.stderr.startswith("error[bundle.missing]:")
    assert "Traceback" not in done.stderr
    (tmp_path / "empty").mkdir()
    done = run("infer", make_bundle(), tmp_path / "empty")
    assert done.returncode == 1
    assert "error[input.no-files]" in done.stderr
    assert "what to do:" in done.stderr
    assert "Traceback" in run("infer", make_bundle(), tmp_path / "empty", EDGEAI_TRACEBACK="1").stderr


def test_version(run: Any, repo_root: Path) -> None:
    declared = tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]["version"]
    assert edgeai.__version__ == declared
    assert run("--version").stdout == f"edgeai {declared}\n"


def test_public_names_resolve_and_no_others() -> None:
    for name in edgeai.__all__:
        assert getattr(edgeai, name) is not None
    assert edgeai.open_model is open_model
    with pytest.raises(AttributeError):
        edgeai.nonesuch  # noqa: B018


def test_help_lists_the_commands_and_says_what_a_crash_does(run: Any) -> None:
    done = run("--help")
    assert "infer" in done.stdout
    assert "inspect" in done.stdout
    assert "crashes ends" in " ".join(run("infer", "--help").stdout.split())


# --- cold start -------------------------------------------------------------------------------

NEEDLESS = {
    "tensorflow": "an engine is loaded when it is the one that runs",
    "keras": "of the build host",
    "openvino": "as tensorflow",
    "pydantic": "profiles and cards are read with it; typer would have it judge the command line (edgeai.cli.plain)",
    "rich": "tables and bars for a terminal, and errors",
    "pydicom": "the header is walked without it, and a native image needs no decoder",
    "pynetdicom": "no network here",
    "paho": "as pynetdicom",
    "cryptography": "signatures, with --trust",
    "securesystemslib": "as cryptography",
    "PIL": "compressed images, and overlays",
    "matplotlib": "reports",
    "prometheus_client": "metrics of the service",
}
"""What a cold run on one native image does without, and why; importing any of it would be waited for each time."""
OTHER_GROUPS = (
    "edgeai.roles",
    "edgeai.spool",
    "edgeai.config",
    "edgeai.mqtt",
    "edgeai.sinks",
    "edgeai.cli.overlay",
    "edgeai.cli.picture",
)


def test_a_cold_run_imports_nothing_it_does_not_need(
    make_bundle: Make, make_dicom: Make, run: Any, tmp_path: Path
) -> None:
    code = "import sys; from edgeai.cli.main import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    arguments = ["infer", str(make_bundle()), str(make_dicom()), "--backend", "fake-works"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=600
    )
    assert "1 completed" in done.stdout
    modules = set(done.stderr.split())
    assert "edgeai.model" in modules
    for name in (*NEEDLESS, *OTHER_GROUPS):
        assert not [module for module in modules if module == name or module.startswith(name + ".")], name


@pytest.mark.slow
def test_litert_starts_without_tensorflow(make_dicom: Make, data_kit: Path, repo_root: Path, tmp_path: Path) -> None:
    require("tflite", importlib.util.find_spec("ai_edge_litert") is not None, "ai-edge-litert is not installed")
    *_, bundle = sorted((repo_root / "models" / "modality-guard").glob("*.edgeai"))
    code = "import sys; from edgeai.cli.main import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    grain = np.random.default_rng(0).normal(0, 6, (64, 64))  # else it would show nothing, and be withheld
    pixels = np.clip(20 + 3 * np.arange(64) + grain, 0, 255).astype(np.uint8)
    image = make_dicom(Rows=64, Columns=64, PixelData=pixels.tobytes())
    done = subprocess.run(
        [sys.executable, "-c", code, "infer", str(bundle), str(image), "--backend", "tflite"],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "1 completed" in done.stdout, done.stderr[-500:]
    modules = set(done.stderr.split())
    assert "ai_edge_litert.interpreter" in modules
    assert not {"tensorflow", "keras", "openvino"} & modules


# --- overlays ---------------------------------------------------------------------------------


def test_a_picture_an_instance(run: Any, make_bundle: Make, make_dicom: Make, tmp_path: Path) -> None:
    one, two = make_dicom("x/a.dcm"), make_dicom("y/a.dcm", frames=4)
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"no image")
    done = run("infer", make_bundle(), one, two, bad, "--overlay", tmp_path / "out", "--backend", "fake-works")
    assert done.returncode == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-2.png", "a.png", "bad.png"]
    picture, card = Image.open(tmp_path / "out" / "a.png"), Image.open(tmp_path / "out" / "bad.png")
    assert picture.size[0] == 512 + PANEL
    assert picture.size[1] >= 410
    assert card.size[0] == LEAST_WIDTH + PANEL, "words, and an empty plate"
    assert (np.asarray(card) == CORAL).all(axis=-1).any(), "which say that it failed"


def test_an_overlay_folder_that_cannot_be(run: Any, make_bundle: Make, make_dicom: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("infer", make_bundle(), make_dicom(), "--overlay", tmp_path / "file")
    assert done.returncode == 2
    assert "config.overlay-folder" in done.stderr


REF = InstanceRef(sop_class_uid="1.2", sop_instance_uid="1.2.3")


def frame_of(pixels: Any, **more: Any) -> Frame:
    geometry = Geometry(
        source_rows=pixels.shape[0], source_columns=pixels.shape[1], pixel_spacing_mm=more.pop("spacing", None)
    )
    return Frame(pixels=pixels, number=1, geometry=geometry, instance=REF, **more)


def levels(image: Image.Image) -> tuple[int, int]:
    """Grey of the left and of the right edge."""
    values = np.asarray(image.convert("L"))
    return int(values[values.shape[0] // 2, 3]), int(values[values.shape[0] // 2, -4])


RAMP = np.repeat(np.array([[0, 1000]], np.int16), 32, axis=1).repeat(40, axis=0)


def test_rendering_follows_the_header() -> None:
    window = Grayscale(windows=(Window(center=1000.0, width=1000.0),))
    low, high = levels(rendering.render(frame_of(RAMP, grayscale=window)))
    assert (low, high) == (0, pytest.approx(128, abs=1))
    inverted = frame_of(RAMP, grayscale=window, photometric_interpretation="MONOCHROME1")
    assert levels(rendering.render(inverted)) == (255, pytest.approx(127, abs=1))
    assert levels(rendering.render(frame_of(RAMP))) == (0, 255), "no window: the range it has"
    rescaled = Grayscale(rescale_slope=0.5, rescale_intercept=-250.0, windows=(Window(center=0.5, width=501.0),))
    assert levels(rendering.render(frame_of(RAMP, grayscale=rescaled))) == (0, 255)
    lut = Lut(first=0, data=np.linspace(255, 0, 1001).astype(np.uint8), bits=8)
    assert levels(rendering.render(frame_of(RAMP, grayscale=Grayscale(voi_luts=(lut,))))) == (255, 0)
    modality = Grayscale(modality_lut=Lut(first=0, data=np.arange(1001)[::-1].copy(), bits=16))
    assert levels(rendering.render(frame_of(RAMP, grayscale=modality))) == (255, 0)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_every_voi_function_is_grey_at_its_center(function: str) -> None:
    grayscale = Grayscale(windows=(Window(center=500.0, width=100.0),), voi_lut_function=function)
    flat = np.full((16, 16), 500, np.int16)
    assert levels(rendering.render(frame_of(flat, grayscale=grayscale)))[0] == pytest.approx(128, abs=2)


def test_padding_does_not_stretch_the_range() -> None:
    padded = RAMP.copy()
    padded[:10] = -2000
    grayscale = Grayscale(pixel_padding=(-2000, -2000))
    assert levels(rendering.render(frame_of(padded, grayscale=grayscale))) == (0, 255)


def test_rendering_makes_pixels_square_and_keeps_size_in_bounds() -> None:
    assert rendering.render(frame_of(np.zeros((100, 100), np.uint8), spacing=(2.0, 1.0))).size == (256, 512)
    assert rendering.render(frame_of(np.zeros((100, 200), np.uint8))).size == (512, 256)
    assert rendering.render(frame_of(np.zeros((3000, 1500), np.uint8))).size == (512, 1024)
    assert rendering.render(frame_of(np.zeros((1, 1), np.uint8))).size == (512, 512)


def test_colour_stays_colour() -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    assert rendering.render(frame_of(red, photometric_interpretation="RGB")).getpixel((9, 9)) == (200, 0, 0)
    deep = (red.astype(np.uint16)) * 257
    shown = rendering.render(frame_of(deep, photometric_interpretation="RGB", bits_stored=16))
    assert shown.getpixel((9, 9)) == (200, 0, 0)


# --- words ------------------------------------------------------------------------------------


def test_nothing_present_does_not_read_as_nothing_looked_for(
    fakes: Registry, make_bundle: Make, make_dicom: Make, tmp_path: Path
) -> None:
    with open_model(make_bundle(), backends=("fake-works",), registry=fakes, cache_dir=tmp_path / "c") as model:
        undecided = model.run_file(make_dicom(level=128))
        failed = model.run_file(tmp_path / "none")
    assert wording.finding_says(failed).startswith("input.unreadable: ")
    assert wording.probability_says(failed) == ""
    assert wording.finding_says(undecided) in ("bright", "dark", "none present (nearest: bright)")


def test_what_was_measured_is_said_of_what_is_not_stated_too(
    fakes: Registry, make_bundle: Make, make_dicom: Make, tmp_path: Path
) -> None:
    """Of a task that measures, the number is the answer; and without probabilities no label is the nearest."""
    with open_model(make_bundle(), backends=("fake-works",), registry=fakes, cache_dir=tmp_path / "c") as model:
        result = model.run_file(make_dicom(level=128))
    tilt = Finding(kind="acme", label="steep", present=False)
    measured = replace(tilt, measurements=(Measurement(name="tilt", value=13.4, unit="deg"),))
    assert wording.finding_says(replace(result, findings=(tilt,))) == "none present"
    assert wording.finding_says(replace(result, findings=(measured,))) == "steep not stated, tilt 13.4 deg"


# --- inspect ----------------------------------------------------------------------------------


def test_inspect_shows_the_manifest(run: Any, make_bundle: Make) -> None:
    bundle = make_bundle()
    done = run("inspect", bundle)
    assert done.returncode == 0, done.stderr
    for word in ("tiny 1.0.0", "sha256:", "fake-classify", "fake-subsample", "modality CR or DX", "not signed"):
        assert word in done.stdout
    body = json.loads(run("inspect", bundle, "--json").stdout)
    assert body["manifest"]["name"] == "tiny"
    assert body["digest"].startswith("sha256:")


def test_inspect_refuses_what_is_not_whole(run: Any, make_bundle: Make) -> None:
    bundle = make_bundle(artifacts=(ArtifactDecl(id="a", format="fake", precision="fp32", path="model.json"),))
    change_member(bundle, "model.json", lambda model: model.replace(b'"softmax"', b'"softmin"'))
    done = run("inspect", bundle)
    assert done.returncode == 1
    assert done.stderr.startswith("error[bundle.wrong-hash]")
