"""The report in words: how it ended, and ratios that say which way they go."""

from __future__ import annotations

from collections.abc import Sequence

from edgeai_workbench.comparison import Comparison, Row
from edgeai_workbench.confirming import Confirmed
from edgeai_workbench.gates import Verdict

_SAME = 0.05
"""Ratios this near to 1 are called the same."""
_NOTHING = 5e-5
LATENCY = "max_latency_ratio"


def smaller(ratio: float) -> str:
    """``24 x smaller``, ``1.3 x larger`` or ``as large``; above 1 is smaller."""
    return _told(ratio, "smaller", "larger", "as large")


def faster(ratio: float) -> str:
    """``32 x faster``, ``5.3 x slower`` or ``as fast``; above 1 is faster."""
    return _told(ratio, "faster", "slower", "as fast")


def judged(row: Row, *, timed: bool) -> list[Verdict]:
    """A row's verdicts; without times, those on times do not count."""
    return [verdict for verdict in row.verdicts if timed or verdict.gate != LATENCY]


def failed(comparison: Comparison, *, timed: bool = True) -> list[tuple[Row, Verdict]]:
    """What keeps the bundle from being made."""
    shipped = [row for row in comparison.rows if row.ship]
    return [(row, verdict) for row in shipped for verdict in judged(row, timed=timed) if not verdict.holds]


def headline(comparison: Comparison, *, timed: bool) -> str:
    """How the build ended, in a sentence."""
    shipped = [row for row in comparison.rows if row.ship]
    verdicts = [verdict for row in shipped for verdict in judged(row, timed=timed)]
    fails = failed(comparison, timed=timed)
    if fails:
        return f"There is no bundle: {len(fails)} of {len(verdicts)} gates {'fails' if len(fails) == 1 else 'fail'}."
    if not shipped:
        return "Nothing ships: no recipe of the card says so."
    what = "the artifact that ships" if len(shipped) == 1 else f"the {len(shipped)} artifacts that ship"
    if not verdicts:
        return "There is a bundle, and nothing was judged: the card sets no bound that asks for samples."
    return f"There is a bundle: {_all(len(verdicts))}, for {what}."


def sentence(row: Row, comparison: Comparison, *, timed: bool) -> str:
    """What was gained and what was lost with one artifact."""
    parts = [f"{smaller(row.size_ratio)} {_than(row.size_ratio)} the parent's file"]
    if timed and row.id != comparison.reference:
        parts.append(f"{faster(row.speed_ratio)} {_than(row.speed_ratio)} {comparison.reference}")
    parent, figure = (one.figures.get(comparison.main) for one in (comparison.rows[0], row))
    drop = row.drops.get(comparison.main)
    if parent is not None and figure is not None and drop is not None:
        parts.append(
            f"{comparison.main} {decimals(figure.value)} where the parent has {decimals(parent.value)}: a drop of "
            f"{decimals(drop.value)} ({decimals(drop.low)} to {decimals(drop.high)})"
        )
    parts.append(f"decides as the parent in {row.agreement * 100:.2f} % of {comparison.samples} samples")
    return "; ".join(parts)


def judged_on(comparison: Comparison, confirmed: Confirmed | None) -> str:
    """Which samples judged, what else they were used for, and so what their figures are worth."""
    count = comparison.samples
    if confirmed is None:
        return (
            f"{count} validation samples. They also chose (when training stopped, which layers stay in float), so new "
            "data will say no better of it, and rather worse: the card has no [dataset.test] that was opened"
        )
    before = confirmed.opening.before
    looks = "for the first time" if not before else f"after {before} {'look' if before == 1 else 'looks'} before"
    return (
        f"{count} validation samples, by which everything was chosen; what was chosen is confirmed below on "
        f"{confirmed.comparison.samples} samples of a test, opened {looks}"
    )


def methods(comparison: Comparison) -> str:
    """How intervals were found: ``95 % intervals: auc_roc by score, DeLong; accuracy and f1 by Wilson``."""
    figures: dict[str, list[str]] = {}
    drops: dict[str, list[str]] = {}
    for row in comparison.rows:
        for by, values in ((figures, row.figures), (drops, row.drops)):
            for name, figure in values.items():
                if figure.method and name not in (named := by.setdefault(figure.method, [])):
                    named.append(name)
    parts = [f"{_listed(names)} by {method}" for method, names in figures.items()]
    parts += [f"the drop of {_listed(names)} by {method}" for method, names in drops.items()]
    return "95 % intervals: " + "; ".join(parts) if parts else "There are no intervals"


def decimals(value: float) -> str:
    """Four decimals, and no minus before zeros."""
    return f"{0.0 if abs(value) < _NOTHING else value:.4f}"


def chunks(names: Sequence[str], most: int) -> list[Sequence[str]]:
    """So many at a time, so that a table of them fits a page."""
    return [names[start : start + most] for start in range(0, len(names), most)]


def _told(ratio: float, more: str, less: str, same: str) -> str:
    if abs(ratio - 1.0) < _SAME:
        return same
    word, times = (more, ratio) if ratio > 1.0 else (less, 1.0 / ratio if ratio > 0.0 else float("inf"))
    return f"{times:.1f} x {word}" if times < 9.95 else f"{times:.0f} x {word}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _than(ratio: float) -> str:
    return "as" if abs(ratio - 1.0) < _SAME else "than"


def _all(count: int) -> str:
    return "the gate holds" if count == 1 else f"all {count} gates hold"
