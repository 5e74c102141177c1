"""Odd images: who looks at brightness alone is found out, masks go where their picture goes, nobody is left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeai.api import (
    Array,
    Assessed,
    BackendError,
    Column,
    ConfigError,
    Figure,
    Geometry,
    Judge,
    Judged,
    Measurement,
    PluginFault,
    TaskFailed,
    TaskRequest,
    TensorSpec,
    UltrasoundRegion,
)
from edgeai.api.results import Finding
from edgeai.bundle.evidence import Evidence, decode_evidence, encode_evidence
from edgeai.bundle.uses import GuardUse
from edgeai.hosting.faults import PluginInfo
from edgeai.hosting.judges import hosted_judge
from edgeai.pipeline import Pipeline
from edgeai_tasks.classify import SPEC as CLASSIFY
from edgeai_tasks.classify.judge import Labels
from edgeai_tasks.segment import SPEC as SEGMENT
from edgeai_workbench.cells import TablePicture
from edgeai_workbench.dataset import Sample
from edgeai_workbench.drawings import chest
from edgeai_workbench.pictures import frame_of
from edgeai_workbench.report.sections import _robustness
from edgeai_workbench.robustness import Robustness, Row
from edgeai_workbench.robustness.asking import Asker
from edgeai_workbench.robustness.frames import spoilt
from edgeai_workbench.robustness.kinds import KINDS, PLAIN, table
from edgeai_workbench.robustness.measuring import measure, verdicts_of
from edgeai_workbench.robustness.planes import DONE
from edgeai_workbench.robustness.results import from_plain
from edgeai_workbench.robustness.settings import RobustnessUse
from edgeai_workbench.robustness.shifts import seen_there
from edgeai_workbench.robustness.words import share

SIDE, EACH = 32, 30
PICTURE = TensorSpec(name="x", dtype="uint8", shape=(1, None, None), layout="NHW")


def _seed(n: int) -> np.random.Generator:
    return np.random.default_rng([n, 7])


def _sample(n: int, pixels: Array, truth: Any, **more: Any) -> Sample:
    frame = frame_of(pixels, name=f"s{n}")
    return Sample(id=f"s{n}", group=f"p{n}", frame=lambda: frame, truth=truth, **more)


def _hosted(judge: Any) -> Judge:
    return hosted_judge(PluginInfo(name="theirs", module="theirs", distribution="theirs", version="1"), "judge", judge)


def _asker(samples: Sequence[Sample], spec: Any, options: Any, output: TensorSpec, *infers: Any, **more: Any) -> Asker:
    request = TaskRequest(options=options, outputs=(output,))
    return Asker(
        samples=tuple(samples),
        models=dict(zip(("parent", "tflite-int8"), infers, strict=False)),
        pipeline=Pipeline((), {}, PICTURE),
        task=spec.build(request),
        judge=_hosted(spec.judge(request)),
        input="x",
        **more,
    )


# --- a classifier that looks only at brightness ---------------------------------------------------


def _by_brightness(inputs: Mapping[str, Array]) -> dict[str, Array]:
    away = inputs["x"].mean() / 255 - 0.42
    return {"out": np.array([[1 / (1 + np.exp(-60 * away))]], np.float32)}


def _by_contrast(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """One that looks at something else: stripes, whichever way they lie and however bright they are."""
    x = inputs["x"][0].astype(np.float64)
    steps = np.abs(np.diff(x, axis=1)).mean() + np.abs(np.diff(x, axis=0)).mean()
    return {"out": np.array([[0.97 if steps > 12 else 0.03]], np.float32)}


def _thorax(n: int) -> Array:
    """Dark pictures without stripes, and bright ones with."""
    random, bright = _seed(n), n % 2
    plane = np.full((SIDE, SIDE), 170.0 if bright else 72.0) + random.normal(0, 4)
    if bright:
        plane += np.where(np.arange(SIDE) // 4 % 2, 45, -45)
    return np.clip(plane, 0, 255).astype(np.uint8)


CLASSES = {"mode": "binary", "labels": ["well", "ill"], "activation": "none"}
PROBABILITY = TensorSpec(name="out", dtype="float32", shape=(1, 1), layout="NC")


def _classifier(*infers: Any, **more: Any) -> Asker:
    samples = [_sample(n, _thorax(n), Labels((("well", "ill")[n % 2],))) for n in range(EACH)]
    return _asker(samples, CLASSIFY, CLASSES, PROBABILITY, *infers, **more)


def _measured(asker: Asker, *rows: str, **more: Any) -> Robustness:
    use = RobustnessUse(rows=rows or tuple(KINDS), **{"hospitals": 0, **more})
    return measure(asker, use, split="validation", seed=3)


def _rows(robust: Robustness, model: str = "parent") -> dict[str, Row]:
    return {row.kind: row for row in robust.rows if row.model == model}


@pytest.mark.slow
def test_a_model_that_looks_only_at_brightness_is_found_out() -> None:
    measured = _measured(_classifier(_by_brightness))
    rows = _rows(measured)
    assert list(rows) == [PLAIN, *KINDS]
    assert rows[PLAIN].right.value == 1.0
    for kind in ("inverted", "saturated"):
        row = rows[kind]
        assert row.right.value <= 0.5
        assert row.confidently_wrong.value >= 0.5
        assert row.confidently_wrong.low > 0.3
        assert row.fall.value >= 0.5
        assert row.fall.low > 0.2
    for kind in ("upside-down", "flipped", "mirrored", "rotated-90", "blur", "half-size", "double-size"):
        assert rows[kind].right.value == 1.0, kind
        assert rows[kind].confidently_wrong.value == 0.0
    assert 0.85 < rows["mirrored"].right.low < 1.0  # of so few no certainty
    assert rows["noise"].says == "Gaussian noise, standard deviation 8 % of the range"


@pytest.mark.slow
def test_each_model_has_rows_of_its_own() -> None:
    measured = _measured(_classifier(_by_brightness, _by_contrast), "saturated", "inverted")
    assert [(row.kind, row.model) for row in measured.rows][:2] == [(PLAIN, "parent"), (PLAIN, "tflite-int8")]
    one, other = (_rows(measured, model)["inverted"] for model in ("parent", "tflite-int8"))
    assert one.right.value < 0.5 < other.right.value == 1.0


@pytest.mark.slow
def test_the_same_twice_and_another_seed() -> None:
    asker = _classifier(_by_brightness)
    use = RobustnessUse(rows=("noise", "rotated", "text", "cropped"), hospitals=4)
    one, two = (measure(asker, use, split="test", seed=1) for _ in range(2))
    assert json.dumps(one.as_dict(), allow_nan=False) == json.dumps(two.as_dict(), allow_nan=False)
    frame = asker.samples[0].load()[0]
    noises = [spoilt(frame, "noise", 8.0, name="s0", seed=seed).frame.pixels for seed in (1, 2)]
    assert (noises[0] != noises[1]).any()


def test_a_sample_of_the_images_is_said_and_told() -> None:
    told: list[str] = []
    use = RobustnessUse(rows=("inverted",), samples=10, hospitals=0)
    measured = measure(_classifier(_by_brightness), use, split="test", seed=0, progress=told.append)
    assert (measured.samples, measured.of, measured.groups, measured.split) == (10, EACH, 10, "test")
    assert {row.samples for row in measured.rows} == {10}
    assert told[-1] == "robustness: 100 %"
    assert len(told) == 20


def test_what_makes_no_statement_is_withheld_and_neither_right_nor_wrong() -> None:
    options = {"mode": "multi-class", "labels": ["well", "ill"], "threshold": 0.9, "activation": "none"}
    output = TensorSpec(name="out", dtype="float32", shape=(1, 2), layout="NC")

    def unsure(inputs: Mapping[str, Array]) -> dict[str, Array]:
        ill = float(_by_brightness(inputs)["out"][0, 0])
        ill = ill if inputs["x"].max() < 250 else 0.5
        return {"out": np.array([[1 - ill, ill]], np.float32)}

    samples = [_sample(n, _thorax(n), Labels((("well", "ill")[n % 2],))) for n in range(EACH)]
    rows = _rows(_measured(_asker(samples, CLASSIFY, options, output, unsure), "text"))
    assert rows[PLAIN].withheld.value == 0.0
    row = rows["text"]
    assert (row.right.value, row.withheld.value, row.confidently_wrong.value) == (0.0, 1.0, 0.0)
    assert row.refusals == {}


def test_an_image_that_the_model_is_not_for_is_withheld() -> None:
    eligibility = SimpleNamespace(
        too_small=lambda rows, columns: f"rows is {rows}" if rows < SIDE else None,
    )
    rows = _rows(_measured(_classifier(_by_brightness, eligibility=eligibility), "half-size", "double-size"))
    half = rows["half-size"]
    assert (half.right.value, half.withheld.value, half.confidently_wrong.value) == (0.0, 1.0, 0.0)
    assert half.refusals == {"input.not-eligible": EACH}
    assert half.main is None
    assert rows["double-size"].right.value == 1.0


def test_what_shows_nothing_is_withheld_before_the_model_odd_or_plain() -> None:
    """Half of the chests are bright, which is all that this model looks at; one of them is a blank."""
    samples = [
        _sample(n, chest(n, rows=64, columns=64) // (2 - n % 2), Labels((("well", "ill")[n % 2],))) for n in range(10)
    ]
    blank = _sample(11, np.full((64, 64), 200, np.uint8), Labels(("ill",)))
    asker = _asker([*samples, blank], CLASSIFY, CLASSES, PROBABILITY, _by_brightness)
    rows = _rows(_measured(replace(asker, guard=GuardUse()), "saturated", strengths={"saturated": 8.0}))
    plain, bright = rows["plain"], rows["saturated"]
    assert (plain.refusals, plain.withheld.value) == ({"guard.constant": 1}, 1 / 11)
    assert plain.alike.value == 10 / 11
    assert sum(bright.refusals.values()) == 11
    assert bright.refusals["guard.constant"] == 1
    assert (bright.right.value, bright.withheld.value, bright.confidently_wrong.value) == (0.0, 1.0, 0.0)
    for guard in (None, GuardUse(content=False)):
        rows = _rows(_measured(replace(asker, guard=guard), "saturated", strengths={"saturated": 8.0}))
        assert (rows["plain"].refusals, rows["saturated"].refusals) == ({}, {})
        assert rows["saturated"].confidently_wrong.value > 0.4


def test_an_engine_that_fails_is_no_odd_image() -> None:
    def broken(inputs: Mapping[str, Array]) -> dict[str, Array]:
        if inputs["x"].shape[1] != SIDE:
            raise BackendError("no room for this")
        return _by_brightness(inputs)

    with pytest.raises(BackendError, match="s0: no room for this"):
        _measured(_classifier(broken), "half-size")


def test_what_a_plain_image_is_refused_for_is_an_error() -> None:
    def nothing(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"out": np.array([[np.nan]], np.float32)}

    with pytest.raises(TaskFailed, match="s0: "):
        _measured(_classifier(nothing), "inverted")


def test_a_wrong_answer_without_a_probability_is_taken_to_be_sure() -> None:
    asker = _classifier(_by_brightness)
    plain = asker.judge.assessed
    asker.judge.assessed = lambda case, answer: replace(plain(case, answer), confidence=None)  # type: ignore[method-assign]
    assert _rows(_measured(asker, "inverted"))["inverted"].confidently_wrong.value > 0.9


def test_confidence_has_a_bound_of_the_card() -> None:
    def meek(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"out": np.array([[0.7 if inputs["x"].mean() > 107 else 0.3]], np.float32)}

    assert _rows(_measured(_classifier(meek), "inverted"))["inverted"].confidently_wrong.value == 0.0
    sure = _rows(_measured(_classifier(meek), "inverted", confident=0.6))["inverted"]
    assert sure.confidently_wrong.value == 1.0 - sure.right.value > 0.9


# --- truth that moves -----------------------------------------------------------------------------


def _bright(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Finds what is bright, wherever it is."""
    return {"out": (inputs["x"][..., np.newaxis] > 110).astype(np.float32)}


