"""Sources, how they are mixed, and the tensors that the network sees: made by the card's own transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgeai.api import Frame, Geometry, InstanceRef, Transform
from edgeai.plugins import Registry
from edgeai_workbench.card import Card
from guard import natural, ordinary, pictures, radiograph, slices, ultrasound
from guard.distort import distort, stored
from guard.fields import Plane, rescale, smooth_field, warp

LABELS = ("radiograph", "ultrasound", "other")
SHARES = (0.24, 0.26, 0.5)
"""Of the training images; the last is the most varied."""
Draw = Callable[[np.random.Generator], Plane]
Then = Callable[[np.random.Generator, Plane], Plane]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One origin of images.

    Attributes:
        weight: share within its label when training.
        origin: what is held out together with it: its scanners, its package, or the kind of phantom.
        whole: the images as they are, for evaluation; empty for phantoms, which draw afresh.
    """

    name: str
    label: str
    weight: float
    origin: str
    draw: Draw
    whole: Sequence[pictures.Grey] = ()
    in_kit: bool = False
    """Whether the data kit splits it into training and validation."""

    @property
    def shared(self) -> bool:
        """Whether its real images are the same in both splits."""
        return bool(self.whole) and not self.in_kit


def _one_of(images: Sequence[pictures.Grey], then: Then) -> Draw:
    def draw(rng: np.random.Generator) -> Plane:
        image = images[int(rng.integers(len(images)))].astype(np.float32) / 255
        return then(rng, image)

    return draw


def _square(image: Plane, size: int = 256) -> Plane:
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


def _scan(rng: np.random.Generator, image: Plane) -> Plane:
    """Zoomed in or not, on a scanner's screen or not."""
    image = _piece(rng, image) if rng.random() < 0.4 else image
    return ultrasound.scanner_screen(rng, _square(image)) if rng.random() < 0.5 else image


def _piece(rng: np.random.Generator, image: Plane) -> Plane:
    """A random part of a picture: one photograph gives many."""
    part = rng.uniform(0.2, 1.0, 2)
    rows, columns = image.shape
    y, x = (rng.random(2) * (1 - part) * (rows, columns)).astype(int)
    return image[y : y + max(16, int(part[0] * rows)), x : x + max(16, int(part[1] * columns))]


def _reshaped(rng: np.random.Generator, image: Plane) -> Plane:
    """One slice as many: a piece of it, pushed about, under another coil's light."""
    piece = warp(rng, _square(_piece(rng, image)), rng.uniform(0, 0.12), 3)
    if rng.random() < 0.5:
        piece = piece * (smooth_field(rng, piece.shape[0], 1.5) * rng.uniform(0.3, 1) + rng.uniform(0.1, 0.7))
    return rescale(piece)


def _captured(draw: Draw) -> Draw:
    """Now and then on a screen with text: neither tells what it shows."""

    def capture(rng: np.random.Generator) -> Plane:
        image = draw(rng)
        return ultrasound.on_screen(rng, image) if rng.random() < 0.08 else image

    return capture


def sources(data: Path, split: str) -> tuple[Source, ...]:
    """All sources, with the data kit's ``train`` or ``val`` pictures. HC18 is in the kit twice, with one origin."""
    return (*_radiographs(data, split), *_ultrasound(data, split), *_pictures(), *_phantoms())


def _kit(
    name: str, label: str, weight: float, images: Sequence[pictures.Grey], then: Then, origin: str | None = None
) -> Source:
    draw, origin = _one_of(images, then), origin or name
    return Source(name=name, label=label, weight=weight, origin=origin, draw=draw, whole=images, in_kit=True)


def _phantom(name: str, label: str, weight: float, draw: Draw) -> Source:
    return Source(name=name, label=label, weight=weight, origin=name, draw=draw)


def _radiographs(data: Path, split: str) -> tuple[Source, ...]:
    chest, tiny = pictures.kit_images(data, "xray_view", split), pictures.kit_pneumonia(data, split)
    return (
        _kit("hannover", "radiograph", 0.3, chest, _dressed),
        _kit("kermany-28", "radiograph", 0.25, tiny, lambda _, image: _square(image)),
        _phantom("phantom-projection", "radiograph", 0.45, radiograph.phantom),
    )


def _ultrasound(data: Path, split: str) -> tuple[Source, ...]:
    def phantom(rng: np.random.Generator) -> Plane:
        return _scan(rng, ultrasound.phantom(rng))

    return (
        _kit("busi", "ultrasound", 0.28, pictures.kit_images(data, "us_breast", split), _scan),
        _kit("hc18", "ultrasound", 0.25, pictures.kit_images(data, "us_head", split), _scan),
        _kit("hc18-cine", "ultrasound", 0.12, pictures.kit_cine(data, split), _scan, "hc18"),
        _phantom("phantom-speckle", "ultrasound", 0.35, phantom),
    )


