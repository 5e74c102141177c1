"""The report in words: how it ended, and ratios that say which way they go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from edgeai.bundle.evidence import Candidate, Estimate, Evidence, Gate, Load, Look, Trial
from edgeai.bundle.uses import GuardUse
from edgeai_workbench.abstaining import ABSTAINED, COVERED
from edgeai_workbench.card_parts import CardGuard
from edgeai_workbench.load import disturbed
from edgeai_workbench.spread import UNKNOWN, in_words

Item = TypeVar("Item")
_SAME = 0.05
"""Ratios this near to 1 are called the same."""
_NOTHING = 5e-5


def smaller(ratio: float) -> str:
    """``24 x smaller``, ``1.3 x larger`` or ``as large``; above 1 is smaller."""
    return _told(ratio, "smaller", "larger", "as large")


def faster(ratio: float) -> str:
    """``32 x faster``, ``5.3 x slower`` or ``as fast``; above 1 is faster."""
    return _told(ratio, "faster", "slower", "as fast")


def failed(evidence: Evidence) -> list[tuple[Candidate, Gate]]:
    """What keeps the bundle from being made: of the split that confirmed, else of the one that chose."""
    shipped = [row for row in evidence.trials[-1].models if row.ship]
    return [(row, verdict) for row in shipped for verdict in row.verdicts if not verdict.holds]


def guard_says(guard: CardGuard, trials: Sequence[Trial]) -> str:
    """What stands before the model, and what it withholds of the samples."""
    told = []
    if guard.content:
        told.append(
            "An image that shows nothing (constant, blank, clipped, noise, without texture) is withheld before the "
            "model"
        )
    else:
        told.append("Nothing looks at an image before the model: the card says `content = false`")
    if guard.standing is not None:
        labels, least = " or ".join(guard.standing.admit), guard.standing.min_score
        told.append(f"another model is asked first, and what it does not call {labels} with {least:g} is withheld")
    if guard.distance is not None:
        told.append(
            f"what is unlike the training images, by a bound that lets {guard.distance.true_accept:.0%} of proper "
            "ones pass, is withheld after it"
        )
    counts = [kept_back(trial.withheld, samples_of(trial)) for trial in trials if trial.withheld is not None]
    of_samples = f": {listed(counts)}" if counts else ""
    alone = " Figures are of the model alone." if guard.content or guard.standing or guard.distance else ""
    return f"{'; '.join(told)}{of_samples}.{alone}"


def abstention_says(guard: GuardUse, trials: Sequence[Trial]) -> str:
    """At which risk it abstains, and what came of that on the last samples; empty where it does not."""
    use = guard.abstention
    if use is None:
        return ""
    by = f", in each group of {use.by}" if use.by is not None else ""
    text = (
        f"A statement is made only where one answer alone is left at a risk of {use.risk:g}{by} (quantiles of "
        "validation, in `abstention.json`)"
    )
    last = trials[-1]
    rows = [row for row in last.models if row.ship] or last.models
    told = [
        f"{row.id} makes none of {estimate(row.figures[ABSTAINED])} of the {samples_of(last)}, and what is true is "
        f"among the answers that are left of {estimate(row.figures.get(COVERED)) or UNKNOWN}"
        for row in rows
        if ABSTAINED in row.figures
    ]
    return f"{'; '.join([text, *told])}."


def ended_says(trial: Trial) -> str:
    """Of how many samples the models make no statement, those that ship where any does; empty where of none."""
    rows = [row for row in trial.models if row.ship] or trial.models
    ended = [f"{row.id} makes no statement of {kept_back(row.ended, samples_of(trial))}" for row in rows if row.ended]
    return f"{'; '.join(ended)}." if ended else ""


def kept_back(withheld: Mapping[str, int], samples: str) -> str:
    """``none of the 40 samples of test``, ``2 of the 40 samples of test (guard.blank 2)``."""
    codes = ", ".join(f"{code} {count}" for code, count in withheld.items())
    return f"{sum(withheld.values()) or 'none'} of the {samples}{f' ({codes})' if codes else ''}"


def headline(evidence: Evidence) -> str:
    """How the build ended, in a sentence."""
    first = evidence.trials[0]
    shipped = [row for row in evidence.trials[-1].models if row.ship]
    verdicts = [verdict for row in shipped for verdict in row.verdicts]
    fails = failed(evidence)
    if first.constant:
        return f"There is no bundle: the parent gives all {first.samples} samples the same answer."
    if not fails and evidence.refused:
        return f"There is no bundle: {evidence.refused}."
    if fails:
        return f"There is no bundle: {len(fails)} of {len(verdicts)} gates {'fails' if len(fails) == 1 else 'fail'}."
    if not shipped:
        return "Nothing ships: no recipe of the card says so."
    what = "the artifact that ships" if len(shipped) == 1 else f"the {len(shipped)} artifacts that ship"
    if not verdicts:
        return "There is a bundle, and nothing was judged: the card sets no bound that asks for samples."
    return f"There is a bundle: {_all(len(verdicts))}, for {what}."


def sentence(row: Candidate, trial: Trial, last: Trial | None = None) -> str:
    """What was gained and what was lost with one artifact: the latter on the samples that count most.

    Args:
        row: the artifact, on the split that chose: sizes and times are the same on each.
        trial: that split.
        last: the split that confirmed, where one was opened.
    """
    judged = last or trial
    beside = next((each for each in judged.models if each.id == row.id), None)
    parts = []
    if row.size_ratio is not None:
        parts.append(f"{smaller(row.size_ratio)} {_than(row.size_ratio)} the parent's file")
    if row.time is not None and row.id != trial.reference:
        parts.append(f"{faster(row.time.ratio)} {_than(row.time.ratio)} {trial.reference}")
    if beside is None:
        return "; ".join([*parts, f"not asked of {samples_of(judged)}"])
    parent, figure = (one.figures.get(judged.main) for one in (judged.models[0], beside))
    drop = beside.drops.get(judged.main)
    if parent is not None and figure is not None and drop is not None:
        parts.append(
            f"{judged.main} {decimals(figure.value)} on {judged.split} where the parent has {decimals(parent.value)}: "
            f"a drop of {decimals(drop.value)} ({interval(drop)})"
        )
    if beside.agreement is not None:
        parts.append(f"decides as the parent in {beside.agreement * 100:.2f} % of {samples_of(judged)}")
    return "; ".join(parts)


def samples_of(trial: Trial) -> str:
    """``40 samples of validation``."""
    return f"{trial.samples} {'sample' if trial.samples == 1 else 'samples'} of {trial.split}"


def judged_on(evidence: Evidence) -> str:
    """Which samples judged, what else they were used for, and so what their figures are worth."""
    first, test = evidence.trials[0], evidence.of("test")
    chose = f"by which was chosen {listed(first.chosen)}" if first.chosen else "by which this build chose nothing"
    text = f"{first.samples} {first.split} samples{_grouped(first)}, {chose}"
    if test is not None:
        look = next((one for one in reversed(evidence.openings) if one.data == test.data), None)
        looks = f", opened {_looks(look)}" if look is not None else ""
        return f"{text}; what ships is confirmed below on {test.samples} samples of a test{_grouped(test)}{looks}"
    worth = (
        "so new data will say no better of it, and rather worse"
        if first.chosen
        else "and how training used them is not known"
    )
    return f"{text}, {worth}: the card has no [dataset.test] that was opened"


def near(trial: Trial) -> str:
    """How many images training saw too, but for how they are stored; empty where there are none."""
    if not trial.near:
        return ""
    are = "is an image" if trial.near == 1 else "are images"
    return (
        f"{trial.near} of the {samples_of(trial)} {are} of train, but for how they are stored: "
        f"figures on {trial.split} are better for it than new data will be"
    )


def loaded(load: Load | None) -> str:
    """How busy the machine was while times were taken, and whether that matters; empty where nobody watched."""
    if load is None or (load.share is None and load.others is None):
        return ""
    parts = []
    if load.others is not None:
        parts.append(f"other programmes kept {load.others:.1f} of {load.processors} processors busy")
    if load.share is not None:
        parts.append(f"this process had {min(load.share, 1.0) * 100:.0f} % of one")
    text = f"While they were taken, {' and '.join(parts)}."
    if not disturbed(load):
        return text
    return f"{text} WARNING: that is a busy machine; take them again on a quiet one before you rely on them."


def methods(trials: Iterable[Trial]) -> str:
    """How intervals were found: ``95 % intervals: auc_roc by score, DeLong; accuracy and f1 by Wilson``."""
    figures: dict[str, list[str]] = {}
    drops: dict[str, list[str]] = {}
    for row in (row for trial in trials for row in trial.models):
        for by, values in ((figures, row.figures), (drops, row.drops)):
            for name, figure in values.items():
                if figure.method and name not in (named := by.setdefault(figure.method, [])):
                    named.append(name)
    parts = [f"{listed(names)} by {method}" for method, names in figures.items()]
    parts += [f"the drop of {listed(names)} by {method}" for method, names in drops.items()]
    return "95 % intervals: " + "; ".join(parts) if parts else "There are no intervals"


def held_on(trials: Sequence[Trial]) -> str:
    """On which samples gates were held, and what counts of a drop; empty where there are none."""
    rows = [(trial, row) for trial in trials for row in trial.models if row.ship and row.verdicts]
    if not rows:
        return ""
    splits = dict.fromkeys(trial.split for trial, _ in rows)
    drops = any(verdict.gate.startswith("max_drop") for _, row in rows for verdict in row.verdicts)
    text = f"They are held on {', and again on the '.join(splits)}."
    text += " Of a drop the upper end of its interval counts." if drops else ""
    return f"{text} Figures are of the {samples_of(trials[-1])}."


def opened(look: Look) -> str:
    """``opened 2026-11-29, for the first time``."""
    return f"opened {look.date}, {_looks(look)}"


def decimals(value: float | None) -> str:
    """Four decimals, and no minus before zeros."""
    if value is None:
        return UNKNOWN
    return f"{0.0 if abs(value) < _NOTHING else value:.4f}"


def interval(figure: Estimate) -> str:
    """``0.9000 to 0.9500``; empty where there is none; in words where it has no length."""
    if figure.low is None or figure.high is None:
        return ""
    return in_words(figure.low, figure.high, decimals)


def estimate(figure: Estimate | None) -> str:
    """``0.9200 (0.9000 to 0.9500) mm``."""
    if figure is None:
        return ""
    unit = f" {figure.unit}" if figure.unit else ""
    ends = interval(figure)
    return f"{decimals(figure.value)} ({ends}){unit}" if ends else f"{decimals(figure.value)}{unit}"


def size(count: float | None) -> str:
    """Bytes for people."""
    if count is None:
        return ""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def chunks(names: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """So many at a time, so that a table of them fits a page."""
    return [names[start : start + most] for start in range(0, len(names), most)]


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def change(values: Sequence[int | None]) -> list[str]:
    """Beside each of a row of sizes, what became of it since the one before."""
    ratios = (before / after if before and after else None for before, after in pairwise(values))
    return ["", *("" if ratio is None else smaller(ratio) for ratio in ratios)]


def _grouped(trial: Trial) -> str:
    return "" if trial.units == trial.samples else f" (of {trial.units} groups)"


def _looks(look: Look) -> str:
    if not look.before:
        return "for the first time"
    return f"after {look.before} {'look' if look.before == 1 else 'looks'} before"


def _told(ratio: float, more: str, less: str, same: str) -> str:
    if abs(ratio - 1.0) < _SAME:
        return same
    word, times = (more, ratio) if ratio > 1.0 else (less, 1.0 / ratio if ratio > 0.0 else float("inf"))
    return f"{times:.1f} x {word}" if times < 9.95 else f"{times:.0f} x {word}"


def _than(ratio: float) -> str:
    return "as" if abs(ratio - 1.0) < _SAME else "than"


def _all(count: int) -> str:
    return "the gate holds" if count == 1 else f"all {count} gates hold"