MAP = TensorSpec(name="out", dtype="float32", shape=(1, None, None, 1), layout="NHWC")
ROWS, COLUMNS = 60, 80


def _segmenter(tmp_path: Path, **more: Any) -> Asker:
    samples = []
    for n in range(8):
        plane = np.full((ROWS, COLUMNS), 20, np.uint8)
        y, x = 16 + n % 4, 22 + n
        plane[y : y + 26, x : x + 34] = 200
        Image.fromarray((plane > 100).astype(np.uint8) * 255).save(tmp_path / f"{n}.png")
        samples.append(_sample(n, plane, TablePicture(tmp_path / f"{n}.png")))
    return _asker(samples, SEGMENT, {"labels": ["head"]}, MAP, _bright, **more)


MOVES = [kind.name for kind in KINDS.values() if kind.moves]


@pytest.mark.slow
def test_a_mask_goes_where_its_picture_goes(tmp_path: Path) -> None:
    rows = _rows(_measured(_segmenter(tmp_path)))
    for kind in (PLAIN, *MOVES):
        assert rows[kind].right is not None, rows[kind].why
        assert rows[kind].right.value == 1.0, kind
        assert rows[kind].main.value > 0.95, kind
    assert rows["inverted"].right.value == 0.0


def test_without_the_judges_word_nothing_is_said_of_what_moved(tmp_path: Path) -> None:
    """Never against the mask as it was: a model that is right would be blamed for it."""
    asker = _segmenter(tmp_path)
    asker.judge.moved = lambda truth, geometry, extent: None  # type: ignore[method-assign]
    rows = _rows(_measured(asker, "flipped", "noise"))
    assert rows["flipped"].right is None
    assert rows["flipped"].main is None
    assert "Judge.moved" in rows["flipped"].why
    assert rows["noise"].right.value == 1.0


