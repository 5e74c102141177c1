"""The table at the end: rich on a terminal, aligned plain lines in a pipe, where rich would cut at 80 columns."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgeai.api.results import Outcome, Result
from edgeai.cli.wording import agreements, disagrees, finding_says, printable, probability_says

COLUMNS = ("file", "outcome", "finding", "probability", "backend", "device", "ms")
_COLOURS = {Outcome.COMPLETED: "green", Outcome.NOT_APPLICABLE: "yellow", Outcome.FAILED: "red"}


def print_results(paths: Sequence[Path], results: Sequence[Result]) -> None:
    """A row an instance, and a line that counts the outcomes."""
    names = _short(paths)
    rows = [_row(name, result) for name, result in zip(names, results, strict=True)]
    if sys.stdout.isatty():
        _rich(rows, results)
    else:
        _plain(rows)
    counts = Counter(str(result.outcome) for result in results)
    counted = ", ".join(f"{counts[str(outcome)]} {outcome}" for outcome in Outcome if counts[str(outcome)])
    warned = sum(any(disagrees(f) for f in agreements(result)) for result in results)
    print(counted + (f"; {warned} DISAGREE with their header" if warned else ""))


def _row(name: str, result: Result) -> tuple[str, ...]:
    engine = result.engine
    return (
        name,
        str(result.outcome),
        finding_says(result),
        probability_says(result),
        engine.backend if engine else "",
        engine.device if engine else "",
        f"{result.timings_ms.get('total', 0.0):.1f}",
    )


def _plain(rows: Sequence[tuple[str, ...]]) -> None:
    table = [COLUMNS, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(COLUMNS))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich(rows: Sequence[tuple[str, ...]], results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 1))
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("probability", "ms") else "left", overflow="fold")
    for row, result in zip(rows, results, strict=True):
        colour = _COLOURS[result.outcome]
        if any(disagrees(finding) for finding in agreements(result)):
            colour = "bold magenta"
        cells = [Text(cell) for cell in row]  # Text: a file name with brackets is no markup
        cells[1].stylize(_COLOURS[result.outcome])
        cells[2].stylize(colour if colour != "green" else "")
        table.add_row(*cells)
    Console().print(table)


def _short(paths: Sequence[Path]) -> list[str]:
    """File names; with as much of the folder as tells two of one name apart."""
    names = Counter(path.name for path in paths)
    return [printable(path.name if names[path.name] == 1 else path) for path in paths]
