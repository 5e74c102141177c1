"""How far each fast path that changes the numbers moves the answer from the exact path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import keras
import numpy as np
import numpy.typing as npt

from edgeai.api import EdgeaiError, Frame, Geometry, InstanceRef
from edgeai.bundle.manifest import TransformStep
from edgeai.dicom.pixels import DecodeOptions, read_frames
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai_workbench.card import Card
from guard import pictures

Probabilities: TypeAlias = npt.NDArray[np.floating[Any]]
FRAMES = 16
"""Of one file, at most."""


class Answers:
    """The Keras parent behind the card's transforms, with or without the halving of ``two_pass``."""

    def __init__(self, card: Card, model: Path) -> None:
        self._network = keras.models.load_model(model, compile=False)
        self._temperature = float(card.task.options["temperature"])
        shared = card.for_manifest()
        transforms = Registry.of(card.plugins).transforms
        self.rows, self.columns = shared["inputs"][0].shape[1:3]
        self._pipelines = {
            two_pass: Pipeline(_steps(shared["transforms"], two_pass), transforms, shared["inputs"][0].spec())
            for two_pass in (False, True)
        }

    def of(self, frame: Frame, *, two_pass: bool) -> Probabilities:
        """(labels,)."""
        tensor, _ = self._pipelines[two_pass].prepare(frame)
        logits = np.asarray(self._network(tensor))[0] / self._temperature
        shares = np.exp(logits - logits.max())
        return np.asarray(shares / shares.sum())


def _steps(steps: Sequence[TransformStep], two_pass: bool) -> list[TransformStep]:
    return [
        TransformStep(transform=s.transform, options={**s.options, "two_pass": two_pass})
        if s.transform == "resize"
        else s
        for s in steps
    ]


def compare(card: Card, model: Path, paths: Sequence[Path], data: Path | None) -> None:
    """Print a row for each fast path, over the DICOM files of ``paths`` and, for two_pass, detector-sized pictures."""
    answers = Answers(card, model)
    print("\n| fast path | frames | moved at all | largest change of a probability | median | other label |")
    print("|---|---|---|---|---|---|")
    for name in ("luma", "reduced"):
        print_row(name, _decoded(answers, name, paths))
    print_row("two_pass", _halved(answers, (frame for path in paths for frame in _frames(path))))
    if data is not None:
        print_row("two_pass, 3000x2500", _halved(answers, _detector_sized(data)))


def print_row(name: str, pairs: Iterable[tuple[Probabilities, Probabilities]]) -> None:
    """One row of the table, of (exact, fast) pairs."""
    both = np.array(list(pairs))
    away = np.abs(both[:, 0] - both[:, 1]).max(axis=1)
    other = int((both[:, 0].argmax(axis=1) != both[:, 1].argmax(axis=1)).sum())
    print(f"| {name} | {len(away)} | {(away > 0).sum()} | {away.max():.4f} | {np.median(away):.5f} | {other} |")


def _frames(path: Path, options: DecodeOptions | None = None) -> list[Frame]:
    """The first frames of a file; none when it is refused."""
    try:
        found = list(read_frames(path, options or DecodeOptions()))[:FRAMES]
    except EdgeaiError:
        return []
    return [f for f in found if min(f.rows, f.columns) >= 32]


def _decoded(answers: Answers, name: str, paths: Iterable[Path]) -> Iterator[tuple[Probabilities, Probabilities]]:
    fast = DecodeOptions(fast=frozenset({name}), min_rows=answers.rows, min_columns=answers.columns)
    for path in paths:
        for slow, quick in zip(_frames(path), _frames(path, fast), strict=False):
            if slow.pixels.shape != quick.pixels.shape or not np.array_equal(slow.pixels, quick.pixels):
                yield answers.of(slow, two_pass=False), answers.of(quick, two_pass=False)


def _halved(answers: Answers, frames: Iterable[Frame]) -> Iterator[tuple[Probabilities, Probabilities]]:
    for frame in frames:
        yield answers.of(frame, two_pass=False), answers.of(frame, two_pass=True)


def _detector_sized(data: Path) -> Iterator[Frame]:
    """Validation radiographs enlarged to 3000x2500, 12 bit, with noise of the pixel's size."""
    rng = np.random.default_rng(3)
    for image in pictures.kit_images(data, "xray_view", "val"):
        large = cv2.resize(image, (2500, 3000), interpolation=cv2.INTER_CUBIC) * 16.0
        pixels = np.clip(large + rng.normal(0, 20, large.shape), 0, 4095).astype(np.uint16)
        geometry = Geometry(source_rows=3000, source_columns=2500)
        instance = InstanceRef(sop_class_uid="", sop_instance_uid="")
        yield Frame(pixels=pixels, number=1, geometry=geometry, instance=instance, bits_stored=12)
