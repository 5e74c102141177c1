"""Metrics: each against the library that has it, a published value, or a case worked by hand; and what is refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from edgeai.api import EvaluationFailed, Figure
from edgeai_tasks.classify import figures as cls
from edgeai_tasks.classify.figures import Classified
from edgeai_tasks.segment import figures as seg
from edgeai_workbench.statistics import Design, Undefined, interval
from edgeai_workbench.statistics.areas import Area, spread_of
from edgeai_workbench.statistics.bootstrap import two_sided_p
from edgeai_workbench.statistics.paired import mcnemar
from edgeai_workbench.statistics.precision import AveragePrecision

RNG = np.random.default_rng(7)


def by_name(figures: Iterable[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def _binary(n: int = 200, ties: int = 0) -> Classified:
    truth = RNG.random(n) < 0.3
    p = np.clip(truth * 0.3 + RNG.random(n) * 0.7, 0, 1)
    p = np.round(p * ties) / ties if ties else p
    return Classified(mode="binary", truth=truth[:, None], probabilities=p[:, None], stated=p[:, None] >= 0.5)


def _multi(n: int = 300, k: int = 4) -> Classified:
    index = RNG.integers(0, k, n)
    logits = RNG.normal(size=(n, k)) + 1.2 * np.eye(k)[index]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Classified(
        mode="multi-class",
        truth=np.eye(k, dtype=bool)[index],
        probabilities=p,
        stated=np.eye(k, dtype=bool)[p.argmax(1)],
    )


def _values(c: Classified) -> dict[str, float]:
    return {figure.name: figure.value() for figure in c.figures()}


# --- classification against scikit-learn ---------------------------------------------------------


def test_binary_is_what_scikit_learn_says() -> None:
    c = _binary()
    y, p, s = c.truth[:, 0], c.probabilities[:, 0], c.stated[:, 0]
    got = _values(c)
    assert got == pytest.approx(
        {
            "auc_roc": sk.roc_auc_score(y, p),
            "auc_pr": sk.average_precision_score(y, p),
            "accuracy": sk.accuracy_score(y, s),
            "sensitivity": sk.recall_score(y, s),
            "specificity": sk.recall_score(~y, ~s),
            "precision": sk.precision_score(y, s),
            "recall": sk.recall_score(y, s),
            "f1": sk.f1_score(y, s),
            "brier": sk.brier_score_loss(y, p),
            "ece": got["ece"],
        }
    )
    assert tuple(got) == cls.NAMES


def test_multi_class_is_the_macro_average() -> None:
    c = _multi()
    y, s = c.truth.argmax(axis=1), c.stated.argmax(axis=1)
    got = _values(c)
    assert got["auc_roc"] == pytest.approx(sk.roc_auc_score(y, c.probabilities, multi_class="ovr", average="macro"))
    assert got["auc_pr"] == pytest.approx(sk.average_precision_score(c.truth, c.probabilities, average="macro"))
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(y, s))
    assert got["recall"] == got["sensitivity"] == pytest.approx(sk.recall_score(y, s, average="macro"))
    assert got["precision"] == pytest.approx(sk.precision_score(y, s, average="macro"))
    assert got["f1"] == pytest.approx(sk.f1_score(y, s, average="macro"))
    assert got["brier"] == pytest.approx(sk.brier_score_loss(y, c.probabilities, labels=range(4)))
    each = [sk.recall_score(y != k, s != k) for k in range(4)]
    assert got["specificity"] == pytest.approx(np.mean(each))


def test_multi_label_is_the_mean_over_labels() -> None:
    truth = RNG.random((150, 3)) < [0.5, 0.2, 0.1]
    p = np.clip(truth * 0.2 + RNG.random((150, 3)) * 0.8, 0, 1)
    got = _values(Classified(mode="multi-label", truth=truth, probabilities=p, stated=p >= 0.5))
    assert got["auc_roc"] == pytest.approx(sk.roc_auc_score(truth, p, average="macro"))
    assert got["f1"] == pytest.approx(sk.f1_score(truth, p >= 0.5, average="macro"))
    assert got["accuracy"] == pytest.approx((truth == (p >= 0.5)).mean())
    assert got["brier"] == pytest.approx(((truth - p) ** 2).mean())


@pytest.mark.parametrize("make", [_binary, lambda: _binary(ties=8), _multi], ids=["binary", "ties", "multi-class"])
def test_over_resamples_each_figure_is_itself(make: Any) -> None:
    """What is computed for all resamples at once is what the value would be of each resample alone."""
    c = make()
    n = len(c.truth)
    drawn = RNG.integers(0, n, (20, n))
    weights = np.stack([np.bincount(each, minlength=n) for each in drawn]).astype(float)
    for figure in c.figures():
        at_once = figure.over(weights)
        alone = [
            by_name(
                Classified(
                    mode=c.mode, truth=c.truth[d], probabilities=c.probabilities[d], stated=c.stated[d]
                ).figures()
            )[figure.name].value()
            for d in drawn
        ]
        assert at_once == pytest.approx(alone, abs=1e-12), figure.name


def test_calibration_error_by_hand() -> None:
    truth = np.array([1, 1, 0, 0, 1], bool)
    p = np.array([0.9, 0.9, 0.9, 0.1, 0.1])
    # Bin of 0.9: frequency 2/3, off by 0.2333 for 3 samples; of 0.1: frequency 1/2, off by 0.4 for 2.
    assert cls.ece_over(truth, p, np.ones((1, 5)))[0] == pytest.approx((3 * (0.9 - 2 / 3) + 2 * 0.4) / 5)
    assert cls.ece_over(truth, truth.astype(float), np.ones((1, 5)))[0] == 0.0


def test_undecided_is_never_right() -> None:
    truth = np.eye(3, dtype=bool)[[0, 1, 2, 0]]
    p = np.full((4, 3), 1 / 3)
    stated = np.eye(3, dtype=bool)[[0, 1, 2, 0]]
    stated[3] = False
    got = _values(Classified(mode="multi-class", truth=truth, probabilities=p, stated=stated))
    assert got["accuracy"] == 0.75
    assert got["sensitivity"] == pytest.approx((0.5 + 1 + 1) / 3)


def test_one_class_alone_has_no_curve_and_that_is_said() -> None:
    c = Classified(
        mode="binary", truth=np.ones((5, 1), bool), probabilities=np.full((5, 1), 0.7), stated=np.ones((5, 1), bool)
    )
    figures = by_name(c.figures())
    for name in ("auc_roc", "auc_pr"):
        with pytest.raises(Undefined, match="one class") as caught:
            figures[name].value()
        assert caught.value.code == "evaluate.undefined"
    with pytest.raises(Undefined, match="no sample is negative"):
        figures["specificity"].value()
    assert figures["accuracy"].value() == 1.0


def test_nothing_stated_has_no_precision() -> None:
    c = Classified(
        mode="binary",
        truth=np.array([[True], [False]]),
        probabilities=np.full((2, 1), 0.2),
        stated=np.zeros((2, 1), bool),
    )
    with pytest.raises(Undefined, match="states no positive"):
        by_name(c.figures())["precision"].value()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_probability_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(EvaluationFailed) as caught:
        Classified(
            mode="binary",
            truth=np.array([[True], [False]]),
            probabilities=np.array([[0.5], [value]]),
            stated=np.zeros((2, 1), bool),
        )
    assert caught.value.code == "evaluate.not-finite"


def test_shapes_and_double_labels_are_refused() -> None:
    with pytest.raises(EvaluationFailed):
        Classified(
            mode="binary", truth=np.ones((2, 1), bool), probabilities=np.ones((3, 1)), stated=np.ones((2, 1), bool)
        )
    with pytest.raises(EvaluationFailed):
        Classified(
            mode="multi-class", truth=np.ones((2, 2), bool), probabilities=np.ones((2, 2)), stated=np.ones((2, 2), bool)
        )
    with pytest.raises(EvaluationFailed):
        Classified(
            mode="binary", truth=np.ones((0, 1), bool), probabilities=np.ones((0, 1)), stated=np.ones((0, 1), bool)
        )


# --- bootstrap -----------------------------------------------------------------------------------


def _mean_of(values: Any) -> Any:
    return lambda weights: weights @ values / weights.sum(axis=-1)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_are_scipys(method: str) -> None:
    values = RNG.exponential(size=60)
    got = interval(_mean_of(values), Design.of([0] * 60), method=method, seed=3)
    want = stats.bootstrap(
        (values,), np.mean, n_resamples=1000, method="BCa" if method == "bca" else method, rng=np.random.default_rng(3)
    ).confidence_interval
    assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=1e-9)


def test_strata_keep_their_share_and_groups_stay_together() -> None:
    seen: list[Any] = []

    def watch(weights: Any) -> Any:
        seen.append(weights)
        return weights.sum(axis=-1)

    strata = ["a"] * 6 + ["b"] * 4
    interval(watch, Design.of(strata), resamples=50, method="percentile")
    weights = np.vstack(seen)
    assert (weights[:, :6].sum(axis=1) == 6).all()
    assert (weights[:, 6:].sum(axis=1) == 4).all()
    seen.clear()
    groups = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    design = Design.of(strata, groups)
    assert design.units == 5
    interval(watch, design, resamples=50, method="percentile")
    weights = np.vstack(seen)
    assert (weights[:, ::2] == weights[:, 1::2]).all()


def test_patients_with_many_images_widen_the_interval() -> None:
    patients = np.repeat(np.arange(20), 10)
    values = RNG.normal(size=20)[patients] + 0.1 * RNG.normal(size=200)
    alone = interval(_mean_of(values), Design.of([0] * 200))
    together = interval(_mean_of(values), Design.of([0] * 200, list(patients)))
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_unit_alone_in_its_stratum_is_always_drawn() -> None:
    truth = np.array([True] + [False] * 20)
    score = RNG.random(21)
    got = interval(lambda w: cls.auc_roc_over(truth, score, w), Design.of(list(truth)))
    assert np.isfinite(got.distribution).all()


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Coverage of the AUC of two normal classes, whose true value is known."""
    true_auc = float(stats.norm.cdf(1 / math.sqrt(2)))
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        truth = np.arange(100) < 50
        score = rng.normal(size=100) + truth
        got = interval(lambda w, t=truth, s=score: cls.auc_roc_over(t, s, w), Design.of(list(truth)), resamples=300)
        held += got.low <= true_auc <= got.high
    assert 52 <= held <= 60


