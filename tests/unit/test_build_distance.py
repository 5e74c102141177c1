"""``[guard.distance]``: what is learnt of features, out of fold, and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeai.api import Array, ConfigError, TensorSpec
from edgeai.bundle.uses import DistanceUse
from edgeai.model.distance import Distance, read_fit
from edgeai.model.withheld import Withheld
from edgeai_workbench.contenders import Contender
from edgeai_workbench.distances import FEWEST, Held, fitted, keep, kept, kept_back, learn, packed, quantile, upper_share
from edgeai_workbench.prepared import Prepared
from edgeai_workbench.statistics.shares import wilson

RANDOM = np.random.default_rng(12)
MIX = RANDOM.normal(size=(6, 40))
USE = DistanceUse(output="features", method="mahalanobis", parameters="p", threshold=1.0, true_accept=0.9)


def proper(count: int) -> Array:
    """Features that vary in six directions, and a little in all others."""
    return RANDOM.normal(size=(count, 6)) @ MIX + 0.1 * RANDOM.normal(size=(count, 40))


def alone(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.parametrize("accept", [0.8, 0.98])
def test_of_new_proper_images_about_so_many_pass_and_none_that_is_off_every_direction(accept: float) -> None:
    train, validation = proper(300), proper(200)
    fit = fitted(train, alone(300), validation, 200, accept)
    assert accept - 0.04 < (fit.distance(proper(4000)) <= 1).mean() < min(1.0, accept + 0.08)
    wrong = proper(200)
    wrong[:, ::2] *= -1  # as large as proper ones, and not so related
    assert (fit.distance(wrong) > 1).all()
    assert fit.axes.shape[1] <= 24


def test_bounds_are_of_folds_that_did_not_see_a_group() -> None:
    """Of a patient with many images, those that were learnt from are near to one another."""
    centres = proper(20)
    train = np.repeat(centres, 15, axis=0) + 0.05 * RANDOM.normal(size=(300, 40))
    groups = [str(number // 15) for number in range(300)]
    by_group = fitted(train, groups, train, 20, 0.9).bound
    by_image = fitted(train, alone(300), train, 20, 0.9).bound
    assert by_group > 1.5 * by_image


def test_validation_counts_where_it_is_large_enough() -> None:
    train, validation = proper(300), 3 * proper(60)
    bounds = [fitted(train, alone(300), validation, units, 0.9).bound for units in (FEWEST - 1, FEWEST)]
    assert bounds[1] > 2 * bounds[0]


def test_few_samples_give_an_answer_too() -> None:
    fit = fitted(proper(12), alone(12), proper(4), 4, 0.98)
    assert np.isfinite(fit.distance(proper(5))).all()
    constant = learn(np.zeros((6, 3)))
    assert np.isfinite(constant.distance(np.ones((1, 3)))).all()


def test_the_quantile_is_conformal() -> None:
    scores = np.arange(1.0, 100.0)
    assert quantile(scores, 0.9) == 90.0
    assert quantile(scores[:5], 0.98) == 5.0


def test_what_is_kept_is_read_again_and_is_of_these_artifacts_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m").write_bytes(b"one")
    artifacts, fit = {"a": tmp_path / "a"}, fitted(proper(50), alone(50), proper(9), 9, 0.9)
    made = keep(tmp_path, USE, artifacts, {"a": fit})["a"]
    features = proper(7).astype(np.float32)
    np.testing.assert_allclose(made.fit.distance(features), fit.distance(features), rtol=1e-3)
    assert (tmp_path / "distance.npz").read_bytes() == packed({"a": fit})
    again = kept(tmp_path, USE, artifacts)["a"]
    np.testing.assert_array_equal(again.fit.axes, made.fit.axes)
    (tmp_path / "a" / "m").write_bytes(b"two")
    with pytest.raises(ConfigError) as caught:
        kept(tmp_path, USE, artifacts)
    assert caught.value.code == "build.distance-missing"


def test_what_a_guards_model_withholds_counts_in_the_share_that_a_gate_bounds() -> None:
    """Beside what the content and the distance do, each sample once; groups are what resamples draw."""
    prepared = of_samples(["", "guard.blank", "guard.not-admitted", "guard.not-admitted", *[""] * 16])
    codes = kept_back(prepared, {"a": [True, True, *[False] * 18]})
    assert codes["a"][:5] == ["guard.distance", "guard.blank", "guard.not-admitted", "guard.not-admitted", ""]
    alone, both = upper_share(prepared, None), upper_share(prepared, codes["a"])
    assert 3 / 20 < alone < both
    assert both == pytest.approx(wilson(4 / 20, 20, 1.959964)[1])


def test_a_bundle_that_is_judged_counts_what_its_distance_withholds_and_robustness_withholds_it(tmp_path: Path) -> None:
    fit = fitted(proper(50), alone(50), proper(9), 9, 0.9)
    (tmp_path / "p.npz").write_bytes(packed({"a": fit}))
    near, far = (each.astype(np.float32)[None] for each in (fit.centre, fit.centre + 100))
    judge: Any = SimpleNamespace(answer=lambda findings, outputs, context: sorted(outputs))
    bare: Any = None
    contender = Contender(
        name="tiny 1",
        digest="",
        engine=bare,
        manifest=SimpleNamespace(task_outputs=lambda: (TensorSpec(name="logits", dtype="float32", shape=(1, 1)),)),  # type: ignore[arg-type]
        pipeline=bare,
        task=SimpleNamespace(interpret=lambda outputs, context: ()),  # type: ignore[arg-type]
        judge=judge,
        infer=lambda inputs: {"logits": np.zeros((1, 1), np.float32), "features": far if inputs["x"][0] else near},
        distance=Distance(output="features", threshold=1.0, fit=read_fit(tmp_path / "p.npz", "a")),
    )
    prepared = of_samples(["", "", "guard.blank", ""])
    prepared = replace(prepared, inputs={"x": np.array([0, 1, 1, 0])}, contexts=(bare,) * 4)
    asked, answers = contender.asked(prepared, print)
    assert asked.looked == ("", "guard.distance", "guard.blank", "")
    assert asked.withheld == {"guard.blank": 1, "guard.distance": 1}
    assert answers.each == (["logits"],) * 4, "figures are of all samples, and the task reads its own outputs"
    withholding = contender.held(withholds=True)
    assert set(withholding({"x": np.array([0])})) == {"logits"}
    with pytest.raises(Withheld):
        withholding({"x": np.array([1])})
    plain = replace(contender, distance=None)
    assert plain.asked(prepared, print)[0] is prepared
    assert set(plain.held(withholds=True)({"x": np.array([1])})) == {"logits"}


def of_samples(looked: list[str]) -> Prepared:
    """Samples by what stands before the model alone, none of a group."""
    samples: Any = tuple(SimpleNamespace(id=str(number), group="") for number in range(len(looked)))
    judge: Any = None
    return Prepared(samples=samples, judge=judge, inputs={}, contexts=(), looked=tuple(looked))


def test_an_inference_function_is_held_and_tells_the_task_its_own(tmp_path: Path) -> None:
    fit = fitted(proper(50), alone(50), proper(9), 9, 0.9)
    (tmp_path / "p.npz").write_bytes(packed({"a": fit}))
    distance = Distance(output="features", threshold=1.0, fit=read_fit(tmp_path / "p.npz", "a"))
    answers = [fit.centre, fit.centre + 100]

    def infer(inputs: object) -> dict[str, Array]:
        return {"logits": np.zeros(1), "features": answers[int(inputs["n"])][None].astype(np.float32)}  # type: ignore[index]

    held = Held(infer, ["logits"], distance)
    assert [set(held({"n": np.array(number)})) for number in (0, 1)] == [{"logits"}] * 2
    assert held.far == [False, True]
    withholding = Held(infer, ["logits"], distance, withholds=True)
    withholding({"n": np.array(0)})
    with pytest.raises(Withheld):
        withholding({"n": np.array(1)})
