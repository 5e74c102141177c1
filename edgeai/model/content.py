"""Whether a frame shows a picture at all: figures of a small sample of it, each held to a bound (ADR 0079).

What is judged are the values that were decoded, of what is left after the cuts and before anything is resampled; so
figures are of the image and of no model, but for the last: how far the model would have to stretch it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from edgeai.api.imaging import Frame
from edgeai.api.results import GuardFigure
from edgeai.api.tensors import Array
from edgeai.model.withheld import Withheld

CHECK: Final = "content"
SIDE: Final = 256
"""Of the sample; nearest pixels, so that levels and noise stay what they are."""

Figures: TypeAlias = tuple[GuardFigure, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure is held to: at least so much, or at most."""

    code: str
    name: str
    bound: float
    why: str
    at_least: bool = True

    def withholds(self, value: float) -> bool:
        """Whether the model is not to be asked."""
        return value < self.bound if self.at_least else value > self.bound

    def figure(self, value: float) -> GuardFigure:
        """For the result."""
        withheld = self.withholds(value)
        return GuardFigure(check=CHECK, name=self.name, value=round(value, 5), threshold=self.bound, withheld=withheld)

    def refusal(self, figures: Figures) -> Withheld:
        """With the figure that says so last."""
        side, value = "at least" if self.at_least else "at most", figures[-1].value
        told = f"{self.why}: {self.name} {value:.3g}, {side} {self.bound:g} for a picture"
        return Withheld(told, code=self.code, figures=figures, remedy=_REMEDIES[self.code])


LEVELS: Final = "grey levels"
CONSTANT: Final = Bound("guard.constant", LEVELS, 2, "all of the image is one grey level")
FEW: Final = Bound("guard.few-levels", LEVELS, 24, "the image has too few grey levels")
TWO_TONE: Final = Bound("guard.few-levels", "levels that count", 2.2, "the image is little more than two grey levels")
_BLANK: Final = ("guard.blank", "share of one level")
BLANK: Final = Bound(*_BLANK, 0.95, "nearly all of the image is one grey level", at_least=False)
SCATTERED: Final = Bound(*_BLANK, 0.6, "but for thin strokes the image is one grey level", at_least=False)
_CLIPPED: Final = ("guard.clipped", "share cut off at the top")
CLIPPED: Final = Bound(*_CLIPPED, 0.012, "bright parts of the image are cut off", at_least=False)
WHITE: Final = Bound(*_CLIPPED, 0.5, "most of the image is white", at_least=False)
NOISE: Final = Bound("guard.noise", "likeness of neighbours", 0.3, "neighbouring pixels have nothing in common")
SMOOTH: Final = Bound("guard.smooth", "share of extrema", 0.0015, "the image has no texture, as if it were computed")
SMALL: Final = Bound("guard.small", "pixels for each of the model's", 0.5, "the image is smaller than the model takes")

_REMEDIES: Final = {
    "guard.constant": "look at the device and its cable: nothing was shown",
    "guard.few-levels": "look at what is sent: a mask, a drawing, or an image that is far too bright",
    "guard.blank": "look at what is sent: a page, a report, or a blank frame with text",
    "guard.clipped": "lower gain or exposure, or have the sender scale its values right",
    "guard.noise": "look at the probe or the detector, and at what encodes the image",
    "guard.smooth": "send the picture itself: a test pattern, or something computed, says nothing of a patient",
    "guard.small": "send the image at full size, or zoom so that the region is larger",
}
_INSIDE: Final = 0.5
"""Of the pixels that are not of the most frequent level, so many lie among others of that kind, unless all is text."""
_TAIL: Final = 0.02
"""So many pixels lie just below the top for each that is there, where a brighter scene was cut off."""
_JUST_BELOW: Final = 0.1
_FEW_EXTREMA: Final = 6
"""A small picture of a few blobs has as many."""


class ContentLook:
    """Of one frame, on its way through a model's transforms (``pipeline.Look``)."""

    def __init__(self) -> None:
        self.figures: Figures = ()

    def measure(self, frame: Frame) -> Figures:
        """Figures of a frame.

        Raises:
            Withheld: one of them is out of bounds; its code says which.
        """
        figures: Figures = ()
        for bound, value in _measured(frame):
            figures = (*figures, bound.figure(value))
            if figures[-1].withheld:
                raise bound.refusal(figures)
        return figures

    def hold_size(self, seen: Frame) -> None:
        """Refuse what the model would have to make up: each pixel of the image over more than two of its own.

        Args:
            seen: the frame as the model is to see it.

        Raises:
            Withheld: ``guard.small``.
        """
        a, b, _, d, e, _ = seen.geometry.affine
        self.figures = (*self.figures, SMALL.figure(min(math.hypot(a, d), math.hypot(b, e))))
        if self.figures[-1].withheld:
            raise SMALL.refusal(self.figures)


