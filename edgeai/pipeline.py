"""A manifest's transforms, from one Frame to the tensor that the model takes.

The frame that comes back with the tensor is what the model saw: its ``geometry`` maps findings to the source
image. Nothing is converted that would lose information in silence: a step of the manifest says so, or it is
refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from edgeai.api import (
    Array,
    EdgeaiError,
    Frame,
    GuardFigure,
    Options,
    PluginFault,
    PluginNotFound,
    TensorMismatch,
    TensorSpec,
    Transform,
    TransformFailed,
    TransformSpec,
)

if TYPE_CHECKING:
    from edgeai.hosting import PluginInfo

Seen: TypeAlias = Callable[[int, int], None]
"""Told how many rows and columns of the source image are left after a cut; raises where those are too few."""
_RESAMPLED: Final = 0.9
"""A step that changes the scale may leave out edges (``two_pass``); one that leaves less than this has cut."""
_HAIR: Final = 1e-6


class StepLike(Protocol):
    """One entry of a manifest's ``transforms``."""

    @property
    def transform(self) -> str:
        """Name of the transform."""
        ...

    @property
    def options(self) -> Options:
        """Its options, signed."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Halfway:
    """A frame on its way through the steps.

    Attributes:
        frame: as it is now.
        trail: what it was at first and became by each step, for who has to be told.
        cuts: what ``seen`` was told.
        plain: as it was while its values were the decoded ones, for ``look``.
        figures: what ``look`` measured; ``None`` while it has not been asked.
    """

    frame: Frame
    trail: tuple[tuple[str, str], ...]
    cuts: tuple[tuple[int, int], ...] = ()
    plain: Frame | None = None
    figures: tuple[GuardFigure, ...] | None = None

    @classmethod
    def start(cls, frame: Frame) -> Halfway:
        """Before the first step."""
        return cls(frame, (("frame", _described(frame)),), plain=frame)

    def looked_at(self, look: Look) -> Halfway:
        """The same, once ``look`` has measured what is left of the image by now, in the values that were decoded."""
        if self.figures is not None:
            return self
        plain = self.plain or self.frame
        return replace(self, figures=look.measure(plain if plain is self.frame else _part_of(plain, self.frame)))

    @property
    def is_whole(self) -> bool:
        """Whether ``look`` can still do, or has done, what it would do alone with what ``frame`` is."""
        return self.figures is not None or self.plain is self.frame

    @property
    def steps(self) -> int:
        """How many steps are done."""
        return len(self.trail) - 1


class Look(Protocol):
    """Stands before the model: asked once of each frame, after the cuts and before anything resamples it.

    Attributes:
        figures: what was measured of the frame, here or by whoever shares it.
    """

    figures: tuple[GuardFigure, ...]

    def measure(self, frame: Frame) -> tuple[GuardFigure, ...]:
        """Figures of a frame with decoded values; raises where it is not to go on."""
        ...


class Shared(Protocol):
    """What other pipelines have done of the same steps on the same image, and want to have of this one."""

    def begun(self, frame: Frame) -> Halfway:
        """How far the frame is."""
        ...

    def reached(self, halfway: Halfway) -> None:
        """Told where it starts, and after each step."""
        ...


class Pipeline:
    """Built once for a model; ``prepare`` may be called from any thread, as transforms are pure.

    Args:
        steps: in the order they are applied; none at all is allowed.
        transforms: the specs that the steps name.
        input: the model's image input; batch first, then rows, columns and perhaps channels in its layout.
        seen: asked after each step that leaves out a part of the image.
        plugins: whose each step is, for whoever wants to know.

    Raises:
        PluginNotFound: no spec for a step.
        TransformFailed: a step's options are refused; the message names the step.
        TensorMismatch: the input is not an image of a batch of one.
    """

    def __init__(
        self,
        steps: Sequence[StepLike],
        transforms: Mapping[str, TransformSpec],
        input: TensorSpec,
        *,
        seen: Seen | None = None,
        plugins: Sequence[PluginInfo] = (),
    ) -> None:
        self.input = input
        self.plugins = plugins
        self._seen = seen
        _check_input(input)
        self._steps = tuple(_built(index, step, transforms) for index, step in enumerate(steps))

    def prepare(self, frame: Frame, shared: Shared | None = None, look: Look | None = None) -> tuple[Array, Frame]:
        """The tensor, with a batch axis of one, in the input's dtype and layout; and the frame as the model saw it.

        The tensor shares memory with the frame where nothing had to be converted: read-only to the caller.

        Args:
            frame: as decoded; or, where ``shared`` knows it, as far as its first steps have brought it.
            shared: asked first, and told of every step.
            look: what stands before the model.

        Raises:
            TransformFailed: a step cannot be applied to this frame.
            TensorMismatch: what came out of the last step is not what the model takes; says which step made what.
            PluginFault: a step broke the contract.
            EdgeaiError: what ``seen`` and ``look`` raise.
        """
        halfway = shared.begun(frame) if shared else Halfway.start(frame)
        if self._seen is not None:
            for cut in halfway.cuts:
                self._seen(*cut)
        if shared:
            shared.reached(halfway)
        for name, transform in self._steps[halfway.steps :]:
            halfway = self._after(halfway, name, transform, look)
            if shared and (look is None or halfway.is_whole):
                shared.reached(halfway)
        if look is not None:
            look.figures = halfway.looked_at(look).figures or ()
        try:
            return _tensor(halfway.frame.pixels, self.input), halfway.frame
        except TensorMismatch as error:
            path = "; ".join(f"{name}: {what}" for name, what in halfway.trail)
            raise TensorMismatch(f"{error}. Steps made {path}", code=error.code, remedy=error.remedy) from error

    def _after(self, halfway: Halfway, name: str, transform: Transform, look: Look | None) -> Halfway:
        """One step further."""
        before = halfway.frame
        try:
            after: object = transform.apply(before)
        except Exception as error:
            if look is not None:
                halfway.looked_at(look)  # an image without content is no image that a step cannot do
            raise _named(name, error) from error
        if after is before:
            trail = (*halfway.trail, (name, halfway.trail[-1][1]))
            return Halfway(before, trail, halfway.cuts, halfway.plain, halfway.figures)
        if not isinstance(after, Frame):
            raise PluginFault(f"{name}: apply returned {type(after).__name__}, not a Frame", code="plugin.contract")
        cuts = halfway.cuts
        if self._seen is not None and (left := _left(before, after)) is not None:
            self._seen(*left)
            cuts = (*cuts, left)
        if look is not None and _scale(before) != _scale(after):
            halfway = halfway.looked_at(look)
        plain = after if halfway.plain is before and _is_plain(before, after) else halfway.plain
        return Halfway(after, (*halfway.trail, (name, _described(after))), cuts, plain, halfway.figures)


def _left(before: Frame, after: Frame) -> tuple[int, int] | None:
    """Rows and columns of the source image that a step left, if it cut; padding never counts as image."""
    if before.geometry is after.geometry and before.pixels.shape[:2] == after.pixels.shape[:2]:
        return None
    left, is_cut = [], False
    for (was, scale), (now, new_scale) in zip(_covered(before), _covered(after), strict=True):
        is_cut |= now < was * (_RESAMPLED if new_scale != scale else 1.0) - _HAIR
        left.append(round(now))
    return (left[0], left[1]) if is_cut else None


def _covered(frame: Frame) -> tuple[tuple[float, float], tuple[float, float]]:
    """Source pixels that the frame covers, and that one of its own does: down and across."""
    a, b, _, d, e, _ = frame.geometry.affine
    down, across = math.hypot(b, e), math.hypot(a, d)
    return (frame.rows * down, down), (frame.columns * across, across)


def _scale(frame: Frame) -> tuple[float, float, float, float]:
    a, b, _, d, e, _ = frame.geometry.affine
    return a, b, d, e


def _is_plain(before: Frame, after: Frame) -> bool:
    """Whether a step left the values what they were, as far as the frame tells: it cut, say, or made grey of colour."""
    same = before.pixels.dtype == after.pixels.dtype and before.stored_units == after.stored_units
    return same and _scale(before) == _scale(after)


def _part_of(plain: Frame, frame: Frame) -> Frame:
    """What of an earlier frame of the same scale a later one still shows; all of it where that is not a part of it."""
    corners = plain.geometry.from_source(frame.geometry.to_source([(0.0, 0.0), (frame.columns, frame.rows)]))
    (x0, y0), (x1, y1) = ([round(value) for value in corner] for corner in corners.tolist())
    part = plain.pixels[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
    return replace(plain, pixels=part) if part.size else plain


def _built(index: int, step: StepLike, transforms: Mapping[str, TransformSpec]) -> tuple[str, Transform]:
    name = f"transforms[{index}] {step.transform}"
    spec = transforms.get(step.transform)
    if spec is None:
        raise PluginNotFound(
            f"{name}: no loaded plugin provides this transform",
            remedy=f"loaded: {', '.join(sorted(transforms)) or 'none'}; name its plugin in the manifest's `plugins`",
        )
    try:
        return name, spec.build(step.options)
    except Exception as error:
        raise _named(name, error) from error


def _named(name: str, error: Exception) -> EdgeaiError:
    """What a step raised, beginning with the step's name; what is not ours as ``PluginFault``."""
    if isinstance(error, EdgeaiError):
        reason = str(error).removeprefix(f"{name.rpartition(' ')[2]}: ")
        return type(error)(f"{name}: {reason}", code=error.code, remedy=error.remedy)
    if isinstance(error, MemoryError):
        return TransformFailed(f"{name}: out of memory", code="transform.memory")
    return PluginFault(f"{name}: {type(error).__name__}: {error}")