def test_a_statistic_that_few_resamples_determine_has_no_interval() -> None:
    got = interval(lambda w: np.where(w[:, 0] > 3, 1.0, np.nan), Design.of([0] * 10))
    assert math.isnan(got.low)
    assert math.isnan(got.high)
    some = interval(lambda w: np.where(w[:, 0] > 0, w[:, 0], np.nan), Design.of([0] * 10))
    assert some.low >= 1


def test_too_few_are_refused() -> None:
    for strata, groups in (([], None), ([0], None), ([0, 1], None), ([0, 0, 1, 1], ["one patient"] * 4)):
        with pytest.raises(EvaluationFailed) as caught:
            interval(lambda w: w[:, 0], Design.of(strata, groups))
        assert caught.value.code == "evaluate.too-few"


def test_p_of_a_distribution() -> None:
    assert two_sided_p(np.linspace(-1, 1, 1001)) == pytest.approx(1.0, abs=0.01)
    assert two_sided_p(np.linspace(0.1, 1, 999)) == pytest.approx(1 / 1000)
    assert two_sided_p(np.zeros(100)) == 1.0
    assert math.isnan(two_sided_p(np.full(10, np.nan)))


# --- paired tests --------------------------------------------------------------------------------


def test_mcnemar_is_exact() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(9, 1) == mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)