@pytest.mark.parametrize("kind", MOVES)
def test_every_move_says_where_each_point_went(kind: str) -> None:
    """A bright spot is found where the geometry leads to it: in both directions, in a picture that is not square."""
    plane = np.zeros((90, 120), np.float32)
    plane[40:44, 50:54] = 1.0
    after, affine = DONE[kind](plane, KINDS[kind].strength or 0.0, _seed(1))
    assert affine is not None
    y, x = np.nonzero(after > 0.5)
    geometry = Geometry(source_rows=90, source_columns=120, affine=affine)
    middle = geometry.to_source([(x.mean() + 0.5, y.mean() + 0.5)])[0]
    assert middle == pytest.approx((52, 42), abs=0.6)


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS.values() if not kind.moves])
def test_what_moves_nothing_keeps_the_extent(kind: str) -> None:
    frame = frame_of(_thorax(1), name="one")
    there = spoilt(frame, kind, None, name="one", seed=0)
    assert there.moved is None
    assert there.frame.pixels.shape == frame.pixels.shape
    assert there.frame.geometry == frame.geometry
    assert (there.frame.pixels != frame.pixels).any()


def test_spacing_and_regions_go_along() -> None:
    frame = frame_of(np.zeros((100, 200), np.uint8), name="one", spacing_mm=(0.5, 0.25))
    region = UltrasoundRegion(min_x0=20, min_y0=10, max_x1=59, max_y1=29, delta_x_mm=0.25, delta_y_mm=0.5)
    frame = replace(frame, geometry=replace(frame.geometry, regions=(region,)))
    half = spoilt(frame, "half-size", None, name="one", seed=0).frame
    assert (half.rows, half.columns, half.instance.rows) == (50, 100, 50)
    assert half.geometry.pixel_spacing_mm == pytest.approx((1.0, 0.5))
    box = half.geometry.regions[0]
    assert (box.min_x0, box.min_y0, box.max_x1, box.max_y1) == (10, 5, 29, 14)
    assert box.delta_x_mm == pytest.approx(0.5)
    turned_left = spoilt(frame, "rotated-90", None, name="one", seed=0).frame.geometry
    assert (turned_left.source_rows, turned_left.source_columns) == (200, 100)
    assert turned_left.pixel_spacing_mm == pytest.approx((0.25, 0.5))
    box = turned_left.regions[0]
    assert (box.min_x0, box.max_x1, box.min_y0, box.max_y1) == (10, 29, 140, 179)
    mirrored = spoilt(frame, "mirrored", None, name="one", seed=0).frame.geometry.regions[0]
    assert (mirrored.min_x0, mirrored.max_x1) == (140, 179)


