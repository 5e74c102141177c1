"""Packing: artifacts made once, held against their parent, and a bundle whose bytes depend on the folder alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest

from edgeai.api import (
    BackendSpec,
    BackendUnavailable,
    BundleRejected,
    ConfigError,
    ConversionFailed,
    Converted,
    ConverterSpec,
    ConvertRequest,
    Device,
    GateFailed,
    OpenRequest,
    Session,
    Tensors,
    TensorSpec,
)
from edgeai.bundle.archive import Archive, pack
from edgeai.bundle.change_control import Range, change_control_schema, decode_change_control
from edgeai.bundle.floors import Floors
from edgeai.bundle.manifest import ArtifactDecl, TaskUse, TensorDecl, Tolerance
from edgeai.bundle.probation import bounds_of
from edgeai.bundle.reader import open_bundle
from edgeai.bundle.releases import Numbered
from edgeai.cli.main import run
from edgeai.plugins import Plugin, PluginInfo, Registry
from edgeai.slots import SlotFolder
from edgeai.slots.adopting import copy_of
from edgeai.testing.bundles import small_manifest
from edgeai_workbench import pack as pack_module
from edgeai_workbench.commands.pack import _row
from edgeai_workbench.deviation import Deviation, measure
from edgeai_workbench.golden import Golden, read_golden, write_golden
from edgeai_workbench.pack import pack_card

pytestmark = pytest.mark.slow

MODEL = b"times two"
DIGEST = f"sha256:{hashlib.sha256(MODEL).hexdigest()}"
CARD = f"""
schema = 1
name = "double"
version = "2.1.0"
release = 4
min_edgeai = "0.1"
intended_use = "a test"
limits = ["everything"]
licence = "Apache-2.0"
model = "double.keras"
model_digest = "{DIGEST}"
plugins = ["transforms", "classify"]
attachments = ["REPORT.md"]

[task]
name = "classify"

[[inputs]]
name = "x"
shape = [1, 3]

[[outputs]]
name = "y"
shape = [1, 3]

[[recipes]]
converter = "scale"
precision = "fp32"

[[recipes]]
converter = "scale"
precision = "fp16"
absolute = 0.05

[[data]]
name = "none"
source = "nowhere"
licence = "none"
use = "train"

[training]
command = "true"
seed = 1

