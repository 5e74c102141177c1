"""Tables of the report that are the same in both of its forms: what they say is decided once, here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeai.bundle.evidence import Candidate, Estimate, Evidence, Trial
from edgeai_workbench.abstaining import OF_ABSTENTION
from edgeai_workbench.card import PARENT
from edgeai_workbench.openings import MOST
from edgeai_workbench.report.words import change, chunks, decimals, estimate, listed, samples_of, size
from edgeai_workbench.robustness import words as odd
from edgeai_workbench.robustness.results import from_plain
from edgeai_workbench.stress import words as wrong
from edgeai_workbench.stress.results import from_plain as wrong_from_plain

_COLUMNS = 3
"""Models beside the parent in one table of parts."""


class Code(str):
    """A name of the build's own: set as code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """``head`` names the columns; rows have as many cells."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading, a sentence on how to read it, tables, and lines."""

    title: str
    says: str = ""
    tables: tuple[Table, ...] = ()
    lines: tuple[str, ...] = ()


def sections(evidence: Evidence) -> list[Section]:
    """All that have something to say, in the order of the report."""
    every = [
        *(section for trial in evidence.trials for section in _parts(trial)),
        *_calibration(evidence.trials[-1]),
        *_steps(evidence.trials[0]),
        *_fronts(evidence.trials[0]),
        *_robustness(evidence),
        *_stress(evidence),
        *_openings(evidence),
        *_otherwise(evidence.trials[-1]),
    ]
    return [section for section in every if section.tables or section.lines]


# --- subgroups and labels -------------------------------------------------------------------------


def _parts(trial: Trial) -> Iterator[Section]:
    """Each subgroup and label: the parent, the variants and what ships side by side."""
    parent, *others = trial.models
    beside = [row for row in others if row.ship or row.id == row.variant]
    yield Section(
        title=f"By subgroup and label: {trial.split}",
        says=f"Of {samples_of(trial)}.",
        tables=tuple(_parts_table(trial, [parent, *some]) for some in chunks(beside, _COLUMNS) or [[]])
        if parent.parts
        else (),
    )


def _parts_table(trial: Trial, columns: Sequence[Candidate]) -> Table:
    asked = {metric for row in trial.models for verdict in row.verdicts for metric in [_metric(verdict.gate)]}
    rows = []
    for part in dict.fromkeys(part for row in columns for part in row.parts):
        figures: dict[str, Estimate] = {}
        for row in reversed(columns):  # what the parent's answers do not determine, another's may
            figures = row.parts.get(part, {}) | {n: f for n, f in figures.items() if n not in row.parts.get(part, {})}
        counted = str(trial.part_samples[part]) if part in trial.part_samples else ""
        for metric in _shown(figures, trial.main, asked):
            cells = (estimate(row.parts.get(part, {}).get(metric)) for row in columns)
            rows.append((part, counted, metric, *cells))
    return Table(head=("part", "samples", "metric", *(Code(row.id) for row in columns)), rows=tuple(rows))


def _shown(figures: dict[str, Estimate], main: str, asked: set[str]) -> list[str]:
    """The main figure, and those that a gate asks for; of a part without intervals (a label) all there are."""
    if all(figure.low is None for figure in figures.values()):
        return list(figures)
    return [name for name in figures if name == main or name in asked or name in OF_ABSTENTION] or list(figures)[:1]


def _metric(gate: str) -> str:
    """``worst_floors.auc_roc (sex=f)`` -> ``auc_roc``."""
    return gate.partition(".")[2].partition(" ")[0]


# --- probabilities ----------------------------------------------------------------------------------


def _calibration(trial: Trial) -> Iterator[Section]:
    rows = [(row, each) for row in trial.models if row.ship or row.id == PARENT for each in row.reliability]
    split = f"samples of {trial.split}"
    bins = tuple(
        (Code(row.id), each.name, decimals(one.said), decimals(one.happened), str(one.samples))
        for row, each in rows
        if row.ship
        for one in each.bins
    )
    yield Section(
        title="Calibration",
        says=f"On the {samples_of(trial)}. Expected calibration error: how far what is said and "
        "what happens lie apart, over bins of equal width; of few samples it is too high.",
        tables=(
            Table(
                head=("model", "probabilities", f"expected calibration error, {trial.split}"),
                rows=tuple((Code(row.id), each.name, decimals(each.error)) for row, each in rows),
            ),
            *((Table(head=("model", "probabilities", "said", "happened", split), rows=bins),) if bins else ()),
        )
        if rows
        else (),
    )


