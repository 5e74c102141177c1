"""A U-Net on the 15 MB radiograph, and shapes in source pixels of what it answers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.images import BACKENDS, against, area_pass
from benchmarks.material import write_xray
from benchmarks.networks import INT8, UNET_SIDE, built
from benchmarks.timing import Row, milliseconds
from edgeai.api import FrameContext
from edgeai.bundle.reader import open_bundle
from edgeai.dicom.pixels import read_frames
from edgeai.model import Model

_TIMES = 31


def segment(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """Against mmap, one integer-ratio area pass and the bare engine: all that comes after it counts as ours."""
    path = write_xray(folder / "xray-unet.dcm")
    for name in ("unet", "unet" + INT8):
        yield from against(
            "X-ray uncompressed, segment",
            path,
            area_pass(path, UNET_SIDE),
            open_bundle(built(folder, name)),
            BACKENDS[1:] if name.endswith(INT8) else BACKENDS,
            rounds,
            limit="mmap, one area pass",
            notes=partial(_interpreting, path),
        )


def _interpreting(path: Path, model: Model) -> tuple[str, ...]:
    """How long the task alone takes, and what it found."""
    frame = next(iter(read_frames(path)))
    tensor, seen = model.pipeline.prepare(frame)
    outputs = model.infer({model.pipeline.input.name: tensor})
    context = FrameContext(frame=seen, instance=frame.instance)
    took = statistics.median(milliseconds(lambda: model.task.interpret(outputs, context)) for _ in range(_TIMES))
    regions = [finding.region for finding in model.task.interpret(outputs, context) if finding.region]
    what = ", ".join(
        f"{region.parts} parts, {region.area_px:.0f} px, {len(region.contours)} rings" for region in regions
    )
    return (f"interpret alone {took:.2f} ms: {what}",)