[gates]
max_bundle_bytes = 100000
"""


class Scaling:
    """A session that multiplies by the number in its artifact."""

    device = "CPU"

    def __init__(self, request: OpenRequest) -> None:
        self._factor = float(request.artifact.read_text())

    def run(self, inputs: Tensors) -> Tensors:
        with np.errstate(invalid="ignore"):
            return {"y": inputs["x"] * np.float32(self._factor)}

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        return map(self.run, inputs)

    def close(self) -> None:
        pass


class Engine:
    """A converter and its backend; ``factor`` says how wrong the next artifact is."""

    def __init__(self) -> None:
        self.factor = {"fp32": 2.0, "fp16": 2.01}
        self.conversions: list[str] = []
        self.devices: tuple[Device, ...] = (Device(name="GPU.0"), Device(name="CPU"))
        self.outside: Path | None = None

    def convert(self, request: ConvertRequest) -> Converted:
        assert request.model.read_bytes() == MODEL
        assert not list(request.output.iterdir())
        self.conversions.append(request.precision)
        path = (self.outside or request.output) / "scale.txt"
        path.write_text(str(self.factor[request.precision]))
        return Converted(artifact=path, options={"of": request.precision}, notes=("nothing kept in float",))

    def open(self, request: OpenRequest) -> Session:
        assert request.device == "CPU"
        if not self.devices:
            raise BackendUnavailable("scale has no CPU here", code="backend.unknown-device")
        return Scaling(request)

    def registry(self) -> Registry:
        backend = BackendSpec(
            name="scale", artifact_format="scale", probe=lambda: self.devices, open=self.open, engine=lambda: "scale 1"
        )
        converter = ConverterSpec(
            name="scale", artifact_format="scale", precisions=("fp32", "fp16"), convert=self.convert
        )
        info = PluginInfo("scale", "nowhere", "edgeai-scale", "1.0")
        return Registry.of_plugins([Plugin(info=info, api=(1, 0), backends=(backend,), converters=(converter,))])


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(pack_module, "registry_of", lambda card: made.registry())
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "double"
    root.mkdir()
    (root / "double.keras").write_bytes(MODEL)
    (root / "model.toml").write_text(CARD, encoding="utf-8")
    (root / "REPORT.md").write_text("It doubles.\n", encoding="utf-8")
    x = np.array([[0.0, 1.0, -2.0]], np.float32)
    write_golden(root, [Golden(id="small", inputs={"x": x}, outputs={"y": 2 * x})], parent=DIGEST)
    return root


def test_the_bundle_holds_what_the_card_asks_for(folder: Path, engine: Engine, tmp_path: Path) -> None:
    packed = pack_card(folder, out=tmp_path / "dist")
    assert packed.bundle == tmp_path / "dist" / "double-2.1.0.edgeai"
    bundle = open_bundle(packed.bundle, cache_dir=tmp_path / "cache")
    assert bundle.digest == packed.digest
    manifest = bundle.manifest
    assert [(a.id, a.format, a.precision, a.options) for a in manifest.artifacts] == [
        ("scale-fp32", "scale", "fp32", {"of": "fp32"}),
        ("scale-fp16", "scale", "fp16", {"of": "fp16"}),
    ]
    assert bundle.path(manifest.artifacts[1].path).read_text() == "2.01"
    assert bundle.path("REPORT.md").is_file()
    assert bundle.path("model.toml").read_text(encoding="utf-8") == CARD
    (case,) = manifest.golden
    assert case.tolerance_for("scale-fp16") == Tolerance(absolute=0.05, relative=1e-3)
    np.testing.assert_array_equal(np.load(bundle.path(case.outputs["y"])), [[0.0, 2.0, -4.0]])


def test_a_deviation_is_what_was_measured_on_the_cpu(folder: Path, engine: Engine, tmp_path: Path) -> None:
    exact, half = pack_card(folder, out=tmp_path).deviations
    assert (exact.worst, exact.share, exact.device, exact.cases) == (0.0, 0.0, "CPU", 1)
    assert half.worst == pytest.approx(0.02, rel=1e-4)
    assert half.where == "small/y"
    assert 0 < half.share < 1


def test_an_artifact_that_disagrees_makes_no_bundle(folder: Path, engine: Engine, tmp_path: Path) -> None:
    engine.factor["fp32"] = 2.01
    with pytest.raises(ConversionFailed, match=r"scale-fp32 .* 0\.02 away") as caught:
        pack_card(folder, out=tmp_path / "dist")
    assert caught.value.code == "convert.disagrees"
    assert not list(tmp_path.glob("dist/*"))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_answer_that_is_no_number_disagrees(folder: Path, engine: Engine, tmp_path: Path, wrong: float) -> None:
    engine.factor["fp16"] = wrong
    with pytest.raises(ConversionFailed) as caught:
        pack_card(folder, out=tmp_path)
    assert caught.value.code == "convert.disagrees"


def test_the_same_folder_gives_the_same_bytes_and_converts_once(folder: Path, engine: Engine, tmp_path: Path) -> None:
    first = pack_card(folder, out=tmp_path / "one")
    second = pack_card(folder, out=tmp_path / "two")
    assert first.bundle.read_bytes() == second.bundle.read_bytes()
    assert (first.made, second.made) == (("scale-fp32", "scale-fp16"), ())
    assert engine.conversions == ["fp32", "fp16"]


def test_rebuild_converts_everything_anew(folder: Path, engine: Engine, tmp_path: Path) -> None:
    pack_card(folder, out=tmp_path)
    assert pack_card(folder, out=tmp_path, rebuild=True).made == ("scale-fp32", "scale-fp16")


@pytest.mark.parametrize("what", ["artifact", "note", "parent", "recipe"])
def test_what_is_missing_or_stale_is_made_again(folder: Path, engine: Engine, tmp_path: Path, what: str) -> None:
    pack_card(folder, out=tmp_path)
    note = folder / "artifacts" / "scale-fp16.json"
    if what == "artifact":
        shutil.rmtree(folder / "artifacts" / "scale-fp16")
    elif what == "note":
        note.write_text("{}")
    else:
        body = json.loads(note.read_text())
        body["parent" if what == "parent" else "recipe"] = "sha256:0" if what == "parent" else {"precision": "fp32"}
        note.write_text(json.dumps(body))
    assert pack_card(folder, out=tmp_path).made == ("scale-fp16",)


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ("max_bundle_bytes = 1000", "the card allows 1000"),
        ("max_bundle_ratio = 0.125", r"of its Keras parent's \d+; .* 0.125"),
    ],
)
def test_a_gate_that_fails_leaves_no_bundle(folder: Path, engine: Engine, tmp_path: Path, gate: str, says: str) -> None:
    path = folder / "model.toml"
    path.write_text(CARD.replace("max_bundle_bytes = 100000", gate), encoding="utf-8")
    with pytest.raises(GateFailed, match=says) as caught:
        pack_card(folder, out=tmp_path / "dist")
    assert caught.value.code == "gate.too-large"
    assert not list((tmp_path / "dist").glob("*.edgeai"))


def test_a_precision_that_the_converter_lacks_is_refused(folder: Path, engine: Engine, tmp_path: Path) -> None:
    (folder / "model.toml").write_text(CARD.replace('"fp16"', '"int4"'), encoding="utf-8")
    with pytest.raises(ConversionFailed, match="makes no int4, but fp32, fp16") as caught:
        pack_card(folder, out=tmp_path)
    assert caught.value.code == "convert.no-precision"


def test_a_converter_that_writes_elsewhere_is_refused(folder: Path, engine: Engine, tmp_path: Path) -> None:
    engine.outside = tmp_path
    with pytest.raises(ConversionFailed) as caught:
        pack_card(folder, out=tmp_path)
    assert caught.value.code == "convert.outside"


def test_an_engine_without_a_device_has_no_deviation(folder: Path, engine: Engine, tmp_path: Path) -> None:
    engine.devices = ()
    with pytest.raises(BackendUnavailable, match=r"no device to measure a deviation on.*has no CPU here"):
        pack_card(folder, out=tmp_path)


def test_an_attachment_that_is_not_there_is_refused(folder: Path, engine: Engine, tmp_path: Path) -> None:
    (folder / "REPORT.md").unlink()
    with pytest.raises(ConfigError) as caught:
        pack_card(folder, out=tmp_path)
    assert caught.value.code == "config.card-attachment-missing"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"schema": 1, "failures": 0, "slowdown": 2.0, "withheld": 0.2, "shift": true}', ""),
        ('{"schema": 1, "lesion": 0.2}', "unknown field `lesion`"),
        ('{"schema": 1, "slowdown": 0.5}', "Expected `float` >= 1.0"),
        ('{"schema": 1}', "it has none of failures, slowdown, withheld, shift"),
        ('{"schema": 1, "withheld": 1.0}', "no image more can be without a statement"),
        ('{"schema": 1, "failures": 100000}', "no probation has so many results"),
        ('{"schema": 1, "failures": 0, "shift": false}', "asks nothing"),
    ],
)
def test_bounds_of_probation_are_read_before_anything_is_converted(
    folder: Path, engine: Engine, tmp_path: Path, text: str, why: str
) -> None:
    (folder / "probation.json").write_text(text)
    (folder / "model.toml").write_text(CARD.replace('["REPORT.md"]', '["REPORT.md", "probation.json"]'))
    if not why:
        packed = pack_card(folder, out=tmp_path)
        bundle = open_bundle(packed.bundle, cache_dir=tmp_path / "cache")
        assert bounds_of(bundle.root, bundle.manifest).failures == 0
        return
    with pytest.raises(BundleRejected) as caught:
        pack_card(folder, out=tmp_path)
    assert caught.value.code == "bundle.invalid-probation"
    assert why in str(caught.value)
    assert engine.conversions == []


# --- the model of another bundle before this one ----------------------------------------------------------

STANDING = """
[guard.model]
bundle = "../before.edgeai"
digest = "{digest}"
admit = ["b"]
min_score = 0.5
"""


def before(folder: Path, *, form: str) -> str:
    """A bundle beside the card's folder, whose one artifact is of a format; its digest."""
    content = folder.parent / "before"
    (content / "artifacts" / "one").mkdir(parents=True)
    (content / "artifacts" / "one" / "scale.txt").write_text("3.0")
    tensor = TensorDecl(name="x", dtype="float32", shape=(1, 3))
    manifest = small_manifest(
        name="before",
        plugins=("classify",),
        task=TaskUse(name="classify", options={"mode": "multi-class", "labels": [{"label": each} for each in "abc"]}),
        inputs=(tensor,),
        outputs=(msgspec.structs.replace(tensor, name="y"),),
        artifacts=(ArtifactDecl(id="one", format=form, precision="fp32", path="artifacts/one/scale.txt"),),
    )
    return pack(content, manifest, folder.parent / "before.edgeai")


