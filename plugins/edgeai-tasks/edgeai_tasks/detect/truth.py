"""What is true of an image: boxes of a table's columns, or those about the pieces of a mask."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from edgeai.api import Case, Cells, DataRejected, EvaluationFailed, Flags, Geometry, PictureFile
from edgeai_tasks.detect.boxes import Boxes, Numbers, areas, carried, clipped
from edgeai_tasks.libraries import needed
from edgeai_tasks.segment.truth import MovedMask, flags_of, source_mask

SIDES: Final = ("x0", "y0", "x1", "y1")
_FORM: Final = '[[x0, y0, x1, y1], ...], or [{"box": [x0, y0, x1, y1], "label": "..."}, ...]'
_EIGHT: Final = np.ones((3, 3), bool)
"""Pixels that touch at a corner are of one piece."""


@dataclass(frozen=True, slots=True)
class TrueBoxes:
    """Boxes in pixels of the source image, each with the place of its label; none is an image without any."""

    boxes: tuple[tuple[float, float, float, float], ...] = ()
    labels: tuple[int, ...] = ()

    def arrays(self) -> tuple[Boxes, Numbers]:
        """(n, 4) and (n,)."""
        return np.array(self.boxes, np.float64).reshape(-1, 4), np.array(self.labels, np.intp)


Truth: TypeAlias = TrueBoxes | PictureFile
"""Boxes; or a mask, which is loaded when it is wanted, and whose pieces have boxes."""


def read(cells: Cells, labels: tuple[str, ...]) -> Truth | None:
    """What a row says: ``boxes``, or one box of four columns, or ``mask``; ``None`` where the card names none."""
    if cells.has("boxes"):
        return _listed(cells, labels)
    given = [side for side in SIDES if cells.has(side)]
    if given:
        return _single(cells, labels, given)
    return cells.picture("mask") if cells.has("mask") else None


def true_boxes(case: Case) -> tuple[Boxes, Numbers]:
    """(n, 4) in pixels of the source, and (n,): places of their labels.

    Raises:
        DataRejected: ``data.box-outside``: a box that is not in the image; and as ``source_mask``.
    """
    geometry = case.context.frame.geometry
    if not isinstance(case.truth, TrueBoxes):
        boxes = pieces(source_mask(case))
        return boxes, np.zeros(len(boxes), np.intp)
    boxes, places = case.truth.arrays()
    inside = clipped(boxes, geometry.source_rows, geometry.source_columns)
    if len(boxes) and not (areas(inside) > 0).all():
        box = ", ".join(f"{value:g}" for value in boxes[int(np.argmin(areas(inside)))])
        raise DataRejected(
            f"{case.id}: the box {box} is not in the image, which has {geometry.source_rows} x "
            f"{geometry.source_columns} pixels",
            code="data.box-outside",
            remedy="x0, y0, x1, y1 in pixels of the image as it is stored, outer edges",
        )
    return inside, places


def pieces(mask: Flags) -> Boxes:
    """(n, 4): the box about each piece of a mask, from the top left on."""
    ndimage: Any = needed("scipy.ndimage")
    numbered, _ = ndimage.label(mask, structure=_EIGHT)
    cuts = [cut for cut in ndimage.find_objects(numbered) if cut is not None]
    edges = [(x.start, y.start, x.stop, y.stop) for y, x in cuts]
    return np.array(edges, np.float64).reshape(-1, 4)


def digest_of(truth: Truth) -> bytes:
    """What tells one truth from another: of a mask its pixels, not how a file packs them."""
    if isinstance(truth, TrueBoxes):
        return repr(sorted(zip(truth.boxes, truth.labels, strict=True))).encode()
    mask = flags_of(truth)
    return f"{mask.shape}".encode() + np.packbits(mask).tobytes()


def moved(truth: Truth, geometry: Geometry, extent: tuple[int, int]) -> Truth | None:
    """As ``Judge.moved``; of boxes that are turned by less than a right angle nobody can say."""
    if not isinstance(truth, TrueBoxes):
        return MovedMask(truth, geometry, extent)
    a, b, _, d, e, _ = geometry.affine
    if not (b == d == 0.0 or a == e == 0.0):
        return None
    boxes, places = truth.arrays()
    there = np.round(clipped(carried(boxes, geometry.from_source), *extent), 6)
    kept = areas(there) > 0
    rows = [(row[0], row[1], row[2], row[3]) for row in there[kept].tolist()]
    return TrueBoxes(tuple(rows), tuple(places[kept].tolist()))


def one_label(truth: Truth, labels: tuple[str, ...]) -> None:
    """Nothing, where the truth says of which label it is.

    Raises:
        EvaluationFailed: ``evaluate.no-truth``: a mask, and several labels.
    """
    if not isinstance(truth, TrueBoxes) and len(labels) != 1:
        raise EvaluationFailed(
            f"the data has one mask a sample, the model {len(labels)} labels",
            code="evaluate.no-truth",
            remedy="a column of boxes says which label each is of",
        )


def _listed(cells: Cells, labels: tuple[str, ...]) -> TrueBoxes:
    text = cells.text("boxes")
    try:
        listed = json.loads(text) if text.strip() else []
    except ValueError:
        listed = None
    if not isinstance(listed, list):
        raise cells.wrong(f"{cells.columns('boxes')[0]} is {text!r}, not {_FORM}", code="data.value-invalid")
    boxes, places = [], []
    for item in listed:
        is_table = isinstance(item, dict)
        boxes.append(_box(cells, item.get("box") if is_table else item))
        places.append(_place(cells, labels, item.get("label") if is_table else None))
    return TrueBoxes(tuple(boxes), tuple(places))


def _single(cells: Cells, labels: tuple[str, ...], given: list[str]) -> TrueBoxes:
    """The box of four columns; no box where all four are empty."""
    missing = [side for side in SIDES if side not in given]
    if missing:
        raise cells.wrong(
            f"a box needs {', '.join(SIDES)}, and the card names no {missing[0]}", code="data.value-invalid"
        )
    if not any(cells.text(side).strip() for side in SIDES):
        return TrueBoxes()
    box = _box(cells, [cells.number(side) for side in SIDES])
    word = cells.text("label") if cells.has("label") else None
    return TrueBoxes((box,), (_place(cells, labels, word),))


def _box(cells: Cells, value: Any) -> tuple[float, float, float, float]:
    fits = isinstance(value, list) and len(value) == 4 and all(_is_number(side) for side in value)
    if not fits:
        raise cells.wrong(f"{value!r} is no box, which is x0, y0, x1, y1", code="data.value-invalid")
    x0, y0, x1, y1 = (float(side) for side in value)
    if x1 <= x0 or y1 <= y0:
        raise cells.wrong(f"the box {value} ends before it begins", code="data.value-invalid")
    return x0, y0, x1, y1


def _place(cells: Cells, labels: tuple[str, ...], word: Any) -> int:
    """Of its label; where there is one alone, nobody has to say it."""
    if word is None and len(labels) == 1:
        return 0
    if word not in labels:
        what = "says no label" if word is None else f"is of {word!r}"
        raise cells.wrong(f"a box {what}, not one of {', '.join(labels)}", code="data.label-unknown")
    return labels.index(word)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
