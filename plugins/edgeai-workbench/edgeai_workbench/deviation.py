"""How far an artifact is from its Keras parent, on the engine that will run it and the same tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeai.api import BackendSpec, BackendUnavailable, OpenRequest, Options, TensorSpec, check_tensors
from edgeai.bundle.manifest import Tolerance
from edgeai.model.golden import drift, refuse_drift
from edgeai_workbench.golden import Golden


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """What was measured of one artifact.

    Attributes:
        worst: greatest absolute difference of any output value in any case.
        share: greatest share of the tolerance that a value used; above 1 it does not agree.
        where: case and output of that value.
        apart: how the artifact of somebody else was loaded, in a sentence; empty for our own.
    """

    artifact: str
    backend: str
    device: str
    cases: int
    worst: float
    share: float
    where: str
    apart: str = ""

    @property
    def agrees(self) -> bool:
        """Whether every value is within the tolerance."""
        return self.share <= 1.0


def measure(
    artifact: Path,
    *,
    artifact_id: str,
    options: Options,
    backend: BackendSpec,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    golden: Sequence[Golden],
    tolerance: Tolerance,
) -> Deviation:
    """Run every golden case on the backend's CPU (or else its first device), and again in another order.

    Raises:
        InferenceFailed: ``backend.stateful``, where the second answer is another.
        BackendUnavailable: the engine finds no device here.
        BackendError: it cannot open or run the artifact.
        TensorMismatch: its outputs are not those of the card.
    """
    device = device_of(backend)
    request = OpenRequest(
        artifact=artifact, device=device, inputs=tuple(inputs), outputs=tuple(outputs), threads=1, options=options
    )
    worst, share, where = 0.0, 0.0, ""
    try:
        session = backend.open(request)
    except BackendUnavailable as error:
        raise _no_device(backend, str(error)) from error
    try:
        answers = {case.id: session.run(case.inputs) for case in golden}
        for case in golden:
            given = answers[case.id]
            check_tensors(outputs, given, what="output")
            for name, wanted in case.outputs.items():
                away, used = _distance(given[name], wanted, tolerance)
                worst = max(worst, away)
                if used > share or not where:
                    share, where = used, f"{case.id}/{name}"
        refuse_drift({case.id: drift(answers[case.id], session.run(case.inputs)) for case in reversed(golden)})
    finally:
        session.close()
    return Deviation(
        artifact=artifact_id,
        backend=backend.name,
        device=device,
        cases=len(golden),
        worst=worst,
        share=share,
        where=where,
    )


def _distance(
    given: np.typing.NDArray[np.generic], wanted: np.typing.NDArray[np.generic], tolerance: Tolerance
) -> tuple[float, float]:
    """(greatest absolute difference, greatest share of the tolerance); a value that is not finite is infinitely off."""
    got, want = given.astype(np.float64), wanted.astype(np.float64)
    away = np.where(np.isfinite(got), np.abs(got - want), np.inf)
    allowed = tolerance.absolute + tolerance.relative * np.abs(want)
    with np.errstate(divide="ignore", invalid="ignore"):
        used = np.where(away == 0, 0.0, away / allowed)
    return float(away.max(initial=0.0)), float(used.max(initial=0.0))


def device_of(backend: BackendSpec) -> str:
    """The backend's CPU, or else its first device.

    Raises:
        BackendUnavailable: it finds none here.
    """
    names = [device.name for device in backend.probe()]
    if not names and not backend.engine():
        raise _no_device(backend, backend.explain())
    # TensorFlow without CUDA offers no device, so that no cart lands on it, and takes its CPU where that is named.
    return "CPU" if "CPU" in names or not names else names[0]


def _no_device(backend: BackendSpec, why: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"backend {backend.name}: no device to measure a deviation on: {why}",
        remedy=f"install the engine of {backend.name} on this build host",
    )
