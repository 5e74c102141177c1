"""Golden cases: the bundle brings inputs and the outputs they must give, and this device tries itself on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgeai.api import Frame, Geometry, InstanceRef
from edgeai.api.errors import BundleRejected, InferenceFailed
from edgeai.api.tensors import Array, Tensors, TensorSpec, check_tensors
from edgeai.bundle.manifest import GoldenCase, Tolerance
from edgeai.bundle.reader import Bundle

EXACT: Final = Tolerance(absolute=0.0, relative=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAnswer:
    """How one case went: the largest difference from the golden output, and as a part of what is allowed (1: all)."""

    case: str
    difference: float
    of_tolerance: float


def rehearse(bundle: Bundle, artifact_id: str, infer: Callable[[Tensors], Tensors]) -> tuple[GoldenAnswer, ...]:
    """Ask every golden case of the bundle twice, the second time in another order; each answer is the worse of two.

    An engine or a model that keeps something of one image for the next then says something else.

    Raises:
        InferenceFailed: ``backend.stateful``, naming every case whose second answer is another than its first;
            ``backend.golden-mismatch``, naming every case outside its tolerance.
        BundleRejected: ``bundle.invalid-golden``, a case that cannot be read.
        BackendError, TensorMismatch: as ``infer`` raises them.
    """
    cases = [_Case(bundle, case, artifact_id) for case in bundle.manifest.golden]
    for case in (*cases, *reversed(cases)):
        case.ask(infer)
    refuse_drift({case.id: case.drift() for case in cases})
    answers = tuple(case.judged() for case in cases)
    wrong = [answer for answer in answers if answer.of_tolerance > 1.0]
    if wrong:
        differences = "; ".join(f"{answer.case}: off by {answer.difference:.4g}" for answer in wrong)
        raise InferenceFailed(
            f"{len(wrong)} of {len(answers)} golden cases are outside their tolerance ({differences})",
            code="backend.golden-mismatch",
            remedy="take another backend on this device, or build the bundle for this one",
        )
    return answers


def drift(first: Tensors, second: Tensors, tolerance: Tolerance = EXACT) -> float:
    """How far the second answer to the same tensors is from the first; 0 where it is what an engine's rounding gives.

    A tenth of the tolerance, or a hundred thousandth of the largest value, is left to engines that add in a varying
    order. Of whole numbers without a tolerance, nothing is.
    """
    worst = 0.0
    for name, wanted in first.items():
        if np.array_equal(second[name], wanted, equal_nan=wanted.dtype.kind == "f"):
            continue
        size = float(np.abs(wanted.astype(np.float64)).max(initial=0.0)) if wanted.dtype.kind == "f" else 0.0
        noise = Tolerance(absolute=max(tolerance.absolute / 10, size * 1e-5), relative=tolerance.relative / 10)
        away, part = _compare(second[name], wanted, noise)
        worst = max(worst, away) if part > 1.0 else worst
    return worst


def refuse_drift(drifts: Mapping[str, float]) -> None:
    """Raise ``InferenceFailed``, ``backend.stateful``, for cases with a ``drift``; by the names of the cases."""
    moved = {case: away for case, away in drifts.items() if away > 0}
    if moved:
        listed = "; ".join(f"{case}: by {away:.4g}" for case, away in moved.items())
        raise InferenceFailed(
            f"{len(moved)} of {len(drifts)} golden cases are answered otherwise the second time ({listed}): "
            "something of one image is kept for the next, or the answer is drawn at random",
            code="backend.stateful",
            remedy="take another backend on this device, or build the bundle from a model that keeps no state",
        )


def load_inputs(bundle: Bundle) -> tuple[Tensors, ...]:
    """The inputs of every golden case.

    Raises:
        BundleRejected: ``bundle.invalid-golden``; also for a bundle that has no case.
    """
    if not bundle.manifest.golden:
        raise BundleRejected("the bundle has no golden case to measure on", code="bundle.invalid-golden")
    specs = bundle.manifest.input_specs()
    return tuple(_load(bundle.root, case.inputs, specs, case) for case in bundle.manifest.golden)


class _Case:
    """A golden case, and what was answered to it so far."""

    def __init__(self, bundle: Bundle, case: GoldenCase, artifact_id: str) -> None:
        self.id = case.id
        self.tolerance = case.tolerance_for(artifact_id)
        self._inputs = _load(bundle.root, case.inputs, bundle.manifest.input_specs(), case)
        self._golden = _load(bundle.root, case.outputs, bundle.manifest.output_specs(), case)
        self._answers: list[Tensors] = []

    def ask(self, infer: Callable[[Tensors], Tensors]) -> None:
        """Once more."""
        self._answers.append(infer(self._inputs))

    def drift(self) -> float:
        """How far the second answer is from the first."""
        first, second = self._answers
        return drift(first, second, self.tolerance)

    def judged(self) -> GoldenAnswer:
        """The answers against the golden one."""
        compared = [
            _compare(answer[name], golden, self.tolerance)
            for answer in self._answers
            for name, golden in self._golden.items()
        ]
        return GoldenAnswer(
            case=self.id,
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
    """(largest difference, largest part of the tolerance) of all; another shape, or no number, is all wrong."""
    if got.shape != want.shape or not np.isfinite(got.astype(np.float64)).all():
        return float("inf"), float("inf")
    if got.size == 0:
        return 0.0, 0.0
    expected = want.astype(np.float64)
    difference = np.abs(got.astype(np.float64) - expected)
    allowed = tolerance.absolute + tolerance.relative * np.abs(expected)
    part = np.divide(difference, allowed, out=np.where(difference > 0, np.inf, 0.0), where=allowed > 0)
    return float(difference.max()), float(part.max())


def blank(spec: TensorSpec) -> Tensors:
    """Zeros as a model takes them; sides that it leaves open are 64."""
    shape = [
        1 if extent is None and axis == "N" else extent or 64
        for axis, extent in zip(spec.layout, spec.shape, strict=True)
    ]
    return {spec.name: np.zeros(shape, spec.dtype)}


def blank_frame() -> Frame:
    """A plane of zeros, as a decoder gives one."""
    instance = InstanceRef(sop_class_uid="", sop_instance_uid="", rows=64, columns=64)
    geometry = Geometry(source_rows=64, source_columns=64)
    return Frame(pixels=np.zeros((64, 64), np.uint8), number=1, geometry=geometry, instance=instance)
