"""What gates look at of a row of a comparison, and the verdicts of a card that names no gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from edgeai_workbench.card import PARENT
from edgeai_workbench.defaults import Watched, default_verdicts
from edgeai_workbench.gates import Measured
from edgeai_workbench.spread import flat

if TYPE_CHECKING:
    from edgeai_workbench.comparison import Row


def by_default(row: Row, watched: Mapping[str, Watched], main: str) -> Row:
    """The row with the verdicts of a card that names no gate."""
    if row.id == row.variant:
        return row
    share = main if main in row.figures and not row.figures[main].unit else ""  # a default bound fits shares alone
    verdicts = default_verdicts(
        measured_of(row), watched[row.id], watched[row.variant], of_parent=row.variant == PARENT, main=share
    )
    return msgspec.structs.replace(row, verdicts=verdicts)


def measured_of(row: Row) -> Measured:
    """What gates look at, of a row."""
    return Measured(
        own_drops={metric: figure.high for metric, figure in row.own_drops.items()},
        decisions={metric: figure.high for metric, figure in row.decisions.items()},
        counted={metric: figure.counted for metric, figure in row.decisions.items()},
        undefined=row.undefined,
        flat={
            gate: [metric for metric, figure in figures.items() if flat(figure.low, figure.high)]
            for gate, figures in (
                *(("figure", row.figures), ("max_drop", row.drops)),
                *(("max_drop_own", row.own_drops), ("decision", row.decisions)),
            )
        },
        parts={name: {m: figure.value for m, figure in part.items()} for name, part in row.parts.items()},
        members=row.members,
        ends={metric: (figure.low, figure.high) for metric, figure in row.figures.items()},
        values={metric: figure.value for metric, figure in row.figures.items()},
        better={metric: figure.better for metric, figure in row.figures.items()},
        drops={metric: figure.high for metric, figure in row.drops.items()},
        agreement=row.agreement,
        size_ratio=1.0 / row.size_ratio,
        latency_ratio=1.0 / row.speed_ratio,
        withheld=row.withheld,
    )
