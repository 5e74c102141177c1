"""The threshold of a mask, out of answers whose masks are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeai.api import Case, ConfigError, DataRejected, Frame, FrameContext, Geometry, TaskRequest, TensorSpec
from edgeai.testing.examples import instance_ref
from edgeai_tasks.segment import SPEC
from edgeai_tasks.segment.choosing import THRESHOLDS, middle_of_best
from edgeai_tasks.segment.judge import SegmentJudge

SIDE = 64
Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Drawn:
    """A mask as it would lie in a file."""

    mask: npt.NDArray[np.bool_]
    path: Path = Path("drawn.png")

    def load(self) -> Any:
        return self.mask.astype(np.uint8)


def _cone(radius: float, at: tuple[float, float] = (32.0, 32.0)) -> Map:
    """A probability that falls evenly from 1 in the middle to 0 at that radius."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    return np.clip(1 - np.hypot(y - at[0], x - at[1]) / radius, 0, 1).astype(np.float32)


def _case(mask: npt.NDArray[np.bool_], number: int, pixel: float | None = 1.0) -> Case:
    spacing = None if pixel is None else (pixel, pixel)
    geometry = Geometry(source_rows=SIDE, source_columns=SIDE, pixel_spacing_mm=spacing)
    frame = Frame(pixels=np.zeros((SIDE, SIDE), np.float32), number=1, geometry=geometry, instance=instance_ref())
    context = FrameContext(frame=frame, instance=instance_ref())
    return Case(id=f"s{number}", truth=Drawn(mask), context=context, image=lambda: frame.pixels)


def _judge(labels: Sequence[str] = ("head",), **options: Any) -> SegmentJudge:
    output = TensorSpec(name="out", dtype="float32", shape=(1, SIDE, SIDE, len(labels)), layout="NHWC")
    assert SPEC.judge is not None
    judge = SPEC.judge(TaskRequest(options={"labels": list(labels), **options}, outputs=(output,)))
    assert isinstance(judge, SegmentJudge)
    return judge


def _outputs(*maps: Map) -> Mapping[str, Any]:
    return {"out": np.stack(maps, axis=-1)[np.newaxis]}


def _told(true: float, count: int = 12, spread: float = 0.03) -> tuple[list[Case], list[Mapping[str, Any]]]:
    """Cones of several sizes, of which the part above ``true``, more or less, is what is true."""
    random = np.random.default_rng(4)
    maps = [_cone(radius) for radius in random.uniform(18, 30, count)]
    edges = true + random.normal(0, spread, count)
    return [_case(m >= edge, n) for n, (m, edge) in enumerate(zip(maps, edges, strict=True))], [
        _outputs(m) for m in maps
    ]


@pytest.mark.parametrize("by", ["dice", "circumference"])
@pytest.mark.parametrize("true", [0.2, 0.5, 0.7])
def test_the_threshold_is_where_masks_are_right(true: float, by: str) -> None:
    cases, outputs = _told(true)
    for options in ({}, {"threshold": 0.9}, {"thresholds": {"head": 0.9}}):  # what the card says does not count
        chosen = _judge(ellipse=True, **options).choose(cases, outputs, {"threshold": by})
        assert chosen == {"thresholds": {"head": pytest.approx(true, abs=0.03)}}


def test_of_a_network_that_is_sure_of_every_pixel_the_middle_is_taken() -> None:
    cases, outputs = _told(0.4)
    sure = [{"out": (given["out"] >= 0.4).astype(np.float32)} for given in outputs]
    assert _judge().choose(cases, sure, {"threshold": "dice"}) == {"thresholds": {"head": 0.5}}


def test_masks_are_made_as_on_a_cart() -> None:
    """A second, fainter blob: where the largest piece alone counts it costs nothing, else the threshold evades it."""
    cases, outputs = _told(0.2, spread=0.0)
    blob = np.float32(0.23) * (_cone(7, (8, 8)) > 0)
    for given in outputs:
        given["out"][0, ..., 0] = np.maximum(given["out"][0, ..., 0], blob)
    chosen = [
        _judge(largest_component=largest).choose(cases, outputs, {"threshold": "dice"})["thresholds"]["head"]
        for largest in (True, False)
    ]
    assert chosen[0] == pytest.approx(0.2, abs=0.03)
    assert chosen[1] > 0.23


def test_a_hole_that_is_filled_costs_no_threshold() -> None:
    """A ring whose inside the model doubts: only a lower threshold would mark it, were it not filled."""
    cases, outputs = _told(0.4, spread=0.0)
    for given in outputs:
        given["out"][0, ..., 0][_cone(7) > 0] = 0.34
    unfilled, filled = (
        _judge(fill_holes=fill).choose(cases, outputs, {"threshold": "dice"})["thresholds"]["head"]
        for fill in (False, True)
    )
    assert unfilled <= 0.34
    assert filled == pytest.approx(0.4, abs=0.03)


def test_what_is_measured_and_what_overlaps_may_want_other_thresholds() -> None:
    """A spur that only high thresholds shed changes the ellipse more than the overlap."""
    cases, outputs = _told(0.3, spread=0.0)
    for given in outputs:
        spur = given["out"][0, 30:34, 50:, 0]
        spur[:] = np.maximum(spur, 0.45)
    judge = _judge(ellipse=True)
    dice, around = (
        judge.choose(cases, outputs, {"threshold": by})["thresholds"]["head"] for by in ("dice", "circumference")
    )
    assert around != dice


