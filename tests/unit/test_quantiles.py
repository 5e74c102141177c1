"""The quantile by which a bundle abstains: known answers by hand, and that it holds what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeai.api import Alternatives, Case, DataRejected
from edgeai.bundle.honour import SPLIT_CONFORMAL
from edgeai.bundle.uses import AbstentionUse
from edgeai_workbench.abstaining import AbstainingJudge, Weighed
from edgeai_workbench.quantile_fitting import fitted, hold_answers, largest, strangeness_of
from edgeai_workbench.quantiles import quantile_of, units_for

USE = AbstentionUse(method=SPLIT_CONFORMAL, risk=0.1, quantile=1e9)


def alone(values: Sequence[float]) -> dict[str, list[float]]:
    """Units of one sample each."""
    return {f"u{number}": [value] for number, value in enumerate(values)}


@pytest.mark.parametrize(
    ("values", "risk", "wanted"),
    [
        ([0.3, 0.1, 0.2], 0.5, 0.2),  # k = ceil(4 x 0.5) = 2
        ([0.3, 0.1, 0.2], 0.25, 0.3),  # k = 3, the largest
        ([0.3, 0.1, 0.2], 0.24, None),  # k = 4 of 3
        ([0.1 * n for n in range(1, 10)], 0.1, 0.9),  # k = ceil(10 x 0.9) = 9 of 9
        ([0.1 * n for n in range(1, 9)], 0.1, None),  # k = ceil(8.1) = 9 of 8
        ([0.01 * n for n in range(1, 20)], 0.1, 0.18),  # k = ceil(20 x 0.9) = 18
        ([0.01 * n for n in range(1, 21)], 0.1, 0.19),  # k = ceil(18.9) = 19
        ([0.5, 0.5, 0.5, 0.2], 0.4, 0.5),  # k = 3, of ties
        ([0.2, 0.2, 0.2, 0.5], 0.4, 0.2),
        ([0.12345678, 0.5], 0.7, 0.123457),  # rounded up, never down
        ([0.0, 0.5], 0.7, 0.0),
        ([], 0.1, None),
    ],
)
def test_known_answers(values: list[float], risk: float, wanted: float | None) -> None:
    quantile = quantile_of(alone(values), risk)
    assert quantile == (None if wanted is None else pytest.approx(wanted, abs=1e-9))


@pytest.mark.parametrize(("risk", "units"), [(0.5, 1), (0.25, 3), (0.2, 4), (0.1, 9), (0.05, 19), (0.01, 99), (0.3, 3)])
def test_so_many_units_are_needed_and_one_less_is_too_few(risk: float, units: int) -> None:
    assert units_for(risk) == units
    assert quantile_of(alone([0.5] * units), risk) == 0.5
    assert quantile_of(alone([0.5] * (units - 1)), risk) is None


def test_a_unit_of_many_samples_counts_as_one() -> None:
    """By hand: of 3 units and a risk of 0.5 weights up to 4 x 0.5 = 2 are needed."""
    units = {"a": [0.1, 0.2, 0.3, 0.4], "b": [0.25], "c": [0.9, 0.95]}
    # 0.1: 0.25, 0.2: 0.5, 0.25: 1.5, 0.3: 1.75, 0.4: 2.0
    assert quantile_of(units, 0.5) == 0.4
    assert quantile_of({"a": [0.9] * 50, "b": [0.1], "c": [0.2]}, 0.5) == 0.2
    assert quantile_of({"a": [0.5] * 50}, 0.1) is None, "fifty images of one patient are one unit"


@pytest.mark.parametrize(("units", "each"), [(9, 1), (30, 1), (30, 4)])
def test_what_comes_is_covered_as_often_as_is_promised(units: int, each: int) -> None:
    """Simulated: samples of a unit vary together, and the next unit has one."""
    rng = np.random.default_rng(units * each)
    held = []
    for _ in range(4000):
        own = rng.normal(size=(units + 1, 1)) + 0.5 * rng.normal(size=(units + 1, each))
        known = {str(number): list(np.exp(row)) for number, row in enumerate(own[:-1])}
        quantile = quantile_of(known, 0.1)
        assert quantile is not None
        held.append(np.exp(own[-1, 0]) <= quantile)
    assert 0.885 <= np.mean(held) <= 0.9 + 1.3 / (units + 1)


class Truths:
    """A judge whose cases' truth is the label itself."""

    columns, main, labels, folders, objective, moves_by_truth = (), (), ("no", "yes"), {}, None, False

    def true_answer(self, case: Case) -> str | None:
        return str(case.truth) if case.truth else None


def judge(use: AbstentionUse = USE) -> AbstainingJudge:
    plain: Any = Truths()
    return AbstainingJudge(plain, lambda findings: Alternatives(strangeness={}), use)


def case(truth: str) -> Case:
    context: Any = None
    return Case(id="x", truth=truth, context=context, image=lambda: np.zeros(1))


def weighed(no: float, group: str = "") -> Weighed:
    return Weighed(answer=None, alternatives=Alternatives(strangeness={"no": no, "yes": 1 - no}), group=group)


def test_how_strange_what_is_true_is_by_group_and_unit() -> None:
    cases = [case(truth) for truth in ("no", "yes", "no", "", "yes")]
    answers = [weighed(0.2, "PA"), weighed(0.2, "PA"), weighed(0.4, "AP"), weighed(0.1, "AP"), weighed(0.7, "AP")]
    answers[4] = Weighed(answer=None, alternatives=None, group="AP")
    given = strangeness_of(cases, answers, ["p", "p", "q", "r", "s"], judge())
    assert given == {"AP": {"q": [0.4]}, "PA": {"p": [0.2, 0.8]}}, (
        "what has no one answer, or no statement, is left out"
    )


def test_each_group_has_its_own_and_others_the_largest() -> None:
    use = msgspec.structs.replace(USE, by="view_position")
    of = {"AP": alone([0.4] * 9), "PA": alone([0.2] * 9), "": alone([0.3] * 12)}
    made = fitted(use, of)
    assert (made.quantile, made.quantiles) == (0.4, {"AP": 0.4, "PA": 0.2})
    assert fitted(USE, {"": alone([0.3] * 9)}).quantiles == {}


def test_a_group_of_too_few_units_is_refused_with_how_many_it_takes() -> None:
    use = msgspec.structs.replace(USE, by="view_position")
    with pytest.raises(DataRejected, match=r"8 units of view_position PA, and a risk of 0\.1 takes 9") as caught:
        fitted(use, {"AP": alone([0.4] * 9), "PA": alone([0.2] * 8)})
    assert caught.value.code == "data.abstention-few"
    with pytest.raises(DataRejected, match=r"validation has 0 units, and a risk of 0\.1 takes 9"):
        fitted(USE, {})


def test_a_label_of_which_validation_has_none_is_refused() -> None:
    hold_answers([case("no"), case("yes"), case("")], judge(), ("no", "yes"))
    with pytest.raises(DataRejected, match="no sample of which yes is what is true") as caught:
        hold_answers([case("no"), case("")], judge(), ("no", "yes"))
    assert caught.value.code == "data.abstention-few"


def test_the_largest_of_several_artifacts_holds_for_each() -> None:
    one, other = (
        msgspec.structs.replace(USE, by="modality", quantile=quantile, quantiles=quantiles)
        for quantile, quantiles in ((0.4, {"CR": 0.4, "DX": 0.1}), (0.3, {"CR": 0.2, "DX": 0.3}))
    )
    made = largest([one, other])
    assert (made.quantile, made.quantiles) == (0.4, {"CR": 0.4, "DX": 0.3})
