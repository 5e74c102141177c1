"""When two models say the same of where something is: as many boxes of the same label, each at its own place."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from edgeai.api import Findings
from edgeai_tasks.detect.boxes import SAME, Boxes, paired

KIND = "detect"


def difference(before: Findings, now: Findings) -> str:
    """See ``ComparingTask``."""
    old, new = _by_label(before), _by_label(now)
    for label, frame in {**old, **new}:
        one, other = old.get((label, frame), _NONE), new.get((label, frame), _NONE)
        where = f"{label} in frame {frame}" if frame is not None else label
        if len(one) != len(other):
            return f"{where}: {len(one)} boxes, and now {len(other)}"
        if len(paired(one, other)) < len(one):
            return f"{where} lies elsewhere: boxes overlap by less than {SAME:g}"
    return ""


def _by_label(findings: Findings) -> dict[tuple[str, int | None], Boxes]:
    each: dict[tuple[str, int | None], list[tuple[float, ...]]] = defaultdict(list)
    for finding in findings:
        if finding.kind == KIND and finding.present and finding.region is not None and finding.region.box is not None:
            each[finding.label, finding.frame_number].append(finding.region.box)
    return {key: np.array(boxes, np.float64) for key, boxes in each.items()}


_NONE: Boxes = np.zeros((0, 4))