def test_a_guards_model_ships_below_its_own_folder_and_counts_in_the_size(
    folder: Path, engine: Engine, tmp_path: Path
) -> None:
    plain = pack_card(folder, out=tmp_path / "plain").bundle.stat().st_size
    (folder / "model.toml").write_text(CARD + STANDING.format(digest=before(folder, form="scale")), encoding="utf-8")
    packed = pack_card(folder, out=tmp_path / "dist")
    bundle = open_bundle(packed.bundle, cache_dir=tmp_path / "cache")
    assert bundle.guard is not None
    [artifact] = bundle.guard.artifacts
    assert bundle.path(artifact.path).read_text() == "3.0"
    assert artifact.path == "guard/artifacts/one/scale.txt"
    guard = bundle.manifest.guard
    assert guard is not None
    assert guard.model is not None
    assert (guard.content, guard.model.admit, guard.model.min_score) == (True, ("b",), 0.5)
    assert pack_card(folder, out=tmp_path / "again").bundle.read_bytes() == packed.bundle.read_bytes()
    text = (folder / "model.toml").read_text(encoding="utf-8")
    text = text.replace("max_bundle_bytes = 100000", f"max_bundle_bytes = {plain + 10}")
    (folder / "model.toml").write_text(text, encoding="utf-8")
    with pytest.raises(GateFailed, match=f"the card allows {plain + 10}"):
        pack_card(folder, out=tmp_path / "dist")


