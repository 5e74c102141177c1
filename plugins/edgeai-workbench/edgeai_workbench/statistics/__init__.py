"""Figures of merit, each with its source, its unit, and what it says where it is undefined.

Point values come from scikit-learn and SciPy where they have the figure; over resamples the same figure is computed
for all of them at once, from how often each resample drew each sample (``Weights``).
"""

from edgeai.api import Figure
from edgeai.api import FigureUndefined as Undefined
from edgeai_workbench.statistics.bootstrap import Design, Interval, Values, Weights, interval
from edgeai_workbench.statistics.decided import decided_of
from edgeai_workbench.statistics.intervals import interval_of
from edgeai_workbench.statistics.paired import Gap, difference_of

__all__ = [
    "Design",
    "Figure",
    "Gap",
    "Interval",
    "Undefined",
    "Values",
    "Weights",
    "decided_of",
    "difference_of",
    "interval",
    "interval_of",
]
