"""How often labels are stated, before and on probation; false alarms are held in simulation, real shifts are seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeai.api import Finding
from edgeai.config import Updates
from edgeai.roles.probation import judge
from edgeai.roles.stated import MOST_LABELS, Stated, shift
from edgeai.slots import Probation
from edgeai.testing.gallery import RESULTS, scored

BASE = RESULTS["completed"]


def result(series: int, *findings: Finding) -> Any:
    return replace(BASE, findings=findings, instance=replace(BASE.instance, series_instance_uid=str(series)))


def test_of_a_series_the_first_image_counts_and_of_a_finding_what_is_stated_of_it_all() -> None:
    stated = Stated()
    stated.add(result(1, scored("head", 0.9), scored("none", 0.1), scored("frame", 0.9, frame_number=1)))
    stated.add(result(1, scored("none", 0.9)))
    stated.add(result(2, scored("none", 0.1)))
    assert stated.figures() == (2, {"class head": 1})
    assert stated.of(result(2, scored("head", 0.9))) is None
    stated.forget()
    assert stated.figures() == (0, {})


def test_a_model_of_very_many_labels_is_not_looked_at() -> None:
    stated = Stated()
    stated.add(result(1, *(scored(f"label {number}", 0.9) for number in range(MOST_LABELS + 1))))
    assert stated.figures() == (0, {})


@pytest.mark.parametrize(
    ("before", "of_before", "now", "of_now", "is_shift"),
    [
        (0, 0, 20, 20, False),
        (100, 100, 0, 9, False),
        (100, 100, 0, 10, True),
        (90, 100, 2, 20, True),
        (5, 100, 15, 20, True),
        (50, 100, 14, 20, False),
        (90, 100, 14, 20, False),
        (0, 100, 20, 20, True),
    ],
)
def test_a_shift_is_two_intervals_that_have_nothing_in_common(
    before: int, of_before: int, now: int, of_now: int, is_shift: bool
) -> None:
    told = shift({"class head": before}, of_before, {"class head": now}, of_now)
    assert bool(told) == is_shift
    if is_shift:
        assert told.startswith(f"class head was stated on {now} of {of_now} images (between ")
        assert f"before on {before} of {of_before} (between " in told


def test_a_label_that_only_one_of_them_has_is_compared_with_none() -> None:
    assert "class new was stated on 18 of 20" in shift({}, 100, {"class new": 18}, 20)
    assert "class old was stated on 0 of 20" in shift({"class old": 80}, 100, {}, 20)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_where_nothing_has_shifted_fourteen_labels_alarm_less_than_once_in_twenty(rate: float) -> None:
    """Looked at after every image of a probation of a hundred, against a hundred from before."""
    rng, runs, labels = np.random.default_rng(3), 30, 14
    alarms = 0
    for _ in range(runs):
        before = (rng.random((100, labels)) < rate).sum(axis=0).tolist()
        now = (rng.random((100, labels)) < rate).cumsum(axis=0).tolist()
        names = [f"class {number}" for number in range(labels)]
        alarms += any(
            shift(dict(zip(names, before, strict=True)), 100, dict(zip(names, counts, strict=True)), number)
            for number, counts in enumerate(now, start=1)
            if number % 5 == 0
        )
    assert alarms <= 1


def test_it_goes_back_unless_the_profile_says_that_it_need_not() -> None:
    stated, before = {"class head": 1}, {"class head": 85}
    probation = Probation(
        since="t", needed=100, completed=20, seen=20, stated=stated, before_seen=90, before_stated=before
    )
    end, code, why = judge(probation, Updates(), deaths=0, last="")
    assert (end, code) == ("ends badly", "slots.shifted")
    assert "class head was stated on 1 of 20 images" in why
    assert judge(probation, Updates(probation_shift=False), deaths=0, last="")[0] == "goes on"