# --- what it cost -------------------------------------------------------------------------------------


def _steps(trial: Trial) -> Iterator[Section]:
    """Size, weights and work after each step, of each variant and of what ships."""
    rows = []
    told_already = {row.variant for row in trial.models if row.ship}
    for row in trial.models:
        if len(row.steps) < 2 or not (row.ship or (row.id == row.variant and row.id not in told_already)):
            continue
        told = [change([getattr(step, what) for step in row.steps]) for what in ("bytes", "parameters", "operations")]
        for step, of_size, of_weights, of_work in zip(row.steps, *told, strict=True):
            cells = (
                (size(step.bytes), of_size),
                (_count(step.parameters), of_weights),
                (_count(step.operations), of_work),
            )
            rows.append((Code(row.id), step.name, *(", ".join(filter(None, cell)) for cell in cells)))
    unknown = any(step.operations is None for row in trial.models for step in row.steps)
    yield Section(
        title="What each step saved",
        says="After each step, held against the step before. Operations are those of one inference, two a "
        "multiply-accumulate, as counted in the Keras model; a conversion is given those of the model it converts."
        + (" Where there are none, a layer's work is not known." if unknown else ""),
        tables=(Table(head=("model", "step", "size", "parameters", "operations"), rows=tuple(rows)),) if rows else (),
    )


def _count(number: int | None) -> str:
    if number is None:
        return ""
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= scale:
            return f"{number / scale:.3g} {letter}"
    return str(number)


def _fronts(trial: Trial) -> Iterator[Section]:
    by_id = {row.id: row for row in trial.models}
    rows = []
    for cost, names in trial.fronts.items():
        for row in (by_id[name] for name in names):
            spent = size(row.bytes) if row.time is None or cost == "size" else f"{row.time.median_ms:.3f} ms"
            rows.append((cost, Code(row.id), spent, estimate(row.figures.get(trial.main))))
    yield Section(
        title="The front",
        says=f"On the {samples_of(trial)}, by {listed(list(trial.fronts))}: models that no other of the {len(by_id)} "
        f"beats in both {trial.main} and cost, the cheapest first. Where intervals overlap, other samples may order "
        "them otherwise."
        if trial.fronts
        else "",
        tables=(Table(head=("cost", "model", "", f"{trial.main}, {trial.split}"), rows=tuple(rows)),) if rows else (),
    )


# --- the rest -------------------------------------------------------------------------------------------


def _robustness(evidence: Evidence) -> Iterator[Section]:
    measured = from_plain(evidence.robustness)
    if measured is None:
        return
    table = Table(head=odd.head(measured), rows=tuple(odd.cells(row, measured) for row in measured.rows))
    yield Section(
        title="Odd images", says=f"{odd.headline(measured)}.", tables=(table,), lines=tuple(odd.legend(measured))
    )
    if measured.shift is not None:
        yield Section(title="How far other data may differ", lines=tuple(odd.shift_lines(measured.shift)))


def _stress(evidence: Evidence) -> Iterator[Section]:
    measured = wrong_from_plain(evidence.stress or None)
    if measured is None:
        return
    head, *rows = wrong.table(measured)
    table = Table(head=(*head[:2], *map(Code, head[2:-1]), head[-1]), rows=tuple(rows))
    says = f"{wrong.headline(measured)}."
    yield Section(title=wrong.TITLE, says=says, tables=(table,), lines=tuple(wrong.legend(measured)))


def _openings(evidence: Evidence) -> Iterator[Section]:
    if not evidence.openings:
        return
    own = sum(look.model == evidence.digest for look in evidence.openings)
    rows = tuple(
        (look.date, Code(look.data[:19]), Code(look.model[:19]), ", ".join(look.artifacts), str(look.before))
        for look in evidence.openings
    )
    yield Section(
        title="Openings of the test",
        says=f"{len(rows)} in all, {own} of them for this model, which has {MOST}.",
        tables=(Table(head=("date", "data", "model", "artifacts", "looks at these data before"), rows=rows),),
    )


def _otherwise(trial: Trial) -> Iterator[Section]:
    rows = [row for row in trial.models if row.ship and row.otherwise and row.agreement is not None]
    yield Section(
        title="Decided otherwise than the parent",
        says=f"Of {samples_of(trial)}.",
        lines=tuple(
            f"{row.id}: {round((1 - (row.agreement or 0)) * trial.samples)}, {'' if len(row.otherwise) < 2 else 'as '}"
            f"{', '.join(row.otherwise)}"
            for row in rows
        ),
    )