def _check_input(spec: TensorSpec) -> None:
    axes = spec.layout
    image = axes[:1] == "N" and sorted(axes[1:]) in (["H", "W"], ["C", "H", "W"])
    if not image:
        raise TensorMismatch(
            f"input {spec.name!r} has layout {axes or 'none'!r}, not that of an image",
            code="tensor.layout",
            remedy="declare NHWC, NCHW or NHW in the manifest",
        )
    if spec.shape[0] not in (None, 1):
        raise TensorMismatch(
            f"input {spec.name!r} takes a batch of {spec.shape[0]}; frames are prepared one by one",
            code="tensor.batch",
            remedy="convert the model with a batch of 1, or of any size",
        )


def _tensor(pixels: Array, spec: TensorSpec) -> Array:
    array = _in_dtype(_in_layout(pixels, spec), spec)[np.newaxis]
    if not spec.accepts(array):
        want = "x".join("any" if extent is None else str(extent) for extent in spec.shape)
        got = "x".join(map(str, array.shape))
        raise TensorMismatch(
            f"input {spec.name!r} takes {want} ({spec.layout}), the frame became {got}",
            code="tensor.shape",
            remedy="put resize or letterbox, and grey or rgb, among the transforms",
        )
    return array


def _in_layout(pixels: Array, spec: TensorSpec) -> Array:
    axes = spec.layout[1:]
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if "C" not in axes:
        if pixels.shape[2] != 1:
            raise TensorMismatch(
                f"input {spec.name!r} has no channel axis, the frame has {pixels.shape[2]} samples",
                code="tensor.shape",
                remedy="put `grey` among the transforms",
            )
        return pixels[:, :, 0].transpose(["HW".index(axis) for axis in axes])
    return pixels.transpose(["HWC".index(axis) for axis in axes])


def _in_dtype(array: Array, spec: TensorSpec) -> Array:
    want: np.dtype[Any] = np.dtype(spec.dtype)
    floats = array.dtype.kind == want.kind == "f"
    if not floats and not np.can_cast(array.dtype, want, "safe"):
        raise TensorMismatch(
            f"input {spec.name!r} takes {want}, which does not hold every {array.dtype}",
            code="tensor.dtype",
            remedy="say how in the transforms: window, normalise or clip",
        )
    if array.dtype == want:
        array = np.ascontiguousarray(array)
    else:
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, dtype=want)
    # An engine may turn NaN into any class without a word.
    if want.kind == "f" and not np.isfinite(array).all():
        raise TensorMismatch(f"input {spec.name!r} would hold values that are not finite", code="tensor.not-finite")
    return array


def _described(frame: Frame) -> str:
    return _words(frame.pixels.shape, frame.pixels.dtype, frame.photometric_interpretation)


@lru_cache(maxsize=256)  # the same few for every image, and numpy takes long to name a dtype
def _words(shape: tuple[int, ...], dtype: np.dtype[Any], photometric_interpretation: str) -> str:
    return f"{'x'.join(map(str, shape))} {dtype} {photometric_interpretation}"
