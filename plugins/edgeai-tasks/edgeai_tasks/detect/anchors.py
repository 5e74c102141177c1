"""The anchors of an SSD: as they are given, or generated as the TensorFlow object detection API does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from edgeai_tasks.detect.boxes import Boxes

_KEYS: Final = {"grids", "min_scale", "max_scale", "aspect_ratios", "interpolated", "reduce_lowest"}
_RATIOS: Final = (1.0, 2.0, 0.5, 3.0, 1.0 / 3.0)
_MOST: Final = 100_000


def anchors_of(value: Any) -> Boxes:
    """(n, 4): x0, y0, x1, y1 in shares of the plane.

    Args:
        value: rows of (y, x, h, w) in shares of the plane, as TFLite_Detection_PostProcess has them; or a table of
            ``grids`` and how anchors are made on them.

    Raises:
        ValueError: neither.
    """
    if isinstance(value, Mapping):
        rows = _generated(value)
    elif isinstance(value, list | tuple) and value:
        rows = [_row(row) for row in value]
    else:
        raise ValueError(f"are {value!r}, neither rows of y, x, h, w nor a table with grids")
    y, x, h, w = np.array(rows, np.float64).T
    return np.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), axis=1)


def _row(row: Any) -> tuple[float, ...]:
    if not isinstance(row, list | tuple) or len(row) != 4 or not all(_is_number(value) for value in row):
        raise ValueError(f"have {row!r}, not four finite numbers: y, x, h, w")
    if min(row[2:]) <= 0:
        raise ValueError(f"have {row!r}, whose h and w are not above 0")
    return tuple(float(value) for value in row)


def _generated(table: Mapping[str, Any]) -> list[tuple[float, ...]]:
    """See ``multiple_grid_anchor_generator.create_ssd_anchors``: level by level, row by row, place by place."""
    if strange := sorted(set(table) - _KEYS):
        raise ValueError(f"have {strange[0]!r}; a table takes {', '.join(sorted(_KEYS))}")
    grids = _grids(table.get("grids"))
    specs = _specs(table, len(grids))
    if sum(rows * columns * len(each) for (rows, columns), each in zip(grids, specs, strict=True)) > _MOST:
        raise ValueError(f"would be more than {_MOST}")
    return [
        ((row + 0.5) / rows, (column + 0.5) / columns, scale / math.sqrt(ratio), scale * math.sqrt(ratio))
        for (rows, columns), each in zip(grids, specs, strict=True)
        for row in range(rows)
        for column in range(columns)
        for scale, ratio in each
    ]


def _specs(table: Mapping[str, Any], levels: int) -> list[list[tuple[float, float]]]:
    """(scale, aspect ratio) of each anchor of a place, level by level."""
    least, most = (_positive(table, name, default) for name, default in (("min_scale", 0.2), ("max_scale", 0.95)))
    ratios = table.get("aspect_ratios", _RATIOS)
    if not isinstance(ratios, list | tuple) or not ratios or not all(_is_number(r) and r > 0 for r in ratios):
        raise ValueError(f"have aspect_ratios {ratios!r}, not a list of numbers above 0")
    between = table.get("interpolated", 1.0)
    if not _is_number(between) or between < 0:
        raise ValueError(f"have interpolated {between!r}, not a number from 0")
    reduced = table.get("reduce_lowest", True)
    if not isinstance(reduced, bool):
        raise ValueError(f"have reduce_lowest {reduced!r}, not true or false")
    scales = [least + (most - least) * level / max(1, levels - 1) for level in range(levels)] + [1.0]
    specs = []
    for level, (scale, larger) in enumerate(pairwise(scales)):
        if level == 0 and reduced:
            specs.append([(0.1, 1.0), (scale, 2.0), (scale, 0.5)])
            continue
        middle = [(math.sqrt(scale * larger), float(between))] if between else []
        specs.append([(scale, float(ratio)) for ratio in ratios] + middle)
    return specs


def _grids(value: Any) -> Sequence[tuple[int, int]]:
    def fits(grid: Any) -> bool:
        return isinstance(grid, list | tuple) and len(grid) == 2 and all(type(n) is int and n > 0 for n in grid)

    if not isinstance(value, list | tuple) or not value or not all(fits(grid) for grid in value):
        raise ValueError(f"have grids {value!r}, not a list of [rows, columns]")
    return [(grid[0], grid[1]) for grid in value]


def _positive(table: Mapping[str, Any], name: str, default: float) -> float:
    value = table.get(name, default)
    if not _is_number(value) or value <= 0:
        raise ValueError(f"have {name} {value!r}, not a number above 0")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
