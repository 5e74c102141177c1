"""What a guard takes of an image's time: the same network with that guard alone and without any, in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Final

from benchmarks.images import completed
from benchmarks.material import write_xray, write_xray_jpeg
from benchmarks.networks import CONTENT, DISTANCE, GUARDS, MODEL, built
from benchmarks.timing import Row, milliseconds, summary
from edgeai.bundle.reader import open_bundle
from edgeai.model import Model, open_model

BACKEND: Final = "tflite"
SHARE: Final = 0.25
LEAST_MS: Final = 2.0
"""A guard may take this share of what the model takes without it, or so long where that is more."""
TOLD: Final = {CONTENT: "content before", MODEL: "a model of 128 pixels before", DISTANCE: "distance of"}
KINDS: Final[dict[str, Callable[..., Path]]] = {"uncompressed": write_xray, "JPEG": write_xray_jpeg}


def guard(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """Time radiographs with each guard and without, against what it may take."""
    del bundle_path
    for kind, write in KINDS.items():
        path = write(folder / f"guard-{kind}.dcm", textured=True)
        for each, network in product(GUARDS, ("small", "mobilenet")):
            with (
                open_model(open_bundle(built(folder, network)), backends=[BACKEND]) as bare,
                open_model(open_bundle(built(folder, f"{network}-{each}")), backends=[BACKEND]) as guarded,
            ):
                yield _row(f"{TOLD[each]} {network}, X-ray {kind}, {BACKEND}", bare, guarded, path, rounds)


def _row(case: str, bare: Model, guarded: Model, path: Path, rounds: int) -> Row:
    for model in (bare, guarded) * 3:
        completed(model, path)
    without, more = [], []
    for _ in range(3 * rounds):
        without.append(milliseconds(lambda: completed(bare, path)))
        more.append(milliseconds(lambda: completed(guarded, path)) - without[-1])
    allowed = [max(LEAST_MS, SHARE * each) for each in without]
    summed = summary(more, allowed)
    return Row(
        case=case,
        ours=f"{summed.ours_ms:.2f} ms more",
        limit=f"{summed.limit_ms:.1f} ms: a quarter of {statistics.median(without):.1f} ms, or {LEAST_MS:g} ms",
        ratio=summed.ratio,
        spread=summed.spread,
        bound=1.0,
    )
