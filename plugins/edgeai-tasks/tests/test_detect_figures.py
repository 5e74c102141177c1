"""Average precision and FROC against cases that were worked out by hand, and as functions of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgeai.api import DataRejected, Figure, FigureUndefined
from edgeai_tasks.detect.boxes import Boxes, Numbers
from edgeai_tasks.detect.choosing import chosen
from edgeai_tasks.detect.figures import NAMES, Measured
from edgeai_tasks.detect.matching import Boxed

Box = tuple[float, float, float, float]
A: Box = (0, 0, 10, 10)
B: Box = (20, 0, 30, 10)
C: Box = (40, 0, 50, 10)
NEAR: Box = (0, 0, 10, 7)
"""Overlaps A by 0.7."""


def _true(*boxes: Box, labels: Sequence[int] = ()) -> tuple[Boxes, Numbers]:
    places = np.array(labels or [0] * len(boxes), np.intp)
    return np.array(boxes, np.float64).reshape(-1, 4), places


def _said(*rows: tuple[Box, float], labels: Sequence[int] = (), threshold: float = 0.5) -> Boxed:
    rows = tuple(sorted(rows, key=lambda row: -row[1]))
    scores = np.array([score for _, score in rows])
    places = np.array(labels or [0] * len(rows), np.intp)
    return Boxed(np.array([box for box, _ in rows], np.float64).reshape(-1, 4), scores, places, scores >= threshold)


def _of(truths: Any, answers: Any, labels: int = 1) -> dict[str, Figure]:
    return {figure.name: figure for figure in Measured(truths, answers, labels).figures()}


def _values(truths: Any, answers: Any, labels: int = 1) -> dict[str, float]:
    values = {}
    for name, figure in _of(truths, answers, labels).items():
        try:
            values[name] = figure.value()
        except FigureUndefined:
            continue
    return values


def test_all_right_is_one() -> None:
    values = _values([_true(A, B), _true(C)], [_said((A, 0.9), (B, 0.8)), _said((C, 0.7))])
    whole = dict.fromkeys(NAMES, 1.0) | {"false_positives": 0.0}
    assert values == pytest.approx(whole)


def test_precision_at_each_recall_is_the_greatest_beyond() -> None:
    """Right, wrong, right, of three: precision 1 up to recall 1/3, 2/3 up to 2/3, then 0.

    Recalls of COCO are 0, 0.01, ... 1: 34 of them up to 1/3, 33 up to 2/3, 34 beyond.
    """
    truths = [_true(A, B), _true(C)]
    answers = [_said((A, 0.9), ((60, 0, 70, 10), 0.8)), _said((C, 0.7))]
    assert _values(truths, answers)["map50"] == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)


def test_a_true_box_makes_one_box_right() -> None:
    """The second on A is wrong: right, wrong, right of two: 51 at 1, 50 at 2/3."""
    answers = [_said((A, 0.9), (NEAR, 0.8), (B, 0.7))]
    values = _values([_true(A, B)], answers)
    assert values["map50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert (values["recall"], values["precision"], values["false_positives"]) == pytest.approx((1, 2 / 3, 1))


def test_the_mean_over_overlaps_counts_how_well_a_box_fits() -> None:
    """An overlap of 0.7 is right at 0.5, 0.55, ... 0.7: five of ten."""
    values = _values([_true(A)], [_said((NEAR, 0.9))])
    assert (values["map50"], values["map50_95"]) == pytest.approx((1.0, 0.5))
    assert (values["localised"], values["best_overlap"]) == pytest.approx((1.0, 0.7))


def test_the_mean_over_labels_leaves_out_what_is_never_true() -> None:
    truths = [_true(A, B, labels=[0, 1])]
    answers = [_said((A, 0.9), (B, 0.8), (C, 0.7), labels=[0, 0, 2])]
    assert _values(truths, answers, labels=3)["map50"] == pytest.approx(0.5), "of a 1, of b 0, of c nothing is true"
    assert Measured(truths, answers, 3).of_label(0)["map50"] == 1.0
    assert Measured(truths, answers, 3).of_label(2) == {}


def test_the_best_box_is_that_of_the_highest_score_and_stated() -> None:
    truths = [_true(A), _true(A), _true(A), _true()]
    answers = [_said((B, 0.9), (A, 0.8)), _said((A, 0.3)), _said((A, 0.9), (B, 0.8)), _said((B, 0.9))]
    values = _values(truths, answers)
    assert values["localised"] == pytest.approx(1 / 3), "the empty image does not count"
    assert values["best_overlap"] == pytest.approx(1 / 3)
    half = [_said(((0, 0, 10, 5), 0.9))]
    assert _values([_true(A)], half)["localised"] == 0.0, "more than a half"


def test_froc_is_recall_at_so_many_false_positives_an_image() -> None:
    """Scores 0.9 right, 0.8 wrong, 0.7 right, 0.6 wrong, 0.5 wrong, on two images with three true boxes."""
    wrong = (60.0, 0.0, 70.0, 10.0)
    truths = [_true(A, B), _true(C)]
    answers = [_said((A, 0.9), (wrong, 0.8), (B, 0.7)), _said((wrong, 0.6), ((80, 0, 90, 10), 0.55))]
    point = Measured(truths, answers, 1).point

    def at(bound: float) -> float:
        figure = point(f"recall@fppi={bound}")
        assert figure is not None
        return figure.value()

    assert [at(bound) for bound in (0.0, 0.49, 0.5, 8)] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    steps = [1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3]
    assert _values(truths, answers)["froc"] == pytest.approx(np.mean(steps))


@pytest.mark.parametrize(
    "name", ["recall@fppi", "recall@fppi=", "recall@fppi=x", "recall@fppi=-1", "froc@fppi=1", "recall"]
)
def test_a_point_that_is_none_is_none(name: str) -> None:
    assert Measured([_true(A)], [_said()], 1).point(name) is None


def test_boxes_of_one_score_count_together_whatever_the_order_of_images() -> None:
    truths, answers = [_true(A), _true(B)], [_said((C, 0.9)), _said((B, 0.9))]
    there = _values(truths, answers)["map50"]
    assert there == _values(truths[::-1], answers[::-1])["map50"] == pytest.approx(51 * 0.5 / 101)


def test_what_samples_do_not_determine_has_no_value() -> None:
    assert _values([_true()], [_said()]) == {"false_positives": 0.0}
    nothing = _values([_true(A)], [_said()])
    assert "precision" not in nothing
    assert {nothing[name] for name in ("map50", "map50_95", "localised", "recall", "froc")} == {0.0}
    for figure in _of([], []).values():
        with pytest.raises(FigureUndefined):
            figure.value()


def test_every_figure_is_a_function_of_weights() -> None:
    """Drawn by weights, or there as often: the same, images that are not drawn included."""
    random = np.random.default_rng(3)
    truths, answers = [], []
    for _ in range(12):
        own = [(at, at, at + 10.0, at + 10.0) for at in random.uniform(0, 40, random.integers(0, 4)).tolist()]
        moved = [(tuple(np.array(box) + random.uniform(-3, 3, 4)), round(random.random(), 1)) for box in own]
        more = [((60.0, 0.0, 70.0, 10.0), round(random.random(), 1))]
        truths.append(_true(*own, labels=random.integers(0, 2, len(own)).tolist()))
        given = [*moved, *more]
        answers.append(_said(*given, labels=random.integers(0, 2, len(given)).tolist()))
    counts = random.integers(0, 4, 12)
    again = [n for n, count in enumerate(counts) for _ in range(count)]
    repeated = _values([truths[n] for n in again], [answers[n] for n in again], 2)
    weights = np.stack([np.ones(12), counts.astype(np.float64)])
    once = _values(truths, answers, 2)
    for name, figure in _of(truths, answers, 2).items():
        assert figure.over(weights) == pytest.approx([once[name], repeated[name]]), name


# --- thresholds -------------------------------------------------------------------------------


def _images(count: int) -> tuple[list[tuple[Boxes, Numbers]], list[Boxed]]:
    """A right box of 0.9 in each, and wrong ones of 0.8, 0.7, 0.6 ... in the first of them."""
    wrong = [(80.0, 0.0, 90.0, 10.0), (60.0, 0.0, 70.0, 10.0)]
    answers = [_said((A, 0.9), (wrong[0], 0.8 - 0.01 * n), (wrong[1], 0.5 - 0.01 * n)) for n in range(count)]
    return [_true(A)] * count, answers


def test_a_threshold_keeps_its_false_positives() -> None:
    truths, answers = _images(20)
    for allowed in (0.1, 0.5, 1.0, 1.5):
        threshold = chosen(truths, answers, ["a"], allowed)["thresholds"]["a"]
        wrong = sum(int((each.scores[1:] >= threshold).sum()) for each in answers)
        assert wrong == allowed * 20
    assert chosen(truths, answers, ["a"], 8.0) == {"thresholds": {"a": 0.01}}, "all are within it"


def test_equal_scores_are_kept_or_left_together() -> None:
    answers = [_said((A, 0.9), (B, 0.7)) for _ in range(20)]
    threshold = chosen([_true(A)] * 20, answers, ["a"], 0.5)["thresholds"]["a"]
    assert 0.7 < threshold <= 0.9


@pytest.mark.parametrize(("count", "bound"), [(9, 1.0), (20, 0.01)])
def test_few_samples_choose_nothing(count: int, bound: float) -> None:
    with pytest.raises(DataRejected) as caught:
        chosen(*_images(count), ["a"], bound)
    assert caught.value.code == "data.fold-few"


def test_a_label_that_is_hardly_ever_true_chooses_nothing() -> None:
    truths, answers = _images(20)
    with pytest.raises(DataRejected, match="are of b"):
        chosen(truths, answers, ["a", "b"], 1.0)