def test_delongs_variance_is_what_its_definition_gives() -> None:
    """By the O(mn) sums of DeLong et al. 1988, equations 2 to 6, ties included."""
    truth = RNG.random(80) < 0.4
    one = np.round(RNG.normal(size=80) + truth, 1)
    other = np.round(one + RNG.normal(size=80), 1)
    areas = [Area(truth, scores) for scores in (one, other)]
    got = spread_of(areas[0].influence() - areas[1].influence(), truth, Design.of(list(truth)))
    parts = []
    for score in (one, other):
        x, y = score[truth], score[~truth]
        psi = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
        parts.append((psi.mean(), psi.mean(axis=1), psi.mean(axis=0)))
    m, n = truth.sum(), (~truth).sum()
    s10 = np.cov(parts[0][1], parts[1][1])
    s01 = np.cov(parts[0][2], parts[1][2])
    s = s10 / m + s01 / n
    assert [area.value() for area in areas] == pytest.approx([parts[0][0], parts[1][0]])
    assert areas[0].value() == pytest.approx(sk.roc_auc_score(truth, one))
    assert got.variance == pytest.approx(s[0, 0] + s[1, 1] - 2 * s[0, 1])


@pytest.mark.parametrize("digits", [1, 6], ids=["ties", "none"])
def test_what_a_sample_adds_to_an_average_precision_is_what_a_little_more_of_it_changes(digits: int) -> None:
    truth = RNG.random(60) < 0.3
    part = AveragePrecision(truth, np.round(RNG.normal(size=60) + truth, digits))
    assert part.value() == pytest.approx(sk.average_precision_score(truth, part.scores))
    assert [part.influence()[side].sum() for side in (truth, ~truth)] == pytest.approx([0, 0])
    step = 1e-6
    for sample, added in enumerate(part.influence()):
        # As much more of this sample as all of its class are made less, so that the class weighs what it did.
        weights = np.ones((1, 60))
        alike = truth == truth[sample]
        weights[0, alike] -= step / alike.sum()
        weights[0, sample] += step
        changed = cls.auc_pr_over(truth, part.scores, weights)[0] - part.value()
        assert changed / step == pytest.approx(added, abs=1e-5)


