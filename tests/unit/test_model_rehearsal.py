"""Golden cases are asked twice, in two orders: what one image leaves behind for the next is found before any image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from edgeai.api import InferenceFailed
from edgeai.bundle.manifest import GoldenCase, Manifest, Tolerance
from edgeai.bundle.reader import Bundle
from edgeai.model.golden import rehearse

MEANS = {"dark": 0.1, "grey": 0.5, "bright": 0.9}
TOLERANCE = 1e-2


def right(inputs: Any) -> dict[str, Any]:
    """Twice the input, without a memory."""
    return {"scores": 2 * inputs["image"]}


@pytest.fixture
def bundle(tiny: Manifest, tmp_path: Path) -> Bundle:
    """Three golden cases of the model ``right``."""
    for name, mean in MEANS.items():
        image = np.full((1, 2), mean, np.float32)
        np.save(tmp_path / f"{name}-image.npy", image)
        np.save(tmp_path / f"{name}-scores.npy", right({"image": image})["scores"])
    golden = tuple(
        GoldenCase(
            id=name,
            inputs={"image": f"{name}-image.npy"},
            outputs={"scores": f"{name}-scores.npy"},
            tolerance=Tolerance(absolute=TOLERANCE, relative=0.0),
        )
        for name in MEANS
    )
    return Bundle(manifest=structs.replace(tiny, golden=golden), digest="", root=tmp_path)


def asked(bundle: Bundle, infer: Callable[[Any], Any]) -> list[float]:
    """Rehearse with ``infer``; the mean of each input that it was given."""
    seen = []

    def noted(inputs: Any) -> Any:
        seen.append(round(float(inputs["image"].mean()), 3))
        return infer(inputs)

    rehearse(bundle, "a", noted)
    return seen


def refused(bundle: Bundle, infer: Callable[[Any], Any]) -> InferenceFailed:
    with pytest.raises(InferenceFailed) as caught:
        rehearse(bundle, "a", infer)
    return caught.value


def test_each_case_is_asked_twice_and_the_second_time_in_another_order(bundle: Bundle) -> None:
    seen = asked(bundle, right)
    assert sorted(seen[:3]) == sorted(seen[3:]) == sorted(MEANS.values())
    assert seen[:3] != seen[3:]
    answers = rehearse(bundle, "a", right)
    assert [(answer.case, answer.difference) for answer in answers] == [(name, 0.0) for name in MEANS]


class Blending:
    """Mixes ``share`` of what it answered last into each answer but the first."""

    def __init__(self, share: float) -> None:
        self.share, self.last = share, None

    def __call__(self, inputs: Any) -> Any:
        own = right(inputs)["scores"]
        mixed = own if self.last is None else own + self.share * (self.last - own)
        self.last = own
        return {"scores": mixed.astype(np.float32)}


@pytest.mark.parametrize("share", [0.5, 0.05, 0.004])
def test_what_is_kept_of_the_image_before_is_found_and_the_cases_named(bundle: Bundle, share: float) -> None:
    """The least of them is within the cases' tolerance in every single answer, and still not the same answer."""
    error = refused(bundle, Blending(share))
    assert error.code == "backend.stateful"
    assert "dark" in str(error)
    assert error.remedy


def test_an_accumulator_is_found_by_one_case_alone(bundle: Bundle) -> None:
    one = Bundle(
        manifest=structs.replace(bundle.manifest, golden=bundle.manifest.golden[:1]), digest="", root=bundle.root
    )
    total = np.zeros((1, 2), np.float32)

    def accumulating(inputs: Any) -> Any:
        nonlocal total
        total = total + right(inputs)["scores"]
        return {"scores": total}

    assert refused(one, accumulating).code == "backend.stateful"


def test_a_first_run_that_is_not_as_the_others_is_found(bundle: Bundle) -> None:
    runs = 0

    def cold(inputs: Any) -> Any:
        nonlocal runs
        runs += 1
        return right(inputs) if runs > 1 else {"scores": right(inputs)["scores"] + 1}

    error = refused(bundle, cold)
    assert error.code == "backend.stateful"
    assert "1 of 3" in str(error)


def test_an_answer_that_is_wrong_each_time_is_no_state(bundle: Bundle) -> None:
    error = refused(bundle, lambda inputs: {"scores": inputs["image"]})
    assert error.code == "backend.golden-mismatch"
    assert "dark: off by 0.1" in str(error)
    assert "bright: off by 0.9" in str(error)


def test_a_case_that_is_wrong_the_second_time_alone_counts(bundle: Bundle) -> None:
    """By a drift that is noise of an engine, and tips the case over its tolerance."""
    runs = 0

    def tipping(inputs: Any) -> Any:
        nonlocal runs
        runs += 1
        return {"scores": right(inputs)["scores"] + np.float32(TOLERANCE * (0.96 if runs <= 3 else 1.04))}

    assert refused(bundle, tipping).code == "backend.golden-mismatch"


def test_an_engine_that_adds_in_another_order_passes(bundle: Bundle) -> None:
    random = np.random.default_rng(0)

    def rounding(inputs: Any) -> Any:
        scores = right(inputs)["scores"]
        return {"scores": scores * (1 + random.uniform(-1e-6, 1e-6, scores.shape).astype(np.float32))}

    assert len(rehearse(bundle, "a", rounding)) == 3


def test_whole_numbers_have_no_rounding_to_hide_in(bundle: Bundle) -> None:
    tolerance = Tolerance(absolute=3.0, relative=0.0)
    golden = tuple(structs.replace(case, tolerance=tolerance) for case in bundle.manifest.golden)
    outputs = (structs.replace(bundle.manifest.outputs[0], dtype="uint8"),)
    whole = Bundle(
        manifest=structs.replace(bundle.manifest, golden=golden, outputs=outputs), digest="", root=bundle.root
    )
    for name in MEANS:
        np.save(bundle.root / f"{name}-scores.npy", np.full((1, 2), 250, np.uint8))
    runs = 0

    def counting(inputs: Any) -> Any:
        nonlocal runs
        runs += 1
        return {"scores": np.full((1, 2), 250 + (runs > 3), np.uint8)}

    assert refused(whole, counting).code == "backend.stateful"
    assert len(rehearse(whole, "a", lambda inputs: {"scores": np.full((1, 2), 251, np.uint8)})) == 3


def test_what_is_no_number_agrees_with_nothing(bundle: Bundle) -> None:
    for value in (np.nan, np.inf):
        answer = {"scores": np.full((1, 2), value, np.float32)}
        assert refused(bundle, lambda inputs, answer=answer: answer).code == "backend.golden-mismatch"


def test_an_engine_that_remembers_is_refused_when_a_bundle_rehearses(opened: Any) -> None:
    with pytest.raises(InferenceFailed) as caught:
        opened(("fake-remembers",)).rehearse()
    assert caught.value.code == "backend.stateful"
