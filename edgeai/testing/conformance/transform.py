"""What the host relies on in a transform: it is pure, and it knows where each pixel came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest

from edgeai.api import Array, Frame, Options, Transform, TransformFailed, TransformSpec
from edgeai.testing.conformance.suite import Suite, assert_refused, needs, since
from edgeai.testing.examples import example_frame

_KINDS = (("uint8", 1), ("uint16", 1), ("int16", 1), ("float32", 1), ("uint8", 3))


class TransformConformance(Suite):
    """Subclass it once for each transform.

    Attributes:
        transform: ``TransformSpec.name``.
        options: options that make sense, one set.
        more_options: further sets, each held to the same rules.
        nonsense: sets of options that ``build`` must refuse (``{"width": 0}``).
        accepts: (dtype, samples) of frames that must be transformed; the others of uint8, uint16,
            int16, float32 grey and uint8 RGB may be refused, but only as ``TransformFailed``.
        landmark_tolerance_px: how far, in source pixels, a bright spot may be from where the geometry
            says it came from; ``None`` for a transform that does not keep spots.
        pads: whether the output may reach beyond the source (letterbox).
    """

    kind: ClassVar[str] = "transform"
    transform: ClassVar[str] = ""
    options: ClassVar[Options] = {}
    more_options: ClassVar[Sequence[Options]] = ()
    nonsense: ClassVar[Sequence[Options]] = ()
    accepts: ClassVar[Sequence[tuple[str, int]]] = (("uint8", 1), ("uint16", 1), ("int16", 1), ("float32", 1))
    landmark_tolerance_px: ClassVar[float | None] = 2.0
    pads: ClassVar[bool] = False

    def frame(self, dtype: str, samples: int) -> Frame:
        """An example frame of this kind; override it where the transform needs more (a region, a window)."""
        return example_frame(dtype, samples=samples)

    @property
    def spec(self) -> TransformSpec:
        """The spec under test."""
        spec: TransformSpec = self.any_spec()
        return spec

    def built(self) -> list[Transform]:
        """The transform, once for each set of options."""
        missing = [option.name for option in self.spec.options if option.required and option.name not in self.options]
        if missing:
            needs(f"options, with a value of {', '.join(missing)}")
        return [self.spec.build(options) for options in (self.options, *self.more_options)]

    def accepted(self) -> list[tuple[Transform, Frame]]:
        """Every set of options with every kind of frame that must be transformed."""
        if not self.accepts:
            needs("accepts, the kinds of frames that it must transform")
        return [(transform, self.frame(*kind)) for transform in self.built() for kind in self.accepts]

    @since(1, 0)
    def test_names_its_source(self) -> None:
        """The spec says where its method is defined."""
        assert self.spec.source.strip(), "TransformSpec.source is empty: a part of the Standard, or a paper"

    @since(1, 0)
    @pytest.mark.parametrize(("dtype", "samples"), _KINDS)
    def test_transforms_or_refuses(self, dtype: str, samples: int) -> None:
        """A frame of any kind is transformed, or refused as TransformFailed."""
        for transform in self.built():
            try:
                after = transform.apply(self.frame(dtype, samples))
            except TransformFailed:
                assert (dtype, samples) not in self.accepts, f"{dtype} x {samples} is among `accepts`"
                continue
            assert after.pixels.ndim in (2, 3)
            assert min(after.pixels.shape) > 0
            assert after.pixels.dtype.kind in "uif"
            assert after.pixels.dtype.isnative
            assert np.isfinite(after.pixels).all()

    @since(1, 0)
    def test_leaves_its_input_alone(self) -> None:
        """The frame that was given is as it was, to the byte."""
        for transform, frame in self.accepted():
            before, shape, geometry = frame.pixels.tobytes(), frame.pixels.shape, frame.geometry
            transform.apply(frame)
            assert frame.pixels.tobytes() == before
            assert (frame.pixels.shape, frame.geometry) == (shape, geometry)

    @since(1, 0)
    def test_same_input_same_output(self) -> None:
        """Pure: the same frame gives the same frame, whatever came between."""
        for transform, frame in self.accepted():
            first = transform.apply(frame)
            transform.apply(replace(frame, pixels=np.ascontiguousarray(frame.pixels[::-1])))
            _assert_same(transform.apply(frame), first)

    @since(1, 1)
    def test_prints_nothing(self, silence: Callable[[], AbstractContextManager[None]]) -> None:
        """Building and applying it writes nothing to standard output."""
        with silence():
            for transform, frame in self.accepted():
                transform.apply(frame)

    @since(1, 0)
    def test_takes_read_only_and_strided_pixels(self) -> None:
        """Pixels may be a read-only memory map or a strided view; the answer is the same."""
        for transform, frame in self.accepted():
            wanted = transform.apply(frame)
            locked = frame.pixels.copy()
            locked.flags.writeable = False
            _assert_same(transform.apply(replace(frame, pixels=locked)), wanted)
            wide = np.repeat(frame.pixels, 2, axis=1)[:, ::2]
            _assert_same(transform.apply(replace(frame, pixels=wide)), wanted)

    @since(1, 0)
    def test_carries_who_it_is(self) -> None:
        """Frame number, instance, and the source's size, spacing and regions are handed on."""
        for transform, frame in self.accepted():
            after = transform.apply(replace(frame, number=7))
            assert (after.number, after.instance) == (7, frame.instance)
            assert (after.geometry.source_rows, after.geometry.source_columns) == (frame.rows, frame.columns)
            assert after.geometry.pixel_spacing_mm == frame.geometry.pixel_spacing_mm
            assert after.geometry.regions == frame.geometry.regions

    @since(1, 0)
    def test_points_round_trip(self) -> None:
        """Points go to the source plane and come back to where they were."""
        for transform, frame in self.accepted():
            geometry = transform.apply(frame).geometry
            points = np.array([[0.0, 0.0], [3.5, 1.25], [17.0, 40.5]])
            np.testing.assert_allclose(geometry.from_source(geometry.to_source(points)), points, atol=1e-6)
            np.testing.assert_allclose(geometry.to_source(geometry.from_source(points)), points, atol=1e-6)

    @since(1, 0)
    def test_stays_inside_the_source(self) -> None:
        """The corners of the output lie within the source plane (unless the transform pads)."""
        for transform, frame in self.accepted():
            after = transform.apply(frame)
            corners = after.geometry.to_source([[0, 0], [after.columns, after.rows]])
            if not self.pads:
                assert (corners >= -1e-6).all(), f"{corners} is outside the source"
                assert (corners <= np.array([frame.columns, frame.rows]) + 1e-6).all(), f"{corners} is outside"
            if after.pixels.shape[:2] != frame.pixels.shape[:2]:
                assert after.geometry.affine != frame.geometry.affine, "another size, and the geometry does not say so"

    @since(1, 0)
    def test_geometry_composes(self) -> None:
        """A frame that was processed before keeps its way back: geometries are chained, not replaced."""
        for transform, frame in self.accepted():
            plain = transform.apply(frame).geometry
            moved = transform.apply(replace(frame, geometry=frame.geometry.scaled(2.0, 3.0))).geometry
            corner = np.array([[5.0, 4.0]])
            np.testing.assert_allclose(moved.to_source(corner), plain.to_source(corner) * [2.0, 3.0], atol=1e-6)

    @since(1, 0)
    @pytest.mark.parametrize(("across", "down"), [(0.4, 0.45), (0.6, 0.55)])
    def test_a_spot_is_where_the_geometry_says(self, across: float, down: float) -> None:
        """A bright spot drawn on the source is found, in the output, where the geometry maps it."""
        if self.landmark_tolerance_px is None:
            pytest.skip("the transform does not keep spots (landmark_tolerance_px is None)")
        for transform, frame in self.accepted():
            x, y = round(frame.columns * across), round(frame.rows * down)
            plain, spotted = transform.apply(frame), transform.apply(_with_spot(frame, x, y))
            back = plain.geometry.to_source(_centre_of_change(plain.pixels, spotted.pixels))
            distance = math.dist(back[0], (x + 0.5, y + 0.5))
            assert distance <= self.landmark_tolerance_px, f"spot at {(x, y)} came back as {back[0]}"

    @since(1, 0)
    def test_threads_may_share_it(self) -> None:
        """Eight threads with one transform get what one thread gets."""
        for transform, frame in self.accepted():
            frames = [replace(frame, pixels=np.roll(frame.pixels, shift, axis=1)) for shift in range(8)]
            wanted = [transform.apply(one) for one in frames]
            with ThreadPoolExecutor(8) as pool:
                for got, want in zip(pool.map(transform.apply, frames), wanted, strict=True):
                    _assert_same(got, want)

    @since(1, 0)
    def test_refuses_nonsense_options(self) -> None:
        """Options that make no sense are TransformFailed when the transform is built, not when it runs."""
        if not self.spec.options:
            pytest.skip("it takes no options")
        if not self.nonsense:
            needs("nonsense, sets of options that make no sense")
        for options in self.nonsense:
            assert_refused(TransformFailed, partial(self.spec.build, options), f"{options!r}")

    @since(1, 0)
    def test_refuses_unknown_options(self) -> None:
        """An option that the spec does not list is refused: a signed step is never half understood."""
        with pytest.raises(TransformFailed):
            self.spec.build({**self.options, "no_such_option": 1})

    @since(1, 0)
    def test_refuses_options_of_another_type(self) -> None:
        """No option takes a mapping: given one it is TransformFailed, not a fault and not passed over."""
        for option in self.spec.options:
            strange: Mapping[str, Any] = {**self.options, option.name: {"not": ["a", "value"]}}
            assert_refused(TransformFailed, partial(self.spec.build, strange), f"{option.name} = a mapping")


def _assert_same(got: Frame, want: Frame) -> None:
    assert got.pixels.dtype == want.pixels.dtype
    np.testing.assert_array_equal(got.pixels, want.pixels)
    assert got.geometry == want.geometry
    assert got.photometric_interpretation == want.photometric_interpretation


def _with_spot(frame: Frame, x: int, y: int, reach: int = 5) -> Frame:
    pixels = frame.pixels.copy()
    pixels[y - reach : y + reach + 1, x - reach : x + reach + 1] = frame.pixels.max()
    return replace(frame, pixels=pixels)


def _centre_of_change(before: Array, after: Array) -> Array:
    """The (x, y) about which two planes differ, weighted, of what is over half of the largest difference."""
    difference = np.abs(after.astype(np.float64) - before.astype(np.float64))
    if difference.ndim == 3:
        difference = difference.sum(axis=2)
    assert difference.max() > 0, "the spot left no trace in the output"
    weight = np.where(difference > difference.max() / 2, difference, 0.0)
    rows, columns = np.indices(weight.shape)
    centre: Array = np.array([[((columns + 0.5) * weight).sum(), ((rows + 0.5) * weight).sum()]]) / weight.sum()
    return centre
