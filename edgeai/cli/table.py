"""The table at the end: coloured and as wide as the terminal, or aligned plain lines in a pipe, a line an instance."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeai.api.results import Outcome, Result
from edgeai.cli.statement import NO_RESULT, close_calls, statement
from edgeai.cli.terminal import printable
from edgeai.cli.wording import agreements, classes, code_says, disagrees, finding_says, labels_say, probability_says

if TYPE_CHECKING:
    from rich.text import Text

COLUMNS = ("file", "outcome", "finding", "probability", "backend", "device", "ms")
_SHOWN = ("file", "finding", "score", "outcome", "ms")
"""On a terminal. One engine ran them all, and is named below; reasons and doubts have lines of their own."""
_COLOURS = {Outcome.COMPLETED: "dim", Outcome.INDETERMINATE: "yellow", Outcome.NOT_APPLICABLE: "yellow"}
_MOST_NOTES = 2


def print_results(paths: Sequence[Path], results: Sequence[Result]) -> None:
    """A row an instance, and a line that counts the outcomes."""
    names = _short(paths)
    if sys.stdout.isatty():
        _rich(names, results)
    else:
        _plain([_row(name, result) for name, result in zip(names, results, strict=True)])
    counts = Counter(str(result.outcome) for result in results)
    counted = ", ".join(f"{counts[str(outcome)]} {outcome}" for outcome in Outcome if counts[str(outcome)])
    warned = sum(any(disagrees(f) for f in agreements(result)) for result in results)
    print(counted + (f"; {warned} DISAGREE with their header" if warned else ""))


def _row(name: str, result: Result) -> tuple[str, ...]:
    engine = result.engine
    return (
        name,
        str(result.outcome),
        "; ".join([finding_says(result), *_asides(result)]),
        probability_says(result),
        engine.backend if engine else "",
        engine.device if engine else "",
        f"{result.timings_ms.get('total', 0.0):.1f}",
    )


def _asides(result: Result) -> Iterator[str]:
    """What a reader of the finding must not miss."""
    if close_calls(classes(result)):
        yield "a close call"
    if result.outcome is Outcome.COMPLETED and result.frames_run != result.frames_total:
        yield f"{result.frames_run} of {result.frames_total} frames"


def _plain(rows: Sequence[tuple[str, ...]]) -> None:
    table = [COLUMNS, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(COLUMNS))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# --- on a terminal ----------------------------------------------------------------------------


def _rich(names: Sequence[str], results: Sequence[Result]) -> None:
    from rich.console import Console

    width = shutil.get_terminal_size().columns
    console = Console(width=width, highlight=False)
    for line in lines(names, results, width):
        console.print(line, no_wrap=True, overflow="crop")
    engines = {f"{r.engine.engine} on {r.engine.device}, {r.engine.precision}" for r in results if r.engine}
    if engines:
        console.print(f"engine {'; '.join(sorted(engines))}", markup=False)


def lines(names: Sequence[str], results: Sequence[Result], width: int) -> Iterator[Text]:
    """The table's lines, none wider than ``width``: every column is there, however narrow the terminal is."""
    from rich.text import Text

    cells = [_cells(name, result) for name, result in zip(names, results, strict=True)]
    widths = _widths([_SHOWN, *cells], width)
    yield Text(_aligned(_SHOWN, widths), style="bold")
    for row, result in zip(cells, results, strict=True):
        first, *more = textwrap.wrap(row[1], widths[1]) or [""]
        line = Text(_aligned((shortened(row[0], widths[0]), first, *row[2:]), widths))
        start = sum(widths[:3]) + 6
        line.stylize(_COLOURS.get(result.outcome, "red"), start, start + widths[3])
        yield line
        for part in more:
            yield Text(" " * (widths[0] + 2) + part)
        for sentence, style in _beneath(result):
            yield from (Text(part, style=style) for part in _wrapped(sentence, width))


def _cells(name: str, result: Result) -> tuple[str, ...]:
    statement = labels_say(result) if result.outcome is Outcome.COMPLETED else NO_RESULT
    return (
        name,
        statement,
        probability_says(result),
        str(result.outcome),
        f"{result.timings_ms.get('total', 0.0):.1f}",
    )


def _beneath(result: Result) -> Iterator[tuple[str, str]]:
    """(what a row has no room for, its style)."""
    if result.reason is not None:
        yield f"{result.reason.code}: {result.reason.message}", _COLOURS.get(result.outcome, "red")
    for doubt in statement(result).doubts:
        yield f"doubtful: {doubt}", "yellow"
    for finding in classes(result):
        if finding.codes:
            yield f"{finding.label}: {', '.join(map(code_says, finding.codes))}", "dim"
        yield from ((f"note on {finding.label}: {note.text}", "dim") for note in finding.notes[:_MOST_NOTES])
    for note in result.notes[:_MOST_NOTES]:
        yield f"note: {note.text}", "dim"
    if len(result.notes) > _MOST_NOTES:
        yield f"and {len(result.notes) - _MOST_NOTES} more notes", "dim"


def _widths(table: Sequence[Sequence[str]], width: int) -> list[int]:
    widths = [max(len(row[index]) for row in table) for index in range(len(_SHOWN))]
    room = max(16, width - sum(widths[2:]) - 2 * (len(widths) - 1))
    if sum(widths[:2]) > room:
        widths[0] = min(widths[0], max(room // 2, room - widths[1]))
        widths[1] = min(widths[1], room - widths[0])
    return widths


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = (2, 4)
    placed = [
        cell.rjust(w) if at in right else cell.ljust(w) for at, (cell, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(placed).rstrip()


def _wrapped(sentence: str, width: int) -> list[str]:
    return textwrap.wrap(sentence, max(20, width), initial_indent="  ", subsequent_indent="  ")


def shortened(name: str, width: int) -> str:
    """A name of at most so many characters, cut in its middle: both of its ends tell most."""
    if len(name) <= width:
        return name
    front = width // 2
    return name[:front] + "\u2026" + name[len(name) - (width - front - 1) :]


def _short(paths: Sequence[Path]) -> list[str]:
    """File names; with as much of the folder as tells two of one name apart."""
    names = Counter(path.name for path in paths)
    return [printable(path.name if names[path.name] == 1 else path) for path in paths]