def test_pixels_stay_of_their_kind() -> None:
    random = _seed(0)
    for pixels in (
        random.integers(0, 4096, (40, 40)).astype(np.uint16),
        random.integers(-1024, 2000, (40, 40)).astype(np.int16),
        random.normal(0, 3, (40, 40)).astype(np.float32),
        random.integers(0, 256, (40, 40, 3)).astype(np.uint8),
    ):
        frame = replace(frame_of(np.zeros((40, 40), np.uint8), name="x"), pixels=pixels, bits_stored=16)
        for kind in KINDS:
            after = spoilt(frame, kind, None, name="x", seed=0).frame.pixels
            assert after.dtype == pixels.dtype, kind
            assert after.ndim == pixels.ndim, kind
            assert float(after.min()) >= float(pixels.min()) - 1, kind
            assert float(after.max()) <= float(pixels.max()) + 1, kind
        inverted = spoilt(frame, "inverted", None, name="x", seed=0).frame.pixels.astype(np.float64)
        assert np.allclose(inverted + pixels, float(pixels.min()) + float(pixels.max()), atol=1e-2)


def test_text_is_white_where_white_is_low() -> None:
    frame = frame_of(np.full((80, 80), 100, np.uint8), name="one")
    low = replace(frame, photometric_interpretation="MONOCHROME1")
    assert spoilt(frame, "text", None, name="one", seed=0).frame.pixels.max() > 240
    assert spoilt(low, "text", None, name="one", seed=0).frame.pixels.min() < 15


