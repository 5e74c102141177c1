"""How far the fast paths that a manifest signs move what the model sees, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeai.api import OpenRequest
from edgeai.bundle.manifest import TransformStep
from edgeai.bundle.reader import Bundle
from edgeai.dicom.pixels import DecodeOptions, read_frames
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry

Tensor = npt.NDArray[np.float32]
MOST_FRAMES = 10


def agreement(bundle: Bundle, path: Path) -> str:
    """One sentence: model input and probabilities by the fast paths against those of the exact path."""
    manifest = bundle.manifest
    side = manifest.inputs[0].shape[1] or 0
    exact_steps = [
        TransformStep(
            transform=s.transform, options={k: v for k, v in s.options.items() if k not in ("two_pass", "margin")}
        )
        for s in manifest.transforms
    ]
    reduced = DecodeOptions(fast=frozenset(manifest.pixels.fast), min_rows=side, min_columns=side)
    fast = _tensors(bundle, path, reduced, manifest.transforms)
    exact = _tensors(bundle, path, DecodeOptions(), exact_steps)
    off = np.abs(np.stack(fast) - np.stack(exact))
    told = np.abs(_probabilities(bundle, fast) - _probabilities(bundle, exact))
    return (
        f"signed fast paths (two_pass with margin 1, luma, smallest) against the exact path, {len(fast)} frame(s):"
        f" model input off by {off.mean():.2%} of its range on average, {off.max():.1%} at most;"
        f" probabilities by {told.max():.5f} at most"
    )


def _tensors(bundle: Bundle, path: Path, options: DecodeOptions, steps: Sequence[TransformStep]) -> list[Tensor]:
    manifest = bundle.manifest
    transforms = Registry.of(manifest.plugins).transforms
    pipeline = Pipeline(steps, transforms, manifest.input_specs()[0])
    frames = (frame for frame, _ in zip(read_frames(path, options), range(MOST_FRAMES), strict=False))
    return [pipeline.prepare(frame)[0] for frame in frames]


def _probabilities(bundle: Bundle, tensors: list[Tensor]) -> npt.NDArray[np.float64]:
    manifest = bundle.manifest
    artifact = next(item for item in manifest.artifacts if item.format == "tflite")
    request = OpenRequest(
        artifact=bundle.root / artifact.path,
        device="CPU",
        inputs=manifest.input_specs(),
        outputs=manifest.output_specs(),
        options=artifact.options,
    )
    session = Registry.of(["tflite"]).backends["tflite"].open(request)
    logits = np.stack([session.run({manifest.inputs[0].name: tensor})["logits"][0] for tensor in tensors])
    session.close()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
