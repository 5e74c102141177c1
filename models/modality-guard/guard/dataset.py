"""Sources, how they are mixed, and the tensors that the network sees: made by the card's own transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgeai.api import Frame, Geometry, InstanceRef, Transform
from edgeai.build.card import Card
from edgeai.plugins import Registry
from guard import ordinary, pictures, radiograph, slices, ultrasound
from guard.distort import distort, stored
from guard.fields import Plane, rescale, smooth_field, warp

LABELS = ("radiograph", "ultrasound", "other")
SHARES = (0.27, 0.29, 0.44)
"""Of the training images; the last is the most varied."""
Draw = Callable[[np.random.Generator], Plane]
Then = Callable[[np.random.Generator, Plane], Plane]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One origin of images.

    Attributes:
        weight: share within its label when training.
        fold: the fold that holds it out, or ``None`` for phantoms of a label whose real images are held out anyway.
        whole: the images as they are, for evaluation; empty for phantoms, which draw afresh.
    """

    name: str
    label: str
    weight: float
    fold: int | None
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
    """All sources, with the data kit's ``train`` or ``val`` pictures. HC18 is in the kit twice, and held out as one."""
    return (*_radiographs(data, split), *_ultrasound(data, split), *_pictures(), *_phantoms())


def _kit(name: str, label: str, weight: float, fold: int, images: Sequence[pictures.Grey], then: Then) -> Source:
    draw = _one_of(images, then)
    return Source(name=name, label=label, weight=weight, fold=fold, draw=draw, whole=images, in_kit=True)


def _radiographs(data: Path, split: str) -> tuple[Source, ...]:
    chest, tiny = pictures.kit_images(data, "xray_view", split), pictures.kit_pneumonia(data, split)
    return (
        _kit("hannover", "radiograph", 0.45, 1, chest, _dressed),
        _kit("kermany-28", "radiograph", 0.15, 0, tiny, lambda _, image: _square(image)),  # 28x28: a weak source
        Source(name="phantom-projection", label="radiograph", weight=0.4, fold=None, draw=radiograph.phantom),
    )


def _ultrasound(data: Path, split: str) -> tuple[Source, ...]:
    def phantom(rng: np.random.Generator) -> Plane:
        return _scan(rng, ultrasound.phantom(rng))

    return (
        _kit("busi", "ultrasound", 0.3, 1, pictures.kit_images(data, "us_breast", split), _scan),
        _kit("hc18", "ultrasound", 0.25, 0, pictures.kit_images(data, "us_head", split), _scan),
        _kit("hc18-cine", "ultrasound", 0.1, 0, pictures.kit_cine(data, split), _scan),
        Source(name="phantom-speckle", label="ultrasound", weight=0.35, fold=None, draw=phantom),
    )


def _pictures() -> tuple[Source, ...]:
    """Photographs and one MR slice out of Python wheels."""

    def other(name: str, weight: float, fold: int, images: Sequence[pictures.Grey], then: Then) -> Source:
        draw = _captured(_one_of(images, then))
        return Source(name=name, label="other", weight=weight, fold=fold, draw=draw, whole=images)

    found = [picture for _, picture in sorted(pictures.wheel_pictures().items())]
    return (
        other("pictures-a", 0.1, 0, found[::2], _piece),
        other("pictures-b", 0.1, 1, found[1::2], _piece),
        other("real-mr", 0.12, 1, [pictures.wheel_mr()], _reshaped),
    )


def _phantoms() -> tuple[Source, ...]:
    """Whatever else is neither radiograph nor ultrasound, drawn."""
    drawn: tuple[tuple[str, float, int, Draw], ...] = (
        ("phantom-ct", 0.22, 0, _captured(slices.ct)),
        ("phantom-mr", 0.32, 1, _captured(slices.mr)),
        ("phantom-nuclear", 0.2, 0, _captured(slices.nuclear)),
        ("masks", 0.03, 1, slices.mask),
        ("documents", 0.05, 0, ordinary.document),
        ("charts", 0.04, 1, ordinary.chart),
        ("patterns", 0.08, 0, ordinary.pattern),
        ("textures", 0.09, 1, ordinary.texture),
        ("empty", 0.03, 0, ordinary.empty),
        ("shapes", 0.04, 1, _captured(ordinary.shapes)),
    )
    return tuple(
        Source(name=name, label="other", weight=weight, fold=fold, draw=draw) for name, weight, fold, draw in drawn
    )


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
    """Each source with its images as they are; a phantom draws ``drawn`` afresh, undistorted."""
    rng = np.random.default_rng(seed)
    for source in found:
        if source.whole:
            images = [prepare(image) for image in source.whole]
        else:
            images = [prepare((rescale(source.draw(rng)) * 255).round().astype(np.uint8)) for _ in range(drawn)]
        yield source, np.stack(images)[..., np.newaxis]


def provenance(data: Path) -> Mapping[str, str]:
    """Source -> digest of its real pictures, training split; refuses any that is a demo file."""
    found = sources(data, "train")
    for source in found:
        pictures.refuse_demo_files(source.whole)
    return {source.name: pictures.digest(source.whole) for source in found if source.whole}