def test_a_plane_of_one_level_stays_readable() -> None:
    frame = replace(frame_of(np.zeros((9, 9), np.uint8), name="x"), pixels=np.full((9, 9), 7, np.int16), bits_stored=16)
    for kind in KINDS:
        assert np.isfinite(spoilt(frame, kind, None, name="x", seed=0).frame.pixels).all()


# --- a task of somebody else, of an older contract ---------------------------------------------------


class OldTask:
    def interpret(self, outputs: Any, context: Any) -> Any:
        value = Measurement(name="l", value=float(outputs["out"].reshape(-1)[0]), unit="px")
        return (Finding(kind="gauge", label="l", present=True, measurements=(value,)),)


class OldJudge:
    """As an author wrote it against API 1.2, without deriving from ``Judge``."""

    columns = (Column(name="length", help="how long"),)
    main = ("mae",)
    labels = ()
    folders: Mapping[str, Any] = {}
    objective = None

    def read(self, cells: Any) -> None: ...

    def digest(self, truth: Any) -> bytes:
        return repr(truth).encode()

    def targets(self, case: Any) -> dict[str, Array]:
        return {}

    def subgroups(self, case: Any) -> dict[str, str]:
        return {}

    def pictures(self, cases: Any, answers: Any, ships: Any) -> tuple[()]:
        return ()

    def answer(self, findings: Any, outputs: Any, context: Any) -> float:
        return float(findings[0].measurements[0].value)

    def alike(self, one: float, other: float) -> bool:
        return abs(one - other) < 20

    def stratum(self, case: Any) -> int:
        return 0

    def judged(self, cases: Any, answers: Any) -> Judged:
        error = np.abs(np.array(answers) - np.array([case.truth for case in cases]))
        return Judged(
            figures=(
                Figure(
                    name="mae",
                    value=lambda: float(error.mean()),
                    over=lambda weights: weights @ error / weights.sum(axis=-1),
                    better="lower",
                    unit="px",
                ),
            )
        )


def _foreign() -> Asker:
    asker = _classifier(lambda inputs: {"out": inputs["x"].mean(keepdims=True)})
    samples = [replace(sample, truth=float(sample.load()[0].pixels.mean())) for sample in asker.samples]
    return replace(asker, samples=tuple(samples), task=OldTask(), judge=_hosted(OldJudge()))


def test_a_foreign_judge_that_says_no_more_has_rows_all_the_same() -> None:
    measured = _measured(_foreign(), "inverted", "noise", "mirrored", hospitals=4)
    rows = _rows(measured)
    assert measured.main == "mae"
    assert (rows["noise"].alike.value, rows["inverted"].alike.value) == (1.0, 0.0)
    assert rows["inverted"].main.value > 20 > rows["noise"].main.value
    assert rows["inverted"].main.unit == "px"
    assert rows["noise"].right is None
    assert "Judge.assessed" in rows["noise"].why
    assert "Judge.moved" in rows["mirrored"].why
    assert rows["mirrored"].main is None
    assert rows["mirrored"].withheld.value == 0.0
    shift = measured.shift
    assert shift is not None
    assert "positions are not shifted" in shift.why
    assert "angle" not in shift.method
    (model,) = shift.models
    assert model.plain.low <= model.plain.value <= model.plain.high < model.shifted.high
    assert model.worst > model.plain.value  # of what is better low