def _measured(frame: Frame) -> Iterator[tuple[Bound, float]]:
    """Each figure with its bound, what is cheap and plain first."""
    sample = _sample(frame)
    levels, counts = _levels(_image(sample, frame))
    yield (FEW if len(levels) > 1 else CONSTANT), float(len(levels))
    most, total = int(counts.argmax()), float(counts.sum())
    yield (SCATTERED if _inside(sample != levels[most]) < _INSIDE else BLANK), float(counts[most]) / total
    others = np.delete(counts, most).astype(np.float64)
    yield TWO_TONE, float(others.sum() ** 2 / np.square(others).sum())
    if frame.photometric_interpretation == "MONOCHROME1":  # the least value is white there
        levels, counts = -levels[::-1].astype(np.float64), counts[::-1]
        top = sample == -levels[-1]
    else:
        levels, top = levels.astype(np.float64), sample == levels[-1]
    below = counts[:-1][levels[:-1] >= levels[-1] - _JUST_BELOW * (levels[-1] - levels[0])].sum()
    yield (CLIPPED if below >= _TAIL * counts[-1] else WHITE), _solid(top)
    yield NOISE, _likeness(sample)
    yield SMOOTH, _extrema(sample)


def _sample(frame: Frame) -> Array:
    """At most ``SIDE`` x ``SIDE`` pixels, grey."""
    rows, columns = frame.pixels.shape[:2]
    step = max(1, -(-max(rows, columns) // SIDE))
    first = step // 2 if min(rows, columns) > step // 2 else 0
    taken = np.ascontiguousarray(frame.pixels[first::step, first::step])
    if taken.dtype == np.bool_:
        taken = taken.view(np.uint8)
    if taken.ndim == 2:
        return taken
    total = np.zeros(taken.shape[:2], np.float32)
    for number in range(taken.shape[2]):  # over the last axis numpy takes ten times as long
        total += taken[:, :, number]
    return np.asarray(total / taken.shape[2]).astype(taken.dtype)


def _image(sample: Array, frame: Frame) -> Array:
    """Its values, but for those that the header calls padding; all of them where nothing else is there."""
    padding = frame.grayscale.pixel_padding if frame.stored_units else None
    if padding is None:
        return sample.reshape(-1)
    values = sample[(sample < padding[0]) | (sample > padding[1])]
    return values if values.size else sample.reshape(-1)


def _levels(values: Array) -> tuple[Array, Array]:
    """Each level that is there, ascending, and how often."""
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        least = int(values.min())
        counts = np.bincount(values.astype(np.int32) - least)
        levels = np.flatnonzero(counts)
        return levels + least, counts[levels]
    levels, counts = np.unique(values, return_counts=True)
    return levels, counts


def _solid(marked: Array) -> float:
    """Share of the pixels inside that are marked, and their four neighbours too."""
    solid = _among(marked)
    return float(solid.mean()) if solid.size else float(marked.mean())


def _inside(marked: Array) -> float:
    """Of the pixels that are marked, the share whose four neighbours are too."""
    within = int(np.count_nonzero(marked[1:-1, 1:-1]))
    return int(np.count_nonzero(_among(marked))) / within if within else 1.0


def _among(marked: Array) -> Array:
    beside: Array = marked[1:-1, :-2] & marked[1:-1, 2:] & marked[:-2, 1:-1] & marked[2:, 1:-1]
    return beside & marked[1:-1, 1:-1]


def _likeness(sample: Array) -> float:
    """Correlation of neighbours, across or down, whichever is less; 1 where there are none."""
    centred = sample.astype(np.float32)
    centred -= centred.mean()
    power = float(np.mean(np.square(centred))) or 1.0
    pairs = ((centred[:, 1:], centred[:, :-1]), (centred[1:], centred[:-1]))
    return min((float(np.mean(one * other)) / power for one, other in pairs if one.size), default=1.0)


def _extrema(sample: Array) -> float:
    """Share of the pixels inside that are above all eight neighbours, or below all, but for a few; 1 of none."""
    inside = sample[1:-1, 1:-1]
    if inside.size == 0:
        return 1.0
    count = -_FEW_EXTREMA
    for further, beyond in ((np.maximum, np.greater), (np.minimum, np.less)):
        beside: Any = further(sample[:, :-2], sample[:, 2:])
        rows = further(beside, sample[:, 1:-1])
        count += int(np.count_nonzero(beyond(inside, further(further(rows[:-2], rows[2:]), beside[1:-1]))))
    return max(0, count) / int(inside.size)