def test_a_guards_model_without_an_artifact_for_the_models_engine_makes_no_bundle(
    folder: Path, engine: Engine, tmp_path: Path
) -> None:
    (folder / "model.toml").write_text(CARD + STANDING.format(digest=before(folder, form="other")), encoding="utf-8")
    with pytest.raises(ConfigError, match="no artifact of the format scale, which the model has") as caught:
        pack_card(folder, out=tmp_path / "dist")
    assert caught.value.code == "config.guard-engines"
    assert not list(tmp_path.glob("dist/*"))


# --- change control, from the card to the cart --------------------------------------------------------

PLAN = """
[change_control]
free = ["weights"]
bounds = { "labels.*.threshold" = [0.3, 0.7] }
says = "Weights after a run of the clinic's own cases."
"""
LABELS = """
[task.options]
mode = "multi-label"
labels = [{ label = "a", threshold = 0.5 }, { label = "b", threshold = 0.5 }, { label = "c", threshold = 0.5 }]
"""


def test_a_release_of_a_card_with_change_control_is_refused_on_a_cart_where_it_goes_beyond(
    folder: Path, engine: Engine, tmp_path: Path
) -> None:
    slots = SlotFolder(tmp_path / "slots", Floors(tmp_path / "floors.json"))
    first = CARD.replace('name = "classify"\n', f'name = "classify"\n{LABELS}') + PLAN

    def came_of(release: int, *changes: tuple[str, str], factor: float = 2.0) -> str:
        """What the cart does with a release of a card that is changed so: ``installed``, or the code."""
        text = first.replace("release = 4", f"release = {release}")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "model.toml").write_text(text)
        engine.factor["fp32"] = factor
        packed = pack_card(folder, out=tmp_path / "dist", rebuild=True)
        move = slots.adopt if slots.read().active is None else slots.install
        try:
            with Archive(packed.bundle) as archive:
                move(Numbered.of(archive.manifest, archive.digest), copy_of(packed.bundle, None))
        except BundleRejected as error:
            return f"{error.code}: {error}"
        return "installed"

    assert came_of(4) == "installed"
    plan = decode_change_control((slots.content("a") / "pccp.json").read_bytes())
    assert (plan.free, plan.bounds) == (("weights",), {"labels.*.threshold": Range(least=0.3, most=0.7)})
    jsonschema.validate(json.loads((slots.content("a") / "pccp.json").read_text()), change_control_schema())
    assert came_of(5, ('label = "b", threshold = 0.5', 'label = "b", threshold = 0.7')) == "installed"
    assert came_of(6, factor=2.00001) == "installed"
    beyond = ('label = "b", threshold = 0.5', 'label = "b", threshold = 0.71'), ("[0.3, 0.7]", "[0.3, 0.8]")
    with pytest.raises(ConfigError, match=r"labels\.1\.threshold is 0\.71, which is not within 0\.3 to 0\.7"):
        came_of(7, beyond[0])
    for changes, told in (
        (beyond, "labels.1.threshold: was 0.5, is 0.71"),
        ((('label = "b"', 'label = "d"'),), "labels.1.label: was b, is d"),
        ((('"a test"', '"everything"'),), "the intended use: was a test, is everything"),
        ((("absolute = 0.05", "absolute = 0.5"),), "other tolerances"),
        ((('free = ["weights"]', 'free = ["weights", "recipe"]'),), "what a later release may change"),
        (((PLAN, ""),), "what a later release may change"),
    ):
        refused = came_of(7, *changes)
        assert refused.startswith("bundle.change-not-allowed: double 2.1.0 changes what 2.1.0 does not let"), refused
        assert told in refused
    running = slots.read().running
    assert running is not None
    assert running.release == 4


