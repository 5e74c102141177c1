"""``edgeai fleet diff``: what a bundle changes of the one before it, and what was measured of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.cli import output

if TYPE_CHECKING:
    from edgeai.bundle.evidence import Estimate
    from edgeai_fleet.differing import Compared, Diff, Figure

_STANDINGS = {
    "approval": "needs an approval",
    "within-bounds": "within its bounds",
    "free": "free",
    "document": "document",
}


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="The bundle that runs: a file or a folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The one that is to follow it.")],
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
) -> None:
    """Say what bundle B changes of bundle A, under which class of A's change control, and what was measured of both.

    Every byte of both is checked. Figures stand side by side with their intervals; where both splits are of the same
    data, intervals that do not overlap are pointed out.

    Exit status: 0 when it is told; 1 when a bundle is not sound; 2 when the command cannot be used.
    """
    from edgeai_fleet.differing import diff as compare

    made = compare(first, second)
    if as_json:
        output.put(json.dumps(_told(made), indent=1))
        return
    from rich.console import Console

    console = Console()
    console.print(_changes(made))
    console.print(_verdict(made), markup=False, highlight=False)
    console.print(_evidence(made.evidence))


def _verdict(made: Diff) -> str:
    if made.plan is None:
        return f"{made.before.version} has no change control: a cart asks for no approval.\n"
    if made.needs_approval:
        return f"A cart that runs {made.before.version} takes it with an approver's signature alone.\n"
    return f"A cart that runs {made.before.version} takes it without an approval.\n"


def _changes(made: Diff) -> Any:
    from rich.table import Table
    from rich.text import Text

    title = f"{made.before.name} {made.before.version} -> {made.after.name} {made.after.version}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1))
    table.add_column("class", no_wrap=True)
    table.add_column("change", overflow="fold")
    rank = list(_STANDINGS)
    for change, standing in sorted(made.changes, key=lambda item: rank.index(item[1])):
        asked = "would need one" if made.plan is None and standing == "approval" else _STANDINGS[standing]
        table.add_row(asked, Text(change.says))
    if not made.changes:
        table.add_row("", "nothing: they are one bundle")
    return table


def _evidence(compared: Compared | None) -> Any:
    from rich.table import Table

    if compared is None:
        return "evidence: one of them has none"
    data = "the same data" if compared.same_data else "OTHER DATA: not to be compared figure by figure"
    splits = " and ".join(f"{split} ({count})" for split, count in zip(compared.splits, compared.samples, strict=True))
    title = f"Measured on {splits}: {data}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1))
    for column in ("model", "figure", "A", "B", ""):
        table.add_column(column, overflow="fold")
    for figure in compared.figures:
        words = "apart" if figure.apart and compared.same_data else ""
        table.add_row(figure.model, figure.name, _value(figure.before), _value(figure.after), words)
    return table


def _value(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    unit = f" {estimate.unit}" if estimate.unit else ""
    ends = "" if estimate.low is None or estimate.high is None else f" ({estimate.low:.4f} to {estimate.high:.4f})"
    return f"{estimate.value:.4f}{ends}{unit}"


def _told(made: Diff) -> dict[str, Any]:
    def bundle(manifest: Any, digest: str) -> dict[str, Any]:
        return {"name": manifest.name, "version": manifest.version, "release": manifest.release, "digest": digest}

    compared = made.evidence
    return {
        "a": bundle(made.before, made.digests[0]),
        "b": bundle(made.after, made.digests[1]),
        "change_control": made.plan is not None,
        "needs_approval": made.needs_approval,
        "changes": [
            {"kind": change.kind, "where": change.where, "class": standing, "says": change.says}
            for change, standing in made.changes
        ],
        "evidence": compared
        and {
            "splits": list(compared.splits),
            "samples": list(compared.samples),
            "same_data": compared.same_data,
            "figures": [_figure(figure) for figure in compared.figures],
        },
    }


def _figure(figure: Figure) -> dict[str, Any]:
    def plain(estimate: Estimate | None) -> dict[str, Any] | None:
        if estimate is None:
            return None
        return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "unit": estimate.unit}

    return {
        "model": figure.model,
        "figure": figure.name,
        "a": plain(figure.before),
        "b": plain(figure.after),
        "apart": figure.apart,
    }
