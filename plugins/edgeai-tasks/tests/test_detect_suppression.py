"""Of boxes that overlap one is left, or their scores fall: held against numbers that were worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeai_tasks.detect.boxes import overlaps, paired
from edgeai_tasks.detect.candidates import FLOOR, MOST, Candidates, candidates
from edgeai_tasks.detect.suppression import Suppression

# A and B share 6 of 10 columns: 60 / 140; A and C 8 of 10: 80 / 120; B and C 8 of 10; D lies apart.
A, B, C, D = (0, 0, 10, 10), (4, 0, 14, 10), (2, 0, 12, 10), (30, 30, 40, 40)
AB, AC = 60 / 140, 80 / 120


def _among(*boxes: tuple[float, ...], scores: list[float], labels: list[int] | None = None) -> Candidates:
    places = np.array(labels or [0] * len(boxes), np.intp)
    return Candidates(np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64), places)


def _left(among: Candidates, kind: str, **more: float) -> list[tuple[tuple[float, ...], float]]:
    kept = Suppression(kind=kind, **more).kept(among)  # type: ignore[arg-type]
    return [(tuple(box), pytest.approx(score)) for box, score in zip(kept.boxes.tolist(), kept.scores, strict=True)]


def test_overlaps_are_what_the_areas_say() -> None:
    got = overlaps(np.array([A, D], np.float64), np.array([A, B, C, (0, 0, 0, 0), (10, 0, 20, 10)], np.float64))
    assert got[0].tolist() == pytest.approx([1, AB, AC, 0, 0])
    assert got[1].tolist() == [0, 0, 0, 0, 0]
    assert overlaps(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0.0]], "no area is no overlap, and no division"


def test_hard_takes_away_what_overlaps_one_with_a_higher_score() -> None:
    among = _among(A, B, C, D, scores=[0.8, 0.7, 0.9, 0.1])
    assert _left(among, "hard") == [(C, 0.9), (D, 0.1)]
    assert _left(among, "hard", overlap=AC) == [(C, 0.9), (A, 0.8), (B, 0.7), (D, 0.1)], "above, not from"
    assert _left(among, "hard", most=1) == [(C, 0.9)]


def test_what_was_taken_away_takes_nothing_away() -> None:
    among = _among(A, C, B, scores=[0.9, 0.8, 0.7])
    assert _left(among, "hard") == [(A, 0.9), (B, 0.7)], "C would have taken B, and is gone itself"


def test_labels_compete_only_where_they_are_asked_to() -> None:
    among = _among(A, C, scores=[0.9, 0.8], labels=[0, 1])
    assert _left(among, "hard") == [(A, 0.9), (C, 0.8)]
    assert _left(among, "hard", across_labels=True) == [(A, 0.9)]


def test_soft_lowers_scores_in_place_of_taking_boxes_away() -> None:
    among = _among(A, C, D, scores=[0.9, 0.8, 0.3])
    assert _left(among, "linear") == [(A, 0.9), (D, 0.3), (C, 0.8 * (1 - AC))]
    assert _left(among, "gaussian") == [(A, 0.9), (C, 0.8 * math.exp(-(AC**2) / 0.5)), (D, 0.3)]
    assert _left(among, "linear", overlap=0.7) == [(A, 0.9), (C, 0.8), (D, 0.3)]
    twice = _among(A, A, scores=[0.9, 0.8])
    assert _left(twice, "linear") == [(A, 0.9)], "the same box again keeps nothing, and is below the floor"


def test_soft_goes_by_the_scores_that_are_left() -> None:
    among = _among(A, C, B, scores=[0.9, 0.8, 0.5])
    second = 0.5 * math.exp(-(AB**2) / 0.5)
    lowered = 0.8 * math.exp(-(AC**2) / 0.5)
    assert second > lowered
    final = lowered * math.exp(-(AC**2) / 0.5)
    assert _left(among, "gaussian") == [(A, 0.9), (B, second), (C, final)]


def test_no_leaves_all_of_it_and_nothing_stays_nothing() -> None:
    among = _among(A, C, scores=[0.3, 0.8])
    assert _left(among, "no") == [(C, 0.8), (A, 0.3)]
    for kind in ("no", "hard", "linear", "gaussian"):
        assert _left(_among(scores=[]), kind) == []


def test_candidates_are_worth_a_look_and_bounded() -> None:
    scores = np.zeros((3 * MOST, 2))
    scores[:, 1] = np.linspace(1, 0, 3 * MOST)
    got = candidates(np.zeros((3 * MOST, 4)), scores)
    assert (len(got), set(got.labels.tolist())) == (MOST, {1})
    assert got.scores[0] == 1.0
    assert len(candidates(np.zeros((2, 4)), np.array([[FLOOR], [FLOOR - 1e-6]]))) == 1


def test_pairs_are_the_same_whichever_comes_first() -> None:
    one = np.array([A, D, C], np.float64)
    other = np.array([B, C, D], np.float64)
    assert sorted(paired(one, other)) == [(1, 2), (2, 1)], "C and C first; A and B overlap by less than a half"
    assert sorted((m, n) for n, m in paired(other, one)) == sorted(paired(one, other))
    assert paired(one, other[:0]) == []
    tied = np.array([A, (20, 0, 30, 10)], np.float64)
    middle = np.array([(5, 0, 25, 10)], np.float64)
    assert len(paired(tied, middle, 0.1)) == len(paired(middle, tied, 0.1)) == 1, "one thing is no two"
