"""A third party's engine, format, converter, transform, task and sink through every command and page.

The core has never seen one of their names, and none of edgeai's own plugins is in the bundle or on the cart. What is
ours elsewhere must be theirs here.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeai.api import Result
from edgeai.bundle.reader import open_bundle
from edgeai.cli.main import run
from edgeai.cli.overlay import compose
from edgeai.testing.distributions import write_fake_distribution
from edgeai.testing.phantoms import Phantom, write_instance
from edgeai.testing.require import require

pytestmark = pytest.mark.system

SOURCES = Path(__file__).resolve().parents[1] / "foreign"
PLUGINS = {"acme-works": "acme_strips", "acme-optics": "acme_optics", "acme-gauge": "acme_gauge"}
"""Each with its module, after which its distribution is called: no two names are the same."""

VERSION = "3.1"
LICENCE = "MPL-2.0"
SIDE, RADIUS = 24, 6.0
FINEST, COARSE = "acme-cutter-fp32", "acme-cutter-q8"


def disc(radius: float, random: Any) -> Any:
    """A bright disc on grey noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    inside = np.hypot(y - random.uniform(10, 14), x - random.uniform(10, 14)) < radius
    return np.clip(40 + 150 * inside + random.normal(0, 6, inside.shape), 0, 255).astype(np.uint8)


def dicom_disc(path: Path) -> Phantom:
    """An image of a disc whose radius is known."""
    return write_instance(path, disc(RADIUS, np.random.default_rng(1)))


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Their three distributions, installed for this process and its children."""
    require("tensorflow", find_spec("tensorflow") is not None, "TensorFlow is not installed")
    folder = tmp_path_factory.mktemp("site")
    install(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", ":".join([str(folder), *(path for path in sys.path if path)]))
        yield folder
    for module in PLUGINS.values():
        sys.modules.pop(module, None)


def install(folder: Path) -> None:
    """Their distributions, as ``pip install`` would have left them there."""
    for plugin, module in PLUGINS.items():
        write_fake_distribution(
            folder,
            name=module.replace("_", "-"),
            version=VERSION,
            module_source=(SOURCES / f"{module}.py").read_text(encoding="utf-8"),
            entry_points={plugin: module},
            backends={"acme-abacus": module} if module == "acme_strips" else {},
            licence=LICENCE,
        )


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The build host's folders: the card's, the data's, and the bundle."""

    card: Path
    data: Path
    bundle: Path


