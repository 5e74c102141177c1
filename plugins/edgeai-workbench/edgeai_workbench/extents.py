"""Rows and columns for a model that takes any: a bundle says which, and a cart's engine makes itself ready for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from edgeai.api import Frame, TensorSpec
from edgeai_workbench.guessing import Refusal, shown

USUAL: Final = (224, 224)
"""Where no picture says how large they are."""
_LARGEST: Final = 512
_MULTIPLE: Final = 32
"""Models halve their input several times, and some of them want that to come out even."""

_AXES: Final = {"H": "rows", "W": "columns"}

Size = tuple[int, int]


def is_open(spec: TensorSpec) -> bool:
    """Whether it is a picture of any extent."""
    extents = dict(zip(spec.layout, spec.shape, strict=True)) if spec.layout else {}
    return {"H", "W"} <= extents.keys() and None in (extents["H"], extents["W"])


def of_pictures(frame: Frame) -> Size:
    """About the extent of a picture, no side above 512, in steps of 32."""
    shrink = min(1.0, _LARGEST / max(frame.rows, frame.columns))
    return _multiple(frame.rows * shrink), _multiple(frame.columns * shrink)


def _multiple(extent: float) -> int:
    return max(_MULTIPLE, round(extent / _MULTIPLE) * _MULTIPLE)


def fixed(
    spec: TensorSpec, asked: Size | None, otherwise: Callable[[], Size], refused: Refusal
) -> tuple[TensorSpec, tuple[str, ...]]:
    """The input at one extent: the one asked for, else another, which a note says.

    Raises:
        ConfigError: by ``refused``: an extent that is none, or that of an input that takes one alone.
    """
    if asked is not None and min(asked) < 1:
        raise refused(f"--size {asked[0]} {asked[1]} is no extent", "rows and columns, e.g. --size 224 224")
    if not is_open(spec):
        if asked is not None:
            raise refused(f"--size: input {spec.name} is {shown(spec.shape)} and takes no other", "leave --size out")
        return spec, ()
    own = {axis: spec.shape[spec.layout.index(axis)] for axis in "HW"}
    firm = next((axis for axis in "HW" if own[axis] is not None), "")
    if asked is not None and firm and own[firm] != asked["HW".index(firm)]:
        size = asked[0] if firm == "W" else own["H"], asked[1] if firm == "H" else own["W"]
        raise refused(
            f"--size {asked[0]} {asked[1]}: input {spec.name} is {shown(spec.shape)}, and its {_AXES[firm]} are "
            f"{own[firm]} always",
            f"--size {size[0]} {size[1]}",
        )
    size = asked or otherwise()
    taken = dict(zip("HW", size, strict=True))
    extents = zip(spec.layout, spec.shape, strict=True)
    shape = tuple(taken.get(axis) if extent is None else extent for axis, extent in extents)
    rows, columns = (shape[spec.layout.index(axis)] for axis in "HW")
    open_axes = "extent" if not firm else f"number of {_AXES['W' if firm == 'H' else 'H']}"
    note = f"input {spec.name} takes any {open_axes}; {rows} x {columns} is taken: --size says otherwise"
    return replace(spec, shape=shape), (() if asked else (note,))


def as_answered(specs: Sequence[TensorSpec], shapes: dict[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
    """Outputs that follow their input's extent, at the one that they were asked at."""
    return tuple(
        replace(spec, shape=shapes[spec.name]) if None in spec.shape and spec.name in shapes else spec for spec in specs
    )
