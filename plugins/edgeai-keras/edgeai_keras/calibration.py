"""The samples that a quantising converter is calibrated on, checked one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

import numpy as np

from edgeai.api import Array, ConversionFailed, ConvertRequest, TensorMismatch, Tensors, check_tensors

_FEW = 30


def check_calibration(request: ConvertRequest, *, calibrated: Collection[str]) -> Samples:
    """The request's samples; a calibrated precision without, or with wrong ones, is refused before anything heavy.

    The first few are looked at here, each of the others when it is used.

    Raises:
        ConversionFailed: ``convert.calibration-missing`` or ``convert.calibration-invalid``.
    """
    samples = Samples(request)
    if request.precision in calibrated:
        if request.calibration is None:
            raise _missing(request, "none are given")
        samples.first(2)
    return samples


class Samples:
    """``ConvertRequest.calibration``, as often as a converter likes; every sample is held to the request's inputs.

    Iterating raises ``ConversionFailed``: ``convert.calibration-missing`` when there is no sample,
    ``convert.calibration-invalid`` for one of another name, dtype or shape, or with a value that is not finite.
    """

    def __init__(self, request: ConvertRequest) -> None:
        self._request = request
        self.number = 0
        """Of samples, known after the first time through."""

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Each sample, by the request's names, C-contiguous."""
        number = 0
        for number, sample in enumerate(self._request.calibration() if self._request.calibration else (), start=1):
            self._check(sample, number)
            yield {spec.name: np.ascontiguousarray(sample[spec.name]) for spec in self._request.inputs}
        if not number:
            raise _missing(self._request, "there is not one")
        self.number = number

    def __len__(self) -> int:
        """How many there are; goes through them once."""
        if not self.number:
            for _ in self:
                pass
        return self.number

    def first(self, number: int) -> list[dict[str, Array]]:
        """So many of them, from the first."""
        return list(islice(self, number))

    @property
    def note(self) -> str:
        """For the report: on how many, and whether that is few."""
        few = "; few for ranges that hold on other images" if self.number < _FEW else ""
        return f"calibrated on {self.number} sample{'s' if self.number != 1 else ''}{few}"

    def _check(self, sample: Tensors, number: int) -> None:
        try:
            check_tensors(self._request.inputs, sample)
        except TensorMismatch as error:
            raise self._invalid(number, str(error)) from error
        for name, array in sample.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise self._invalid(number, f"{name!r} holds values that are not finite")

    def _invalid(self, number: int, why: str) -> ConversionFailed:
        return ConversionFailed(
            f"{self._request.model.name}: calibration sample {number} cannot be used: {why}",
            code="convert.calibration-invalid",
            remedy="calibrate on what the model's own transforms give",
        )


def _missing(request: ConvertRequest, why: str) -> ConversionFailed:
    return ConversionFailed(
        f"{request.model.name}: {request.precision} is calibrated on samples, and {why}",
        code="convert.calibration-missing",
        remedy="give samples (edgeai build FOLDER --data DIR, or --calibration DIR), or use dynamic or fp16",
    )