def test_images_of_which_nobody_knows_more_are_held_against_the_plain_ones() -> None:
    asker = _classifier(_by_brightness)
    unknown = replace(asker, samples=tuple(replace(sample, truth=None) for sample in asker.samples))
    measured = _measured(unknown, "inverted", "noise", hospitals=5)
    rows = _rows(measured)
    assert (rows["noise"].alike.value, rows["inverted"].alike.value) == (1.0, 0.0)
    assert rows["noise"].right is None
    assert "nobody says what is true" in rows["noise"].why
    assert measured.shift is None
    assert measured.main == ""


# --- other data ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_other_hospitals_widen_the_interval_of_who_relies_on_brightness() -> None:
    def soft(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"out": np.array([[np.clip(inputs["x"].mean() / 255, 0, 1)]], np.float32)}

    random = _seed(9)
    samples = []
    for n in range(60):
        ill = n % 2
        plane = np.clip(random.normal(110 + 25 * ill, 20) + random.normal(0, 10, (SIDE, SIDE)), 0, 255)
        samples.append(_sample(n, plane.astype(np.uint8), Labels((("well", "ill")[ill],))))
    asker = _asker(samples, CLASSIFY, CLASSES, PROBABILITY, _by_brightness, soft)
    measured = _measured(asker, "noise", hospitals=12)
    assert measured.shift is not None
    assert (measured.shift.figure, measured.shift.hospitals) == ("auc_roc", 12)
    assert measured.shift.method.startswith("12 simulated hospitals, each of which shifts all of the 60 images")
    assert "angle" in measured.shift.method
    for model in measured.shift.models:
        assert model.shifted.low <= model.plain.low
        assert model.shifted.high >= model.plain.high
        assert model.worst <= model.shifted.value
        assert model.withheld == 0.0
        assert model.shifted.method == "simulated shifts"


def test_a_hospital_shifts_all_of_its_images_alike_but_for_their_position() -> None:
    plane = np.tile(np.linspace(0.2, 0.8, 64, dtype=np.float32), (64, 1))
    levels = np.array([1.0, 0.5, -1.0, 0.0, 0.0, 0.0])
    still = [seen_there(plane, levels, _seed(n), moves=False)[0] for n in (1, 2)]
    assert np.allclose(still[0], still[1])
    assert still[0].mean() < plane.mean()
    moved = [seen_there(plane, levels, _seed(n), moves=True) for n in (1, 2)]
    assert moved[0][1] != moved[1][1]


@pytest.mark.parametrize("levels", [(0.0, 0, 0, 0, 0, 2.5), (0.0, 0, 0, 0, 0, 0)])
def test_a_shifted_picture_says_where_its_points_went(levels: tuple[float, ...]) -> None:
    plane = np.zeros((90, 120), np.float32)
    plane[60:66, 30:36] = 1.0
    for n in range(5):
        after, affine = seen_there(plane, np.array(levels), _seed(n), moves=True)
        assert affine is not None
        y, x = np.nonzero(after > 0.5)
        geometry = Geometry(source_rows=90, source_columns=120, affine=affine)
        assert geometry.to_source([(x.mean() + 0.5, y.mean() + 0.5)])[0] == pytest.approx((33, 63), abs=0.8)


def test_a_coarser_matrix_loses_detail_and_no_extent() -> None:
    """Else a model with a least extent would be asked of nothing, and its interval be that of the plain images."""
    plane = _seed(0).random((40, 50)).astype(np.float32)
    after, affine = seen_there(plane, np.array([0.0, 0, 0, 0, 0, 2.0]), _seed(0), moves=False)
    assert affine is None
    assert after.shape == plane.shape
    assert after.std() < 0.8 * plane.std()
    moved, affine = seen_there(plane, np.array([0.0, 0, 0, 0, 0, 2.0]), _seed(0), moves=True)
    assert affine is not None
    assert moved.shape == plane.shape


# --- the card ------------------------------------------------------------------------------------


def test_bounds_hold_the_interval() -> None:
    measured = _measured(_classifier(_by_brightness), "inverted", "mirrored")
    use = RobustnessUse(
        min_right={"mirrored": 0.8, "inverted": 0.5, "plain": 0.99},
        max_confidently_wrong={"inverted": 0.2, "mirrored": 0.2},
    )
    verdicts = {verdict.gate: verdict for verdict in verdicts_of(use, measured, "parent")}
    assert verdicts["min_right.mirrored"].holds
    assert not verdicts["min_right.inverted"].holds
    assert not verdicts["min_right.plain"].holds  # 30 of 30 do not show 99 %
    assert not verdicts["max_confidently_wrong.inverted"].holds
    assert verdicts["max_confidently_wrong.mirrored"].holds
    assert "to be at least 0.8" in str(verdicts["min_right.mirrored"])
    assert "to be at most 0.2" in str(verdicts["max_confidently_wrong.inverted"])


