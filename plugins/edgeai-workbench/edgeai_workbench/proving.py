"""What was packed, opened as a device opens it, and shown one frame: the last look before anybody ships it.

Transforms, engine and task meet here for the first time in the form in which they will be at work. That a task cannot
read what an engine answers would else be found by a patient's image.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from edgeai.api import EdgeaiError, Frame, FrameContext, Geometry, InstanceRef, NoStatement, Tensors
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.model import Model, open_model
from edgeai.model.golden import load_inputs
from edgeai.resolving import Installed
from edgeai_workbench.apart import opened_apart
from edgeai_workbench.as_is import files_of, plugin_for
from edgeai_workbench.bright import NO_BRIGHT, brightest, has_bright
from edgeai_workbench.card import AS_IS, Card, Recipe
from edgeai_workbench.convert import backend_of, loaded, plugin_of

NO_PICTURE = "its input is no picture, so that no device can run it on images; its golden cases were asked alone"
_SIDE = 96
_SPACING = (1.0, 1.0)
"""Millimetres: any do, for tasks that measure."""


def prove(card: Card, path: Path) -> tuple[str, ...]:
    """Open each artifact of a bundle by itself and have it answer one frame; what to know of that.

    Raises:
        EdgeaiError: a device could not open it, or not read its answer.
    """
    if len(card.inputs) != 1 or not card.inputs[0].layout:
        return (NO_PICTURE,)
    with tempfile.TemporaryDirectory(prefix="edgeai-prove-") as cache:
        bundle = open_bundle(path, cache_dir=Path(cache))
        notes: tuple[str, ...] = ()
        recipes = {recipe.id: recipe for recipe in card.shipped}
        for artifact in bundle.manifest.artifacts:
            alone = msgspec.structs.replace(bundle.manifest, artifacts=(artifact,))
            notes = _prove(Bundle(manifest=alone, digest=bundle.digest, root=bundle.root), recipes[artifact.id])
    return notes


def _prove(bundle: Bundle, recipe: Recipe) -> tuple[str, ...]:
    artifact = bundle.manifest.artifacts[0]
    as_is = recipe.converter == AS_IS
    plugin = plugin_for(artifact.format) if as_is and not recipe.plugin else plugin_of(recipe, Installed())
    registry = loaded([*bundle.manifest.plugins, plugin])
    backend = backend_of(registry, artifact.format)
    with ExitStack() as stack:
        if as_is:  # what somebody else's file makes an engine do is not known
            files = files_of(bundle.path(artifact.path))
            backend, _ = stack.enter_context(opened_apart(backend, plugin, files))
            registry = replace(registry, backends={**registry.backends, backend.name: backend})
        device = None if backend.probe() else "CPU"
        model = stack.enter_context(
            open_model(bundle, backends=(backend.name,), device=device, threads=1, registry=registry)
        )
        tensors, frame = _seen(model)
        outputs = model.infer(tensors)
        with suppress(NoStatement):  # of a drawn ramp none is as good an end as any
            model.task.interpret(model.own(outputs), FrameContext(frame=frame, instance=frame.instance))
        if model.sentry is not None:
            model.sentry.rehearse()
        golden = (case[model.pipeline.input.name] for case in load_inputs(bundle))
        return () if has_bright(golden, brightest(model.pipeline)) else (NO_BRIGHT,)


def _seen(model: Model) -> tuple[Tensors, Frame]:
    """A drawn frame through the transforms; or the first golden case, where these want more than it has."""
    frame = _drawn(model.pipeline.input.layout, model.bundle.manifest.inputs[0].shape)
    try:
        tensor, seen = model.pipeline.prepare(frame)
    except EdgeaiError:
        golden: Mapping[str, np.ndarray] = load_inputs(model.bundle)[0]
        return golden, _as_seen(frame, golden[model.pipeline.input.name], model.pipeline.input.layout)
    return {model.pipeline.input.name: tensor}, seen


def _as_seen(frame: Frame, tensor: np.ndarray, layout: str) -> Frame:
    """The frame with what the model is given as its pixels, for tasks that look at them."""
    axes, plane = layout[1:], tensor[0]
    if "H" not in axes or "W" not in axes:
        return frame
    if "C" in axes:
        plane = np.moveaxis(plane, axes.index("C"), -1)
        plane = plane[..., 0] if plane.shape[-1] == 1 else plane
    rows, columns = plane.shape[:2]
    geometry = Geometry(source_rows=rows, source_columns=columns, pixel_spacing_mm=_SPACING)
    return replace(frame, pixels=plane, geometry=geometry)


def _drawn(layout: str, shape: tuple[int | None, ...]) -> Frame:
    """A ramp, grey or in colour as the input is; it says how large its pixels are, for tasks that measure."""
    colour = dict(zip(layout, shape, strict=True)).get("C") == 3
    plane = np.tile(np.linspace(0, 255, _SIDE).astype(np.uint8), (_SIDE, 1))
    photometric = "RGB" if colour else "MONOCHROME2"
    instance = InstanceRef(
        sop_class_uid="",
        sop_instance_uid="2.25.1",
        rows=_SIDE,
        columns=_SIDE,
        samples_per_pixel=3 if colour else 1,
        photometric_interpretation=photometric,
        bits_stored=8,
    )
    return Frame(
        pixels=np.repeat(plane[..., None], 3, axis=2) if colour else plane,
        number=1,
        geometry=Geometry(source_rows=_SIDE, source_columns=_SIDE, pixel_spacing_mm=_SPACING),
        instance=instance,
        photometric_interpretation=photometric,
        bits_stored=8,
    )
