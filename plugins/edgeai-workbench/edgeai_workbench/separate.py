"""Splits that share nothing: no file, no image under another name or encoding, no patient.

What is judged by a sample that was learnt from, or chosen by, looks better than it is; so each pair of splits is held
apart before any work, and what is on two sides is named with its rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeai.api import Array, DataRejected

if TYPE_CHECKING:
    from edgeai_workbench.dataset import Sample

Thumbnails: TypeAlias = npt.NDArray[np.float32]
_SIDE = 16
_NEAR = 0.998
"""Correlation of two thumbnails from which images are one: encoded or scaled anew, or the next frame of a still."""
_FLAT = 1e-3
_AT_ONCE = 1024


def check_apart(
    train: Collection[Sample], validation: Collection[Sample], *, names: tuple[str, str] = ("train", "validation")
) -> None:
    """Nothing, when no file, no image and no group is on both sides.

    Images are compared by their pixels: the same one under two names would be judged by what it was trained on.

    Raises:
        DataRejected: ``data.split-overlap``, ``data.split-group``.
    """
    known, groups = {sample.id: sample for sample in train}, {sample.group: sample for sample in train}
    both = [f"{sample.id}{_rows(known[sample.id], sample)}" for sample in validation if sample.id in known]
    if both:
        raise _overlap(names, f"{_some(both)} in both")
    shared = {
        sample.group: f"{sample.group}{_rows(groups[sample.group], sample)}"
        for sample in validation
        if sample.group in groups
    }
    if shared:
        raise DataRejected(
            f"{' and '.join(names)} share {_some(list(shared.values()))}",
            code="data.split-group",
            remedy="put all samples of a patient or examination on one side",
        )
    pixels = {pixel_digest(sample): sample for sample in train}
    same = [(pixels[key], sample) for sample in validation if (key := pixel_digest(sample)) in pixels]
    if same:
        raise _overlap(names, f"{_pairs(same)}: the same pixels")


def check_all_apart(splits: Mapping[str, Sequence[Sample]], near: str = "test") -> None:
    """``check_apart`` of each pair; the split ``near`` shares no image that is nearly one of another's either.

    Raises:
        DataRejected: as ``check_apart``; ``data.split-near``.
    """
    for one, other in combinations(splits, 2):
        check_apart(splits[one], splits[other], names=(one, other))
    if near not in splits:
        return
    judged = _thumbnails(splits[near])
    for name, samples in splits.items():
        if name == near:
            continue
        if pairs := [(samples[a], splits[near][b]) for a, b in _near(_thumbnails(samples), judged)]:
            raise DataRejected(
                f"{name} and {near} share images, but for how they are stored: {_pairs(pairs)}",
                code="data.split-near",
                remedy="take them out of one of the tables",
            )


def nearly_in(train: Sequence[Sample], validation: Sequence[Sample]) -> tuple[str, ...]:
    """A line for each image of validation that is nearly one of train: what a test may not have, a build notes.

    Nothing where both are the same samples, as without labels.
    """
    if {sample.id for sample in train} & {sample.id for sample in validation}:
        return ()
    first = {b: a for a, b in reversed(_near(_thumbnails(train), _thumbnails(validation)))}
    return tuple(_pairs([(train[a], validation[b])]) for b, a in sorted(first.items()))


def pixel_digest(sample: Sample) -> bytes:
    """Of shape, kind and values of a sample's pixels."""
    array = sample.frame().pixels
    summed = hashlib.sha256(f"{array.shape}{array.dtype.str}".encode())
    summed.update(np.ascontiguousarray(array).tobytes())
    return summed.digest()


def _thumbnails(samples: Sequence[Sample]) -> Thumbnails:
    """(n, side * side), each of mean 0 and length 1; of one grey level alone all 0, which is like nothing."""
    return np.stack([_thumbnail(sample.frame().pixels) for sample in samples])


def _thumbnail(pixels: Array) -> npt.NDArray[np.float32]:
    grey = pixels.astype(np.float32)
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    small = Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    flat = grey.ravel() - grey.mean()
    length = float(np.linalg.norm(flat))
    size = float(np.abs(grey).max(initial=0.0)) * _SIDE
    thumbnail: npt.NDArray[np.float32] = flat / length if length > _FLAT * size else np.zeros_like(flat)
    return thumbnail


def _near(one: Thumbnails, other: Thumbnails) -> list[tuple[int, int]]:
    pairs = []
    for start in range(0, len(one), _AT_ONCE):
        alike = np.argwhere(one[start : start + _AT_ONCE] @ other.T >= _NEAR)
        pairs += [(start + int(a), int(b)) for a, b in alike]
    return pairs


def _rows(one: Sample, other: Sample) -> str:
    return f" ({one.row} and {other.row})" if one.row and other.row else ""


def _pairs(pairs: Sequence[tuple[Sample, Sample]]) -> str:
    return _some([f"{one.id} is {other.id}{_rows(one, other)}" for one, other in pairs])


def _overlap(names: tuple[str, str], what: str) -> DataRejected:
    return DataRejected(
        f"{' and '.join(names)} overlap: {what}",
        code="data.split-overlap",
        remedy="take it out of one of the tables",
    )


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