@pytest.mark.parametrize("unknown", [0, 23])
def test_one_image_without_millimetres_makes_all_count_in_pixels(unknown: int) -> None:
    """Small pictures of huge pixels would choose alone, as the report does not judge them."""
    cases, outputs = _told(0.3, spread=0.0)
    others, more = _told(0.6, spread=0.0)
    mixed = [_case(case.truth.mask, n, 0.01) for n, case in enumerate(cases)]
    mixed += [_case(case.truth.mask, n, 50.0) for n, case in enumerate(others)]
    judge = _judge(ellipse=True)
    by_mm = judge.choose(mixed, [*outputs, *more], {"threshold": "circumference"})["thresholds"]["head"]
    assert by_mm == pytest.approx(0.6, abs=0.03)
    mixed[unknown] = _case(mixed[unknown].truth.mask, unknown, None)
    by_pixel = judge.choose(mixed, [*outputs, *more], {"threshold": "circumference"})["thresholds"]["head"]
    assert by_pixel < 0.57


def test_of_exclusive_labels_the_one_that_masks_are_of_is_chosen_for() -> None:
    cases, outputs = _told(0.7)
    both = [_outputs(1 - given["out"][0, ..., 0], given["out"][0, ..., 0]) for given in outputs]
    judge = _judge(["rest", "head"], mode="multi-class", background="rest")
    assert judge.choose(cases, both, {"threshold": "dice"}) == {"thresholds": {"head": pytest.approx(0.7, abs=0.03)}}


@pytest.mark.parametrize(
    ("wish", "options", "says"),
    [
        ({"thresold": "dice"}, {}, 'segment does not choose thresold; did you mean "threshold"?'),
        ({"temperature": True}, {}, "segment does not choose temperature"),
        ({"threshold": "dice", "temperature": True}, {}, "segment does not choose temperature"),
        ({"threshold": "dise"}, {}, "threshold is 'dise', by which segment chooses none; did you mean \"dice\"?"),
        ({"threshold": "circumfrence"}, {"ellipse": True}, 'did you mean "circumference"?'),
        ({"threshold": 0.5}, {}, "threshold is 0.5"),
        ({"threshold": True}, {}, "threshold is True"),
        ({"threshold": ["dice"]}, {}, "threshold is ['dice']"),
        ({"threshold": "sensitivity@specificity=0.9"}, {}, "by which segment chooses none"),
        ({"threshold": "circumference"}, {}, "the option ellipse is false"),
        ({}, {}, "threshold is None"),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_any_sample_is_looked_at(
    wish: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        _judge(**options).choose((), (), wish)
    assert refused.value.code == "config.card-choice"
    assert says in str(refused.value)
    assert '"dice"' in str(refused.value.remedy)


def test_few_samples_choose_nothing_and_those_without_the_label_do_not_count() -> None:
    cases, outputs = _told(0.4, count=10)
    judge = _judge()
    assert judge.choose(cases, outputs, {"threshold": "dice"})["thresholds"]
    cases[3] = _case(np.zeros((SIDE, SIDE), bool), 3)
    with pytest.raises(DataRejected, match="9 samples have head, and a threshold by dice needs 10") as refused:
        judge.choose(cases, outputs, {"threshold": "dice"})
    assert refused.value.code == "data.fold-few"


# --- the middle of what is as good -----------------------------------------------------------------


def _worth(mean: Sequence[float], spread: float = 0.0, count: int = 50) -> npt.NDArray[np.float64]:
    return np.array(mean) + spread * np.random.default_rng(1).normal(size=(count, len(mean)))


def test_a_peak_is_taken_and_a_plateau_has_a_middle() -> None:
    assert middle_of_best(_worth([0.1, 0.2, 0.9, 0.3])) == 2
    assert middle_of_best(_worth([0.1, 0.9, 0.9, 0.9, 0.2])) == 2
    assert middle_of_best(_worth([0.5] * 91)) == THRESHOLDS.index(0.5)
    assert middle_of_best(_worth([0.9, 0.1, 0.1])) == 0
    assert middle_of_best(_worth([0.1, 0.1, 0.9])) == 2


def test_a_second_best_beyond_a_valley_does_not_draw_the_middle_into_it() -> None:
    assert middle_of_best(_worth([0.9, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9])) in (0, 5)


def test_what_every_sample_tells_apart_is_told_apart() -> None:
    steady = np.linspace(0.5, 0.9, 50)[:, np.newaxis]  # samples differ, and all of them lose by the second
    assert middle_of_best(steady - np.array([[0.0, 0.01, 0.02]])) == 0


def _hill(samples: int, seed: int) -> npt.NDArray[np.float64]:
    """Each sample has a best threshold of its own, about the sixtieth, and falls off faster below it than above."""
    best = 60 + 12 * np.random.default_rng(seed).normal(size=(samples, 1))
    off = np.arange(91) - best
    return -np.where(off < 0, 2.0, 1.0) * off**2


def test_the_middle_strays_the_less_the_more_samples_there_are() -> None:
    true = int(_hill(100_000, 0).mean(axis=0).argmax())
    strays = {}
    for samples in (10, 200):
        drawn = [_hill(samples, seed) for seed in range(1, 101)]
        strays[samples] = np.mean([abs(middle_of_best(worth) - true) for worth in drawn])
    assert strays[200] < strays[10] / 2
    assert strays[200] < 1.5


def test_a_few_samples_of_chance_do_not_draw_it_far_from_a_flat_top() -> None:
    """Everything between the thirtieth and the sixtieth is as good but for luck, which is the same next door."""
    flat = -np.maximum(0, np.abs(np.arange(91) - 45) - 15) * 0.01
    far_best, far_middle = [], []
    for seed in range(100):
        steps = np.random.default_rng(seed).normal(size=(20, 91)).cumsum(axis=1) * 0.002
        worth = flat + steps
        far_best.append(abs(int(worth.mean(axis=0).argmax()) - 45))
        far_middle.append(abs(middle_of_best(worth) - 45))
    assert np.mean(far_middle) < np.mean(far_best)