# --- masks ---------------------------------------------------------------------------------------


def _square(y: int, x: int, side: int = 10) -> Any:
    mask = np.zeros((40, 50), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_overlap_by_hand_and_by_scikit_learn() -> None:
    one, other = _square(10, 10), _square(10, 15)
    assert seg.overlap(one, other) == (0.5, pytest.approx(1 / 3))
    assert seg.overlap(one, other)[0] == pytest.approx(sk.f1_score(one.ravel(), other.ravel()))
    assert seg.overlap(one, other)[1] == pytest.approx(sk.jaccard_score(one.ravel(), other.ravel()))
    assert seg.overlap(one, one) == (1.0, 1.0)
    assert seg.overlap(one, _square(25, 25)) == (0.0, 0.0)


def test_distances_by_hand() -> None:
    dot, far = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    dot[3, 4], far[6, 8] = True, True
    assert seg.distances(dot, far) == (5.0, 5.0)
    assert seg.distances(dot, far, (2.0, 0.5)) == pytest.approx((math.hypot(6, 2),) * 2)
    assert seg.distances(_square(10, 10), _square(10, 10)) == (0.0, 0.0)


def test_distances_are_those_of_all_pairs_of_border_pixels() -> None:
    one, other = RNG.random((24, 30)) < 0.2, RNG.random((24, 30)) < 0.2
    spacing = (0.3, 0.7)

    def border(mask: Any) -> Any:
        padded = np.pad(mask, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(mask & ~inner) * spacing

    a, b = border(one), border(other)
    pairs = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    there, back = pairs.min(axis=1), pairs.min(axis=0)
    hd95, mean = seg.distances(one, other, spacing)
    assert hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert mean == pytest.approx(np.concatenate((there, back)).mean())


def test_empty_masks() -> None:
    nothing, something = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    something[5, 5] = True
    assert seg.overlap(nothing, nothing) == (1.0, 1.0)
    assert seg.distances(nothing, nothing) == (0.0, 0.0)
    for pair in ((nothing, something), (something, nothing)):
        assert seg.overlap(*pair) == (0.0, 0.0)
        assert seg.distances(*pair) == (50.0, 50.0)


def test_masks_that_do_not_fit_are_refused() -> None:
    for pair in (
        (np.zeros((3, 3), bool), np.zeros((3, 4), bool)),
        (np.zeros((3, 3), bool), np.zeros((3, 3), np.uint8)),
        (np.zeros(3, bool), np.zeros(3, bool)),
    ):
        with pytest.raises(EvaluationFailed):
            seg.overlap(*pair)
        with pytest.raises(EvaluationFailed):
            seg.distances(*pair)


def test_all_pairs_of_scores_rank_as_mann_whitney() -> None:
    """AUC is the share of pairs that are in order, ties half: by counting them."""
    truth, p = np.array([0, 1, 0, 1, 1], bool), np.array([0.2, 0.2, 0.5, 0.9, 0.5])
    pairs = list(itertools.product(p[truth], p[~truth]))
    want = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)
    assert cls.auc_roc(truth, p) == pytest.approx(want)
    assert cls.auc_roc_over(truth, p, np.ones((1, 5)))[0] == pytest.approx(want)
