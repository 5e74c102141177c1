"""What the report draws of a segmenter: the samples that it gets worst, outlined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeai.api import Case, Drawing, Flags, Outline, Panel, Plane
from edgeai_tasks.segment.figures import overlap
from edgeai_tasks.segment.truth import source_mask

_WORST = 6
_NAME = 36
_LABEL, _MODEL = "#ffffff", "#4cc9f0"


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """A sample, and where a model saw its label."""

    case: Case
    seen: Callable[[], Flags]


def worst_cases(name: str, samples: Sequence[Outlined]) -> Drawing:
    """Those with the least Dice, the worst first."""
    dice = [overlap(source_mask(each.case), each.seen())[0] for each in samples]
    worst = np.argsort(np.nan_to_num(dice))[:_WORST]
    return Drawing(
        title=f"{name}: its worst cases",
        says="White and dashed: the label; blue: the model.",
        panels=tuple(_panel(samples[place], dice[place]) for place in worst),
        across=_WORST // 2,
        down=2,
        size_inches=(9.0, 5.0),
    )


def _panel(sample: Outlined, dice: float) -> Panel:
    return Panel(
        marks=(
            Plane(pixels=sample.case.image()),
            Outline(mask=source_mask(sample.case), colour=_LABEL, dashed=True),
            Outline(mask=sample.seen(), colour=_MODEL),
        ),
        title=f"{_short(sample.case.id)}\nDice {dice:.3f}",
        axes=False,
    )


def _short(name: str) -> str:
    """As much of a name as fits above its image."""
    return name if len(name) <= _NAME else f"...{name[3 - _NAME :]}"