def test_a_bound_on_what_cannot_be_asked_is_a_mistake_of_the_card() -> None:
    measured = _measured(_foreign(), "mirrored")
    use = RobustnessUse(min_right={"mirrored": 0.5})
    with pytest.raises(ConfigError, match=r"Judge\.moved") as caught:
        verdicts_of(use, measured, "parent")
    assert caught.value.code == "config.card-robustness"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"rows": ["inverse"]}, "there is no kind inverse"),
        ({"rows": ["noise", "noise"]}, "one kind twice"),
        ({"strengths": {"inverted": 2.0}}, "inverted has no strength"),
        ({"strengths": {"noise": 500.0}}, "to be 0.1 to 100"),
        ({"strengths": {"gauss": 1.0}}, "there is no kind gauss"),
        ({"min_right": {"noise": 1.5}}, "a share, 1 at most"),
        ({"rows": ["blur"], "min_right": {"noise": 0.5}}, "there is no kind noise"),
        ({"max_confidently_wrong": {"nois": 0.5}}, "there is no kind nois"),
        ({"samples": 1}, "greater than 1"),
        ({"confident": 0.0}, "greater than 0"),
        ({"hospitals": -1}, "greater than or equal to 0"),
        ({"floors": {}}, "floors"),
    ],
)
def test_mistakes_of_the_card_are_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RobustnessUse.model_validate(values)


def test_strengths_are_the_cards() -> None:
    use = RobustnessUse(rows=("noise", "inverted"), strengths={"noise": 40.0})
    rows = _rows(measure(_classifier(_by_contrast), replace_none(use), split="validation", seed=0))
    assert rows["noise"].says == "Gaussian noise, standard deviation 40 % of the range"
    assert rows["noise"].right.value < 1.0


def replace_none(use: RobustnessUse) -> RobustnessUse:
    return use.model_copy(update={"hospitals": 0})


def test_every_kind_can_be_done() -> None:
    assert set(DONE) == set(KINDS)
    assert all(kind.strength is None or kind.bounds[0] <= kind.strength <= kind.bounds[1] for kind in KINDS.values())


def test_the_guide_lists_every_kind() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guides" / "robustness.md").read_text()
    between = text.partition("<!-- kinds: begin -->\n")[2].partition("<!-- kinds: end -->")[0]
    assert between == table()


@pytest.mark.parametrize(
    ("says", "why"), [("right", "not an Assessed"), (Assessed(right=True, confidence=7.0), "7.0 sure"), (True, "bool")]
)
def test_a_judge_that_says_nonsense_of_an_answer_is_named(says: Any, why: str) -> None:
    judge = OldJudge()
    judge.assessed = lambda case, answer: says  # type: ignore[attr-defined]
    with pytest.raises(PluginFault, match=why):
        _measured(replace(_foreign(), judge=_hosted(judge)), "noise")


@pytest.mark.slow
def test_evidence_holds_all_of_it_and_the_report_shows_it() -> None:
    measured = _measured(_classifier(_by_brightness, _by_contrast), "saturated", "half-size", hospitals=3)
    body = json.loads(json.dumps(measured.as_dict(), allow_nan=False))
    assert from_plain(body) == measured
    evidence = Evidence(model="m", version="1.0.0", task="t", digest="d", trials=(), robustness=body)
    assert decode_evidence(encode_evidence(evidence)) == evidence
    odd, elsewhere = _robustness(evidence)
    (table,) = odd.tables
    assert table.head[:3] == ("images", "model", "right")
    assert [row[:3] for row in table.rows][2:4] == [
        ("saturated", "parent", share(measured.rows[2].right)),
        ("saturated", "tflite-int8", share(measured.rows[3].right)),
    ]
    assert any("2 times as bright" in line for line in odd.lines)
    assert any("another hospital" in line for line in elsewhere.lines)
    assert any(line.startswith("Method: 3 simulated hospitals") for line in elsewhere.lines)
    assert list(_robustness(Evidence(model="m", version="1.0.0", task="t", digest="d", trials=()))) == []
