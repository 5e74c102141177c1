"""Robustness for people: the same cells in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Sequence

from edgeai_workbench.robustness.results import Part, Robustness, Row, Shift

HEAD = ("images", "model", "right", "withheld", "confidently wrong", "fall of right", "as plain")


def headline(measured: Robustness) -> str:
    """Of which images, in a sentence."""
    groups = f" of {measured.groups} groups" if measured.groups < measured.samples else ""
    some = f"{measured.samples} of {measured.of}" if measured.samples < measured.of else f"all {measured.of}"
    return (
        f"Odd images: {some} images of the {measured.split}{groups}, spoilt before the card's transforms (seed "
        f"{measured.seed}); confidently wrong is a wrong statement of confidence {measured.confident:g} or more, or "
        "of none"
    )


def head(measured: Robustness) -> tuple[str, ...]:
    """The columns; the last is the main figure of what was answered, where there is one."""
    return (*HEAD, *([measured.main] if measured.main else []))


def cells(row: Row, measured: Robustness) -> tuple[str, ...]:
    """One row; what could not be asked is empty."""
    shares = (row.right, row.withheld, row.confidently_wrong, row.fall if row.kind != "plain" else None, row.alike)
    return (row.kind, row.model, *map(share, shares), *([figure(row.main)] if measured.main else []))


def legend(measured: Robustness) -> list[str]:
    """What each kind is, and what could not be asked and why."""
    kinds = {row.kind: row for row in measured.rows}
    lines = [f"{kind}: {row.says}" + (f" ({row.why})" if row.why else "") for kind, row in kinds.items()]
    refused: dict[str, int] = {}
    for row in measured.rows:
        for code, count in row.refusals.items():
            refused[code] = refused.get(code, 0) + count
    return lines + [f"refused, so withheld: {count} answers with {code}" for code, count in sorted(refused.items())]


def shift_lines(shift: Shift) -> list[str]:
    """How far other data may differ: a sentence a model, the method, what is known from elsewhere."""
    lines = [
        f"{one.model}: {shift.figure} {figure(one.plain)} here; on another hospital's images {figure(one.shifted)}, at "
        f"the worst of {shift.hospitals} simulated hospitals {_number(one.worst, one.plain.unit)}"
        + (f"; {one.withheld:.1%} withheld" if one.withheld else "")
        for one in shift.models
    ]
    lines.append(f"Method: {shift.method}." + (f" Here, {shift.why}." if shift.why else ""))
    lines.append("Not simulated: other patients, prevalence, diseases, labels and readers, which take more.")
    return [*lines, *([f"Known from elsewhere: {shift.literature}"] if shift.literature else [])]


def lines_of(measured: Robustness | None) -> list[str]:
    """All of it, for a terminal; nothing where nothing was measured."""
    if measured is None:
        return []
    rows = [head(measured), *(cells(row, measured) for row in measured.rows)]
    lines = ["", headline(measured) + ".", *aligned(rows), "", *legend(measured)]
    if measured.shift is not None:
        lines += ["", "How far other data may differ", *shift_lines(measured.shift)]
    return lines


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns, the first row above the others."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def share(part: Part | None) -> str:
    """Per cent, with the interval."""
    if part is None:
        return ""
    value = f"{part.value:.1%}"
    return value if part.low is None or part.high is None else f"{value} ({part.low:.0%} to {part.high:.0%})"


def figure(part: Part | None) -> str:
    """A figure with its unit and interval."""
    if part is None:
        return ""
    value = _number(part.value, part.unit)
    if part.low is None or part.high is None:
        return value
    return f"{value} ({_number(part.low, '')} to {_number(part.high, '')})"


def _number(value: float, unit: str) -> str:
    return f"{value:.3f} {unit}".rstrip()