SPECS = {"inputs": (TensorSpec(name="x", dtype="float32", shape=(1, 3)),)}
SPECS["outputs"] = (TensorSpec(name="y", dtype="float32", shape=(1, 3)),)


def test_golden_cases_of_another_model_are_stale(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_golden(folder, **SPECS, parent="sha256:" + "0" * 64)
    assert caught.value.code == "config.golden-stale"


@pytest.mark.parametrize("content", [None, b"", b"junk", "shape", "pickle"])
def test_golden_tensors_that_are_not_the_cards_are_refused(folder: Path, content: bytes | str | None) -> None:
    path = folder / "golden" / "small" / "outputs" / "y.npy"
    if content is None:
        path.unlink()
    elif content == "shape":
        np.save(path, np.zeros((1, 4), np.float32))
    elif content == "pickle":
        np.save(path, np.array([object()]), allow_pickle=True)
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_golden(folder, **SPECS, parent=DIGEST)
    assert caught.value.code == "config.golden-invalid"


def test_a_tensor_that_the_card_calls_otherwise_is_named_with_those_that_are_there(folder: Path) -> None:
    specs = {**SPECS, "inputs": (TensorSpec(name="image", dtype="float32", shape=(1, 3)),)}
    with pytest.raises(ConfigError, match=r"small/inputs: no 'image', which the card names; there is x") as caught:
        read_golden(folder, **specs, parent=DIGEST)
    assert caught.value.code == "config.golden-invalid"
    assert "[[inputs]]" in (caught.value.remedy or "")


@pytest.mark.parametrize("command", ["pack", "build"])
def test_a_card_of_another_model_is_what_is_wrong_not_its_golden_cases(
    folder: Path, engine: Engine, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the guide has it: the digest that the training script printed is not in the card yet."""
    card = folder / "model.toml"
    card.write_text(card.read_text().replace(DIGEST, "sha256:" + "0" * 64))
    assert run([command, str(folder), *(["--data", str(tmp_path)] if command == "build" else [])]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "config.card-model-changed" in told
    assert DIGEST in told
    assert "model_digest" in told


@pytest.mark.parametrize("gone", ["golden", "the model"])
def test_what_a_card_lacks_is_said_before_any_sample_is_read(
    folder: Path, engine: Engine, tmp_path: Path, gone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if gone == "golden":
        shutil.rmtree(folder / "golden")
    else:
        (folder / "double.keras").unlink()
    assert run(["build", str(folder), "--data", str(tmp_path / "nowhere")]) == 2
    code = "config.golden-missing" if gone == "golden" else "config.card-model-missing"
    assert f"error[{code}]" in capsys.readouterr().err


def test_no_golden_cases_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "golden")
    with pytest.raises(ConfigError) as caught:
        read_golden(folder, **SPECS, parent=DIGEST)
    assert caught.value.code == "config.golden-missing"


def test_relative_tolerance_counts_for_large_values_alone(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("2.0002")
    x = np.array([[1e-3, 1.0, 1e4]], np.float32)

    def share(tolerance: Tolerance) -> float:
        measured = measure(
            tmp_path / "a",
            artifact_id="a",
            options={},
            backend=engine.registry().backends["scale"],
            golden=[Golden(id="c", inputs={"x": x}, outputs={"y": 2 * x})],
            tolerance=tolerance,
            **SPECS,
        )
        return measured.share

    assert share(Tolerance(absolute=0.0, relative=1e-3)) == pytest.approx(0.1, rel=0.05)
    assert share(Tolerance(absolute=1e-3, relative=0.0)) > 1000


def test_the_command_says_how_far_each_artifact_is_and_where_the_bundle_lies(
    folder: Path, engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 0
    printed = capfd.readouterr().out
    assert "scale-fp16  made  scale CPU, 1 golden cases  2.00e-02" in printed
    assert f"{tmp_path / 'dist' / 'double-2.1.0.edgeai'}: " in printed
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 0
    assert "scale-fp16  kept" in capfd.readouterr().out


@pytest.mark.parametrize(("share", "shown"), [(0.0, "no bound"), (0.123, "12.3%")])
def test_a_share_of_no_bound_is_not_shown_as_a_good_one(share: float, shown: str) -> None:
    unheld = Deviation(artifact="a", backend="b", device="CPU", cases=1, worst=0.6, share=share, where="y")
    assert _row(unheld, made=True)[-1] == shown


def test_the_command_ends_without_a_bundle_when_an_artifact_disagrees(
    folder: Path, engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.factor["fp32"] = 2.01
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 1
    assert "error[convert.disagrees]" in capfd.readouterr().err
    assert run(["pack", str(tmp_path)]) == 2
    assert "error[config.card-missing]" in capfd.readouterr().err
