"""A golden case with wide areas at the top of the input's range.

An engine that adds int8 in too few bits (ADR 0070) answers bright images wrongly, and says nothing. A bundle with
such a case finds it where it runs: the cart rehearses it like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from edgeai.api import Array, EdgeaiError, OpenRequest, TensorSpec
from edgeai.bundle.manifest import TransformStep
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai_workbench import pictures
from edgeai_workbench.card import Card
from edgeai_workbench.drawings import bright
from edgeai_workbench.golden import Golden, add_golden

NAME: Final = "bright"
NO_BRIGHT: Final = (
    "no golden case has wide areas as bright as an input can be, which show on a cart whether int8 overflows there; "
    "edgeai build adds one"
)
_SIDE: Final = 256
"""Rows or columns of the drawing where the input has no extent."""
_WIDE, _NEAR = 0.25, 0.02
"""So much of an input is as bright as it can be, to such a part of the range."""


def brightest(pipeline: Pipeline) -> Array | None:
    """A picture that is mostly white, as the model gets it; ``None`` where the transforms take no drawn picture."""
    spec = pipeline.input
    extent = dict(zip(spec.layout, spec.shape, strict=True))
    picture = bright(rows=extent.get("H") or _SIDE, columns=extent.get("W") or _SIDE)
    if extent.get("C") == 3:
        picture = np.repeat(picture[..., None], 3, axis=2)
    try:
        return pipeline.prepare(pictures.frame_of(picture, name=NAME))[0]
    except EdgeaiError:
        return None


def has_bright(inputs: Iterable[Array], picture: Array | None) -> bool:
    """Whether one of these inputs is as bright as ``brightest`` over a quarter; also where nothing can be brighter.

    Over as much as that picture is, where that is less: of several samples a pixel one alone may say how bright it is.
    """
    if picture is None or picture.max() == picture.min():
        return True
    low, high = float(picture.min()), float(picture.max())
    least = high - _NEAR * (high - low)
    wide = min(_WIDE, float(np.mean(picture >= least)))
    return any(np.mean(array >= least) >= wide for array in inputs)


def bright_input(steps: Sequence[TransformStep], registry: Registry, spec: TensorSpec) -> Array | None:
    """``brightest`` for an input without a built pipeline; ``None`` for one that is no picture."""
    return brightest(Pipeline(steps, registry.transforms, spec)) if spec.layout else None


def add_bright(card: Card, folder: Path, golden: Sequence[Golden], registry: Registry) -> None:
    """Write a golden case ``bright`` where none of the card's is, answered by the Keras parent.

    Raises:
        BackendError: the parent cannot be opened or run.
    """
    shared = card.for_manifest()
    inputs, outputs = (tuple(tensor.spec() for tensor in shared[what]) for what in ("inputs", "outputs"))
    if len(inputs) != 1:
        return
    name, picture = inputs[0].name, bright_input(card.transforms, registry, inputs[0])
    if picture is None or has_bright((case.inputs[name] for case in golden), picture):
        return
    request = OpenRequest(artifact=folder / card.model, device="CPU", inputs=inputs, outputs=outputs)
    session = registry.backends["keras"].open(request)
    try:
        add_golden(folder, Golden(id=NAME, inputs={name: picture}, outputs=session.run({name: picture})))
    finally:
        session.close()