@pytest.fixture(scope="module")
def built(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """After ``edgeai train`` and ``edgeai build``."""
    root = tmp_path_factory.mktemp("build")
    data, card = root / "data", root / "gauge"
    data.mkdir()
    card.mkdir()
    random = np.random.default_rng(8)
    for split, count in (("train", 48), ("validation", 24)):
        lines = ["file,radius_px"]
        for number in range(count):
            radius = random.uniform(2, 9)
            Image.fromarray(disc(radius, random)).save(data / f"{split}-{number:02}.png")
            lines.append(f"{split}-{number:02}.png,{radius:.3f}")
        (data / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copyfile(SOURCES / "everything.toml", card / "model.toml")
    shutil.copyfile(SOURCES / "train.py.txt", card / "train.py")
    assert run(["train", str(card), "--data", str(data)]) == 0
    assert run(["build", str(card), "--data", str(data), "--out", str(root)]) == 0
    return Bench(card=card, data=data, bundle=root / "gauge-1.0.0.edgeai")


def command(capfd: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    """What ``edgeai ARGUMENTS`` prints."""
    capfd.readouterr()
    ended = run([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    assert ended == status, (out, err)
    return out + err


def test_the_plugins_are_listed_with_what_they_bring(capfd: pytest.CaptureFixture[str]) -> None:
    told = command(capfd, "plugins", "list")
    for name, brings in (
        ("acme-works", ("backend acme-abacus", "converter acme-cutter", "acme-strips")),
        ("acme-optics", ("transform acme-thumb", "sink acme-book")),
        ("acme-gauge", ("task acme-gauge",)),
    ):
        [row] = [line for line in told.splitlines() if line.startswith(f"{name} ")]
        assert all(word in row for word in ("3.1", *brings)), row


def test_the_report_shows_its_engine_its_artifacts_and_what_its_converter_noted(built: Bench) -> None:
    rows = [line for line in (built.card / "REPORT.md").read_text(encoding="utf-8").splitlines() if " ABACUS, " in line]
    assert [line.split("|")[1].strip() for line in rows] == [f"`{FINEST}`", f"`{COARSE}`"]
    assert all("acme-abacus ABACUS" in line and "hold" in line for line in rows)
    page = (built.card / "report.html").read_text(encoding="utf-8")
    for words in (FINEST, COARSE, "largest value is ", "Found against true", f"{COARSE}: its worst case"):
        assert words in page, words


def test_the_bill_of_materials_has_its_distribution_with_its_licence(built: Bench, tmp_path: Path) -> None:
    bom = json.loads((open_bundle(built.bundle).root / "sbom.cdx.json").read_text(encoding="utf-8"))
    parts = {part["name"]: part for part in bom["components"]}
    assert parts["acme-strips"]["version"] == VERSION
    assert parts["acme-strips"]["licenses"] == [{"license": {"id": LICENCE}}]
    for name in (FINEST, COARSE):
        facts = {item["name"]: item["value"] for item in parts[f"gauge/{name}"]["properties"]}
        assert facts["edgeai:format"] == "acme-strip"
        assert facts["edgeai:converter"] == f"acme-strips {VERSION}"
        needs = {item["ref"]: item.get("dependsOn", []) for item in bom["dependencies"]}[f"artifact:{name}"]
        assert f"pkg:pypi/acme-strips@{VERSION}" in needs
    assert run(["pack", str(built.card), "--out", str(tmp_path)]) == 0
    assert (tmp_path / built.bundle.name).read_bytes() == built.bundle.read_bytes()


def test_evaluate_and_compare_run_its_artifacts(
    built: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = command(capfd, "evaluate", built.bundle, "--data", built.data, "--json", tmp_path / "scores.json")
    assert "acme-abacus ABACUS" in told
    sides = [f"{built.bundle}#{name}" for name in (FINEST, COARSE)]
    told = command(capfd, "compare", *sides, "--data", built.data)
    assert all(f"on acme-abacus ABACUS, {name[12:]} ({name})" in told for name in (FINEST, COARSE)), told
    told = command(capfd, "compare", built.bundle, built.card / "gauge.keras", "--data", built.data)
    assert "decided alike: 100.0%" in told


def test_bench_measures_its_artifacts(built: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    rows = command(capfd, "bench", built.bundle, "--threads", "1").splitlines()
    for name in (FINEST, COARSE):
        [row] = [line for line in rows if line.startswith(f"{name} ")]
        assert " acme-abacus 3.1  ABACUS " in row


def test_inspect_and_verify_show_its_format(built: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    told = command(capfd, "inspect", built.bundle)
    for words in (
        "acme-strip q8",
        "acme-thumb side=24",
        "plugins acme-optics, acme-gauge",
        'acme-gauge same=1.5, what="radius"',
    ):
        assert words in told, told


def test_infer_says_the_length_and_draws_it(built: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = dicom_disc(tmp_path / "disc.dcm").path
    told = command(capfd, "infer", built.bundle, path, "--overlay", tmp_path / "overlays")
    [row] = [line for line in told.splitlines() if line.startswith("disc.dcm")]
    length = re.search(r"completed +radius (\d\.\d) px +acme-abacus +ABACUS ", row)
    assert length
    assert abs(float(length[1]) - RADIUS) < 2.5
    with Image.open(tmp_path / "overlays" / "disc.png") as drawn:
        assert drawn.width > drawn.height > SIDE
    body = json.loads(command(capfd, "infer", built.bundle, path, "--json"))
    assert body["engine"] == {
        "backend": "acme-abacus",
        "engine": "acme-abacus 3.1",
        "device": "ABACUS",
        "artifact": FINEST,
        "precision": "fp32",
    }
    shown = compose(None, "disc.dcm", Result.from_dict({name: body[name] for name in body if name != "file"}))
    assert f"radius {length[1]} px" in [text.text for text in shown.texts if text.role == "finding"]


def test_a_cart_with_no_plugin_of_ours_serves_it(built: Bench, cart: Any, until: Any, tmp_path: Path) -> None:
    install(cart.plugins)
    book = tmp_path / "book.txt"
    cart.profile["plugins"]["allow"] = list(PLUGINS)
    cart.profile["sinks"] = {"ward": {"kind": "acme-book", "settings": {"path": str(book), "ink": "black"}}}
    cart.profile["deployments"].append({"name": "gauge", "bundle": str(built.bundle)})
    cart.listen()
    cart.write()
    assert_told(cart.command("config", "check", str(cart.path)), "no mistakes (lab/cart: gauge)")
    assert_told(cart.command("config", "show", str(cart.path)), '"kind": "acme-book"')
    assert_told(
        cart.command("doctor", str(cart.path)),
        "backend acme-abacus: acme-abacus 3.1: ABACUS",
        "sink ward: acme-book, opened with its settings",
        "deployment gauge: opened on acme-abacus (ABACUS), acme-abacus 3.1",
    )
    cart.start()
    sent = dicom_disc(cart.folder / "disc.dcm")
    assert set(cart.store(sent).values()) == {"Success"}
    result = cart.result_of(sent, "gauge")
    assert result["outcome"] == "completed"
    assert (result["engine"]["backend"], result["engine"]["device"]) == ("acme-abacus", "ABACUS")
    [measured] = result["findings"][0]["measurements"]
    assert abs(measured["value"] - RADIUS) < 2.5
    until(lambda: result["result_id"] in book.read_text())
    assert any(line.startswith("result/gauge ") for line in book.read_text().splitlines())
    assert_told(cart.command("status", str(cart.path)), "acme-abacus on ABACUS", "ward")
    assert_told(cart.command("selftest", str(cart.path)), "")
    metrics = cart.get("/metrics")[1]
    assert 'backend="acme-abacus"' in metrics
    assert cart.stop() == 0


def test_what_is_wrong_with_its_sink_is_said_as_of_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text(
        f"""schema = 1
device = {{ id = "cart", site = "lab" }}
plugins = {{ allow = {list(PLUGINS)} }}
[sinks.ward]
kind = "acme-book"
settings = {{ path = "x", ink = "red", pages = 3 }}
"""
    )
    told = command(capfd, "config", "check", profile, status=2)
    assert "sinks.ward.settings.ink: use blue or black" in told
    assert "sinks.ward.settings.pages: unknown setting" in told


def assert_told(done: Any, *words: str) -> None:
    """It ended well, and printed these."""
    assert done.returncode == 0, (done.args, done.stdout, done.stderr)
    assert all(word in done.stdout for word in words), (done.args, done.stdout)
