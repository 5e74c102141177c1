"""Golden answers are shortened, and nothing that agreed is refused for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeai.bundle.manifest import Tolerance
from edgeai_workbench.golden import Golden, rounded

ANSWERS = arrays.arrays(np.float32, 1024, elements=st.floats(-3e6, 3e6, width=32))
ABSOLUTE = st.floats(1e-6, 10.0)


def one(answers: np.ndarray) -> Golden:
    return Golden(id="a", inputs={"image": np.ones((1, 2), np.float32)}, outputs={"scores": answers})


def test_answers_lose_the_digits_that_the_tolerance_does_not_ask_for() -> None:
    answers = np.random.default_rng(1).normal(0, 3, (1, 64, 64, 1)).astype(np.float32)
    [case], tolerances = rounded([one(answers)], {"fp32": Tolerance(absolute=0.9), "int8": Tolerance(absolute=0.5)})
    step = 0.125  # a quarter of the least
    assert np.array_equal(case.outputs["scores"], np.round(answers / step) * step)
    assert case.outputs["scores"].dtype == np.float32
    assert case.inputs["image"].tolist() == [[1.0, 1.0]]
    assert {name: each.absolute for name, each in tolerances.items()} == {"fp32": 0.9625, "int8": 0.5625}


@pytest.mark.slow
@settings(max_examples=200)
@given(answers=ANSWERS, absolute=ABSOLUTE, off=arrays.arrays(np.float64, 1024, elements=st.floats(-1, 1)))
def test_whatever_agreed_before_agrees_after(answers: np.ndarray, absolute: float, off: np.ndarray) -> None:
    got = answers.astype(np.float64) + off * absolute
    [case], tolerances = rounded([one(answers)], {"a": Tolerance(absolute=absolute)})
    away = np.abs(got - case.outputs["scores"].astype(np.float64))
    assert (away <= tolerances["a"].absolute * (1 + 1e-9)).all()
    assert tolerances["a"].absolute <= absolute * (1 + 1 / 8)


@pytest.mark.parametrize("absolute", [0.0, math.inf])
def test_without_a_bound_nothing_is_rounded(absolute: float) -> None:
    answers = np.linspace(0, 1.234567, 2000, dtype=np.float32)
    [case], tolerances = rounded([one(answers)], {"a": Tolerance(absolute=absolute)})
    assert case.outputs["scores"].tolist() == answers.tolist()
    assert tolerances["a"].absolute == absolute


@pytest.mark.parametrize("answers", [np.arange(3000, dtype=np.int64), np.linspace(0, 1, 1023, dtype=np.float32)])
def test_whole_numbers_and_a_few_scores_stay(answers: np.ndarray) -> None:
    [case], tolerances = rounded([one(answers)], {"a": Tolerance(absolute=40.0)})
    assert np.array_equal(case.outputs["scores"], answers)
    assert tolerances["a"].absolute == 40.0