def _pictures() -> tuple[Source, ...]:
    """Photographs, a few drawings and one MR slice, out of Python wheels."""

    def other(name: str, weight: float, images: Sequence[pictures.Grey], then: Then) -> Source:
        draw = _captured(_one_of(images, then))
        return Source(name=name, label="other", weight=weight, origin=name, draw=draw, whole=images)

    found = pictures.wheel_pictures()
    return (
        other("scikit-image", 0.35, found["scikit-image"], _piece),
        other("scikit-learn", 0.08, found["scikit-learn"], _piece),
        other("matplotlib", 0.08, found["matplotlib"], _piece),
        other("real-mr", 0.1, [pictures.wheel_mr()], _reshaped),
    )


def _phantoms() -> tuple[Source, ...]:
    """Whatever else is neither radiograph nor ultrasound, drawn."""
    drawn: tuple[tuple[str, float, Draw], ...] = (
        ("phantom-ct", 0.2, _captured(slices.ct)),
        ("phantom-mr", 0.18, _captured(slices.mr)),
        ("phantom-nuclear", 0.12, _captured(slices.nuclear)),
        ("masks", 0.03, slices.mask),
        ("documents", 0.04, ordinary.document),
        ("charts", 0.04, ordinary.chart),
        ("patterns", 0.06, ordinary.pattern),
        ("textures", 0.07, ordinary.texture),
        ("empty", 0.03, ordinary.empty),
        ("shapes", 0.04, _captured(ordinary.shapes)),
        ("dead-leaves", 0.08, _captured(natural.dead_leaves)),
        ("spectrum", 0.04, _captured(natural.spectrum)),
        ("scenes", 0.06, _captured(natural.scene)),
    )
    return tuple(_phantom(name, "other", weight, draw) for name, weight, draw in drawn)


def _dressed(rng: np.random.Generator, image: Plane) -> Plane:
    return radiograph.dress(rng, _piece(rng, image) if rng.random() < 0.4 else image)


class Preparation:
    """The card's transforms as one function: stored pixels -> (rows, columns) float32, as on the device."""

    def __init__(self, card: Card) -> None:
        specs = Registry.of(card.plugins).transforms
        self._steps: tuple[Transform, ...] = tuple(specs[s.transform].build(s.options) for s in card.transforms)

    def __call__(self, pixels: npt.NDArray[np.generic], photometric: str = "MONOCHROME2") -> Plane:
        """``pixels`` (rows, columns) of any integer dtype."""
        frame = Frame(
            pixels=np.ascontiguousarray(pixels),
            number=1,
            geometry=Geometry(source_rows=pixels.shape[0], source_columns=pixels.shape[1]),
            instance=InstanceRef(sop_class_uid="", sop_instance_uid=""),
            photometric_interpretation=photometric,
            bits_stored=8 * pixels.dtype.itemsize,
        )
        for step in self._steps:
            frame = step.apply(frame)
        return np.asarray(frame.pixels, np.float32)


def _turned(rng: np.random.Generator, label: str, image: Plane) -> Plane:
    """Ultrasound is shown probe side up; anything else may lie in any direction."""
    if label != "ultrasound" and rng.random() < 0.25:
        image = np.rot90(image, int(rng.integers(4)))
    return np.ascontiguousarray(image)


def sample(rng: np.random.Generator, source: Source) -> npt.NDArray[np.generic]:
    """One training image of a source, distorted, as a file would hold it."""
    for _ in range(5):
        image = distort(rng, _turned(rng, source.label, np.clip(source.draw(rng), 0, 1).astype(np.float32)))
        if source.label == "other" or float(image.std()) > 0.03:
            break
    return stored(rng, image)


def training_set(
    found: Sequence[Source], count: int, seed: int, prepare: Preparation
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``count`` images in ``SHARES``: (n, rows, columns) of 8 bit to save memory, label and source numbers."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(LABELS), size=count, p=SHARES)
    shares = np.array([[s.weight * (s.label == label) for s in found] for label in LABELS])
    shares /= shares.sum(axis=1, keepdims=True)
    origins = np.array([int(rng.choice(len(found), p=shares[label])) for label in labels])
    images = [(prepare(sample(rng, found[origin])) * 255).round().astype(np.uint8) for origin in origins]
    return np.stack(images), labels, origins


def evaluation_sets(
    found: Sequence[Source], prepare: Preparation, seed: int, drawn: int = 200
) -> Iterator[tuple[Source, npt.NDArray[np.float32]]]:
    """Each source with its images (n, rows, columns) as they are; a phantom draws ``drawn`` afresh, undistorted."""
    rng = np.random.default_rng(seed)
    for source in found:
        if source.whole:
            images = [prepare(image) for image in source.whole]
        else:
            images = [prepare((rescale(source.draw(rng)) * 255).round().astype(np.uint8)) for _ in range(drawn)]
        yield source, np.stack(images)


def provenance(data: Path) -> Mapping[str, str]:
    """Source -> digest of its real pictures, training split; refuses any that is a demo file."""
    found = sources(data, "train")
    for source in found:
        pictures.refuse_demo_files(source.whole)
    return {source.name: pictures.digest(source.whole) for source in found if source.whole}
