"""Golden cases: the bundle brings inputs and the outputs they must give, and this device tries itself on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeai.api.errors import BundleRejected, InferenceFailed
from edgeai.api.tensors import Array, Tensors, TensorSpec, check_tensors
from edgeai.bundle.manifest import GoldenCase, Tolerance
from edgeai.bundle.reader import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAnswer:
    """How one case went: the largest difference from the golden output, and as a part of what is allowed (1: all)."""

    case: str
    difference: float
    of_tolerance: float


def rehearse(bundle: Bundle, artifact_id: str, infer: Callable[[Tensors], Tensors]) -> tuple[GoldenAnswer, ...]:
    """Run every golden case of the bundle.

    Raises:
        InferenceFailed: ``backend.golden-mismatch``, naming every case outside its tolerance.
        BundleRejected: ``bundle.invalid-golden``, a case that cannot be read.
        BackendError, TensorMismatch: as ``infer`` raises them.
    """
    answers = tuple(_rehearse_one(bundle, case, artifact_id, infer) for case in bundle.manifest.golden)
    wrong = [answer for answer in answers if answer.of_tolerance > 1.0]
    if wrong:
        said = "; ".join(f"{answer.case}: off by {answer.difference:.4g}" for answer in wrong)
        raise InferenceFailed(
            f"{len(wrong)} of {len(answers)} golden cases are outside their tolerance ({said})",
            code="backend.golden-mismatch",
            remedy="take another backend on this device, or build the bundle for this one",
        )
    return answers


def load_inputs(bundle: Bundle) -> tuple[Tensors, ...]:
    """The inputs of every golden case.

    Raises:
        BundleRejected: ``bundle.invalid-golden``; also for a bundle that has no case.
    """
    if not bundle.manifest.golden:
        raise BundleRejected("the bundle has no golden case to measure on", code="bundle.invalid-golden")
    specs = bundle.manifest.input_specs()
    return tuple(_load(bundle.root, case.inputs, specs, case) for case in bundle.manifest.golden)


def _rehearse_one(
    bundle: Bundle, case: GoldenCase, artifact_id: str, infer: Callable[[Tensors], Tensors]
) -> GoldenAnswer:
    inputs = _load(bundle.root, case.inputs, bundle.manifest.input_specs(), case)
    golden = _load(bundle.root, case.outputs, bundle.manifest.output_specs(), case)
    outputs = infer(inputs)
    tolerance = case.tolerance_for(artifact_id)
    compared = [_compare(outputs[name], golden[name], tolerance) for name in golden]
    return GoldenAnswer(
        case=case.id,
        difference=max(difference for difference, _ in compared),
        of_tolerance=max(part for _, part in compared),
    )


def _load(root: Path, paths: Mapping[str, str], specs: Sequence[TensorSpec], case: GoldenCase) -> dict[str, Array]:
    try:
        tensors = {name: np.load(root / path, allow_pickle=False) for name, path in paths.items()}
        check_tensors(specs, tensors, what=f"golden case {case.id!r}:")
    except Exception as error:  # whatever numpy says of a damaged file; the names are known to be there
        raise BundleRejected(
            f"golden case {case.id!r} cannot be used: {error}", code="bundle.invalid-golden"
        ) from error
    return tensors


def _compare(got: Array, want: Array, tolerance: Tolerance) -> tuple[float, float]:
    """(largest difference, largest part of the tolerance) over all elements; another shape is all wrong."""
    if got.shape != want.shape:
        return float("inf"), float("inf")
    if got.size == 0:
        return 0.0, 0.0
    expected = want.astype(np.float64)
    difference = np.abs(got.astype(np.float64) - expected)
    allowed = tolerance.absolute + tolerance.relative * np.abs(expected)
    part = np.divide(difference, allowed, out=np.where(difference > 0, np.inf, 0.0), where=allowed > 0)
    return float(difference.max()), float(part.max())
