"""What training compares outputs with where it moves pictures: truth is moved by its judge, and targets are made anew.

A mask moves as its picture does, and a label stays. A length, a box or a point does neither: it is a number, and
another one once the picture is enlarged or mirrored. Of a task that says so (``Judge.moves_by_truth``), a picture that
is moved counts as a new source image: the plane that the model sees, at the scale of the old source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeai.api import Array, Case, DataRejected, Flags, Geometry, Judge, Tensors
from edgeai_workbench.arriving import arrived


class MovingTargets(dict[str, Array]):
    """See ``edgeai.api.MovableTargets``: targets by output name, (n, ...) float32, of n cases."""

    def __init__(self, targets: Tensors, cases: Sequence[Case], judge: Judge) -> None:
        super().__init__({name: value.astype(np.float32, copy=False) for name, value in targets.items()})
        self._cases, self._judge = tuple(cases), judge

    def at(self, places: Array) -> MovingTargets:
        """Those of the cases at these places, in this order."""
        chosen = np.asarray(places, int)
        part = {name: value[chosen] for name, value in self.items()}
        return MovingTargets(part, [self._cases[place] for place in chosen], self._judge)

    def moved(self, affines: Array) -> tuple[Tensors, Flags]:
        """Targets of the moved pictures, and of which anybody can say what is true; of the others, as before."""
        targets = {name: value.copy() for name, value in self.items()}
        known = np.zeros(len(self._cases), bool)
        for place, (case, affine) in enumerate(zip(self._cases, affines, strict=True)):
            made = self._targets(case, affine)
            if made is not None:
                known[place] = True
                for name, value in made.items():
                    targets[name][place] = value
        return targets, known

    def _targets(self, case: Case, affine: Array) -> Tensors | None:
        there = moved_case(case, affine, self._judge)
        if there is None:
            return None
        try:
            return self._judge.targets(there)
        except DataRejected:  # of this picture as it lies now
            return None


def moved_case(case: Case, affine: Array, judge: Judge) -> Case | None:
    """The case once its picture is moved in the plane that the model sees; ``None``: nobody can say what is true of it.

    Its pixels are still those of before: targets are made of what is true, and of where it is.

    Args:
        case: a sample as the model sees it.
        affine: (2, 3), takes points of the moved plane to the plane as it was, in its pixels, from their corners.
        judge: moves what is true.
    """
    frame = case.context.frame
    to_source = _square(np.reshape(frame.geometry.affine, (2, 3)))
    corners = [(0, 0), (frame.columns, 0), (0, frame.rows), (frame.columns, frame.rows)]
    reach = frame.geometry.to_source(corners)
    low = reach.min(axis=0)
    columns, rows = (max(1, round(extent)) for extent in (reach.max(axis=0) - low).tolist())
    there = _square(np.array([[1.0, 0.0, -low[0]], [0.0, 1.0, -low[1]]]))  # from the old source to the new one's origin
    back = to_source @ _square(np.asarray(affine, np.float64)) @ np.linalg.inv(to_source) @ np.linalg.inv(there)
    moved = _geometry(frame.geometry.source_rows, frame.geometry.source_columns, back)
    truth = judge.moved(case.truth, moved, (rows, columns))
    if truth is None:
        return None
    fresh = arrived(frame.geometry, moved, rows, columns)
    geometry = replace(fresh, affine=_geometry(rows, columns, there @ to_source).affine)
    context = replace(case.context, frame=replace(frame, geometry=geometry))
    return replace(case, truth=truth, context=context)


def _square(affine: Array) -> Array:
    """(3, 3) of (2, 3)."""
    return np.vstack((affine, (0.0, 0.0, 1.0)))


def _geometry(rows: int, columns: int, matrix: Array) -> Geometry:
    a, b, c, d, e, f = matrix[:2].ravel().tolist()
    return Geometry(source_rows=rows, source_columns=columns, affine=(a, b, c, d, e, f))
