"""What the network learns from and is judged by: the card's own transforms make the planes that it sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from guard import pictures
from guard.dataset import Preparation
from guard.fields import Plane

from anatomy import looks, wrong
from anatomy.kit import Grey, Kit, kit

LABELS = ("chest", "child-chest", "fetal-head", "turned", "inverted", "other")
Images = npt.NDArray[np.uint8]
SHARES = {
    "chest": 0.17,
    "child-chest": 0.17,
    "fetal-head": 0.1,
    "turned": 0.14,
    "inverted": 0.12,
    "breast": 0.06,
    "picture": 0.09,
    "drawn": 0.11,
    "piece": 0.04,
}
"""Of the training images, by what they are made of."""
OF = {"breast": "other", "picture": "other", "drawn": "other", "piece": "other"}
DRAWINGS = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """Images to draw from; those that are held out are in ``held`` of each of the kit's."""

    chest: Kit
    child: Kit
    head: Kit
    breast: Kit
    pictures: list[Grey]
    drawn: list[Grey]


def pools(data: Path, seed: int) -> Pools:
    """All that there is, read or drawn once."""
    return Pools(
        chest=kit(data, "xray_view"),
        child=kit(data, "xray_pneumonia28"),
        head=kit(data, "us_head"),
        breast=kit(data, "us_breast"),
        pictures=[*pictures.wheel_pictures()["scikit-image"], pictures.wheel_mr()],
        drawn=wrong.drawn(np.random.default_rng([seed, 1]), DRAWINGS),
    )


def unlearnt_pictures() -> list[Grey]:
    """The pictures that nothing learns from: those of two wheels."""
    wheels = pictures.wheel_pictures()
    return [*wheels["scikit-learn"], *wheels["matplotlib"]]


def training_set(have: Pools, count: int, seed: int, prepare: Preparation) -> tuple[Images, npt.NDArray[np.int64]]:
    """``count`` images, (n, 28, 28) of 8 bit, and the number of the label of each."""
    rng = np.random.default_rng([seed, 2])
    kinds = rng.choice(list(SHARES), count, p=np.array(list(SHARES.values())) / sum(SHARES.values()))
    images = [_stored(prepare(wrong.stored(_of(rng, kind, have)))) for kind in kinds]
    labels = np.array([LABELS.index(OF.get(kind, kind)) for kind in kinds])
    return np.stack(images), labels


def _of(rng: np.random.Generator, kind: str, have: Pools) -> Plane:
    chest, child, head = have.chest.learnt, have.child.learnt, have.head.learnt
    either = chest if rng.random() < 0.5 else child
    if kind == "chest":
        return looks.proper(rng, _one(rng, chest))
    if kind == "child-chest":
        return looks.proper(rng, _one(rng, child))
    if kind == "fetal-head":
        return _head(rng, _one(rng, head))
    if kind == "turned":
        return looks.turned(rng, looks.proper(rng, _one(rng, either)))
    if kind == "inverted":
        upright = _head(rng, _one(rng, head)) if rng.random() < 0.25 else looks.proper(rng, _one(rng, either))
        return 1 - (looks.turned(rng, upright) if rng.random() < 0.2 else upright)
    if kind == "piece":
        whole = _one(rng, either)
        part = looks.shuffled(rng, whole) if rng.random() < 0.4 else looks.piece(rng, whole, 0.15, 0.5)
        return looks.anyhow(rng, part)
    source = {"breast": have.breast.learnt, "picture": have.pictures, "drawn": have.drawn}[kind]
    whole = _one(rng, source)
    return looks.anyhow(rng, looks.piece(rng, whole) if kind == "picture" else whole)


def _head(rng: np.random.Generator, image: Plane) -> Plane:
    """A head has no up: it lies as the fetus does."""
    image = image[::-1] if rng.random() < 0.3 else image
    return looks.proper(rng, np.ascontiguousarray(image), square=0.15)


def _one(rng: np.random.Generator, images: Sequence[Grey]) -> Plane:
    return images[int(rng.integers(len(images)))].astype(np.float32) / 255


def _stored(plane: npt.NDArray[np.floating]) -> Images:
    return (plane * 255).round().astype(np.uint8)


CHANGES: dict[str, Callable[[Grey], Grey]] = {
    "as it is": lambda image: image,
    "inverted": lambda image: 255 - image,
    "upside down": lambda image: image[::-1],
    "on its side": lambda image: np.rot90(image),
    "mirrored": lambda image: image[:, ::-1],
}
